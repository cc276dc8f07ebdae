import numpy as np
import pytest
import torch

from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError


def test_a_tree_is_read_back_exactly(tmp_path):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    tree = {
        "optimizer": optimizer.state_dict(),
        "array": np.arange(6.0).reshape(2, 3),
        "plain": [1, 2.5, "text", None, True],
        "generator": torch.get_rng_state(),
    }
    save_state(tmp_path / "state.safetensors", tree)
    back = load_state(tmp_path / "state.safetensors")
    assert back["plain"] == tree["plain"]
    assert torch.equal(back["array"], torch.from_numpy(tree["array"]))
    assert torch.equal(back["generator"], tree["generator"])
    assert set(back["optimizer"]["state"]) == {0, 1}  # integer keys stay integers
    fresh = torch.optim.Adam(layer.parameters())
    fresh.load_state_dict(back["optimizer"])
    assert torch.equal(fresh.state[layer.weight]["exp_avg"], optimizer.state[layer.weight]["exp_avg"])


def test_unsupported_types_are_rejected(tmp_path):
    with pytest.raises(TypeError, match="cannot store object at '/a'"):
        save_state(tmp_path / "state.safetensors", {"a": object()})
    assert not (tmp_path / "state.safetensors").exists()


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / "state.safetensors"
    save_state(path, {"a": torch.ones(10)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(GatitoError, match=r"state.safetensors is damaged"):
        load_state(path)


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "state.safetensors"
    save_state(path, {"a": torch.ones(10)})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(GatitoError, match="does not match its digest"):
        load_state(path)


def test_equal_tensors_are_stored_once_and_loaded_separately(tmp_path):
    ones = torch.ones(1000)
    save_state(
        tmp_path / "s", {"a": ones, "b": ones, "c": [ones.clone()], "d": torch.ones(10, 100), "e": ones.double()}
    )
    assert (tmp_path / "s").stat().st_size < 4 * 2 * 1000 + 8 * 1000 + 1000
    back = load_state(tmp_path / "s")
    back["a"][0] = 5.0
    assert back["b"][0] == back["c"][0][0] == 1.0
    assert back["d"].shape == (10, 100) and back["e"].dtype == torch.float64
