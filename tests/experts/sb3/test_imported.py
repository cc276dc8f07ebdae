"""Models of stable-baselines3 taken as experts, and nothing in their files run."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError
from experts.recipe import IMPORTED, ExpertRecipe
from experts.sb3 import model_files
from experts.sb3.imported import import_model
from experts.sb3.player import ExpertPolicy
from tests.conftest import make_task
from tests.experts.sb3.models import (
    CAMERA,
    CARTPOLE,
    LOOSE,
    MASKED,
    MIXED,
    PENDULUM,
    actions_of,
    environment,
    observations_of,
    predicted,
    shake,
)

SMALL = {"buffer_size": 10}
NARROW = {"features_extractor_kwargs": {"features_dim": 16}}


def made(path, kind, task, policy="MlpPolicy", normalized=False, **settings):
    """A model with weights of its own, saved; and its VecNormalize."""
    torch.manual_seed(3)
    env = environment(task, normalized)
    model = kind(policy, env, device="cpu", **settings)
    shake(model, task, env if normalized else None)
    if hasattr(model, "q_net"):
        model.policy.q_net_target.load_state_dict(model.q_net.state_dict())
    model.num_timesteps = 1234
    model.save(path)
    if normalized:
        folder = path.parent / task.env_id.rpartition(":")[2]
        folder.mkdir()
        env.save(folder / "vecnormalize.pkl")
    return model, env if normalized else None


def recipe(path, **more):
    return ExpertRecipe(algorithm=IMPORTED, model=str(path), **more)


KINDS = {
    "ppo": (PPO, CARTPOLE, {"policy_kwargs": {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [8, 5], "vf": [7]}}}),
    "ppo-normalized": (PPO, CARTPOLE, {"normalized": True}),
    "a2c": (A2C, CARTPOLE, {}),
    "a2c-gsde": (A2C, PENDULUM, {"use_sde": True, "policy_kwargs": {"squash_output": True, "full_std": False}}),
    "ppo-loose": (PPO, LOOSE, {}),
    "ppo-images": (PPO, CAMERA, {"policy": "CnnPolicy", "policy_kwargs": NARROW}),
    "ppo-apart": (PPO, CAMERA, {"policy": "CnnPolicy", "policy_kwargs": {"share_features_extractor": False}}),
    "ppo-dictionary": (PPO, MIXED, {"policy": "MultiInputPolicy", "normalized": False}),
    "dqn": (DQN, CARTPOLE, {**SMALL, "policy_kwargs": {"net_arch": [6, 4, 3]}}),
    "dqn-images": (DQN, CAMERA, {**SMALL, "policy": "CnnPolicy"}),
    "sac": (SAC, PENDULUM, {**SMALL, "policy_kwargs": {"net_arch": {"pi": [6], "qf": [9, 9]}}}),
    "sac-gsde": (SAC, PENDULUM, {**SMALL, "use_sde": True, "policy_kwargs": {"net_arch": [7]}, "normalized": True}),
    "sac-gsde-unclipped": (SAC, PENDULUM, {**SMALL, "use_sde": True, "policy_kwargs": {"clip_mean": 0.0}}),
    "sac-dictionary": (SAC, MIXED, {**SMALL, "policy": "MultiInputPolicy"}),
    "td3": (TD3, PENDULUM, {**SMALL, "policy_kwargs": {"net_arch": [6, 5]}}),
    "td3-loose": (TD3, LOOSE, {**SMALL, "normalized": True}),
    "ddpg": (DDPG, PENDULUM, {**SMALL, "policy_kwargs": {"net_arch": [6]}}),
}  # fmt: skip


def same_as_sb3(path, kind, task, **settings):
    model, normalizer = made(path, kind, task, **settings)
    imported = import_model(task, recipe(path))
    save_state(path.parent / "policy.safetensors", imported.state)
    again = ExpertPolicy(task, imported.recipe, load_state(path.parent / "policy.safetensors"))
    seen, packed = observations_of(task)
    theirs = predicted(model, seen, normalizer)
    for policy in (imported.policy, again):
        np.testing.assert_allclose(actions_of(policy, task, packed), theirs, rtol=1e-4, atol=1e-5)
    assert len(np.unique(theirs, axis=0)) > 1  # else any policy would do
    assert imported.steps == 1234 and imported.parameters > 0
    return imported


@pytest.mark.parametrize("name", KINDS)
def test_an_imported_model_acts_as_stable_baselines3_does(name, tmp_path):
    kind, task, settings = KINDS[name]
    imported = same_as_sb3(tmp_path / "model.zip", kind, task, **settings)
    assert imported.recipe.algorithm == name.partition("-")[0]


@pytest.mark.parametrize("name, task", [("QRDQN", CARTPOLE), ("TQC", PENDULUM), ("TRPO", CARTPOLE)])
def test_models_of_sb3_contrib_are_taken(name, task, tmp_path):
    contrib = pytest.importorskip("sb3_contrib")
    settings = {} if name == "TRPO" else SMALL
    imported = same_as_sb3(tmp_path / "model.zip", getattr(contrib, name), task, **settings)
    assert imported.recipe.algorithm == name.lower()


def test_a_model_that_knows_masks_heeds_them(tmp_path):
    contrib = pytest.importorskip("sb3_contrib")
    model, _ = made(tmp_path / "model.zip", contrib.MaskablePPO, MASKED)
    policy = import_model(MASKED, recipe(tmp_path / "model.zip")).policy
    seen, packed = observations_of(MASKED)
    masks = np.random.default_rng(0).random((len(seen), 3)) < 0.5
    masks[:, 1] = True
    theirs = [model.predict(each, action_masks=mask, deterministic=True)[0] for each, mask in zip(seen, masks, strict=True)]  # fmt: skip # noqa: E501
    np.testing.assert_array_equal(actions_of(policy, MASKED, packed, masks), theirs)
    assert len(set(map(int, theirs))) > 1


def test_a_model_without_its_package_is_refused_in_one_line(tmp_path, monkeypatch):
    contrib = pytest.importorskip("sb3_contrib")
    made(tmp_path / "model.zip", contrib.TRPO, CARTPOLE)
    monkeypatch.setitem(__import__("sys").modules, "sb3_contrib", None)
    with pytest.raises(GatitoError, match="algorithm 'trpo': .*no module sb3_contrib: pip install 'gatito.contrib.'"):
        import_model(CARTPOLE, recipe(tmp_path / "model.zip"))


def test_a_model_of_other_spaces_is_refused_with_both_named(tmp_path):
    made(tmp_path / "model.zip", PPO, CARTPOLE)
    with pytest.raises(GatitoError) as refused:
        import_model(PENDULUM, recipe(tmp_path / "model.zip"))
    line = str(refused.value)
    assert "classic" not in line and "\n" not in line
    assert "acts in Box(-2.0, 2.0, (1,), float32); the model" in line and "acts in Discrete(2): name a model" in line
    made(tmp_path / "other.zip", SAC, LOOSE, **SMALL)
    narrow = make_task("tests.environments:Target-v0")
    with pytest.raises(GatitoError, match=r"acts in Box\(\[ 0\. -1\.\], \[90\.  ?1\.\], \(2,\), float32\)"):
        import_model(narrow, recipe(tmp_path / "other.zip"))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def rewritten(source, target, **members):
    """A copy of a zip with other content in some of its members; None: without it."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            content = members.get(name.partition(".")[0], archive.read(name))
            if content is not None:
                copy.writestr(name, content)


def test_nothing_in_a_zip_is_run(tmp_path):
    import base64

    made(tmp_path / "model.zip", PPO, CARTPOLE)
    evil, proof = pickle.dumps(Evil(tmp_path / "run")), tmp_path / "run"
    pickle.loads(evil)  # noqa: S301
    assert proof.exists()
    proof.unlink()
    data = json.loads(zipfile.ZipFile(tmp_path / "model.zip").read("data"))
    for value in data.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = base64.b64encode(evil).decode()
    rewritten(tmp_path / "model.zip", tmp_path / "settings.zip", data=json.dumps(data), pytorch_variables=evil)
    import_model(CARTPOLE, recipe(tmp_path / "settings.zip"))  # what is pickled is not looked at
    weights = io.BytesIO()
    torch.save({"action_net.weight": torch.zeros(2, 64), "more": Evil(proof)}, weights)
    rewritten(tmp_path / "model.zip", tmp_path / "weights.zip", policy=weights.getvalue())
    with pytest.raises(GatitoError, match="would need pickle, which is never run"):
        import_model(CARTPOLE, recipe(tmp_path / "weights.zip"))
    rewritten(tmp_path / "model.zip", tmp_path / "plain.zip", policy=evil)
    with pytest.raises(GatitoError, match="is not a model that stable-baselines3 saved, or is damaged"):
        import_model(CARTPOLE, recipe(tmp_path / "plain.zip"))
    (tmp_path / "CartPole-v1").mkdir()
    (tmp_path / "CartPole-v1" / "vecnormalize.pkl").write_bytes(evil)
    with pytest.raises(GatitoError, match=r"vecnormalize.pkl is not read, .* would use pathlib"):
        import_model(CARTPOLE, recipe(tmp_path / "model.zip"))
    assert not proof.exists()


def test_a_damaged_zip_is_named_in_one_line(tmp_path, monkeypatch):
    made(tmp_path / "model.zip", PPO, CARTPOLE)
    content = (tmp_path / "model.zip").read_bytes()
    torch.save([1], tmp_path / "list.pth")
    cases = {
        "cut.zip": content[: len(content) // 2],
        "empty.zip": b"",
        "turned.zip": content[:3000] + bytes(200) + content[3200:],
        "text.zip": b"no zip",
    }
    for name, changed in cases.items():
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(GatitoError, match=rf"{name}.* is not a model that stable-baselines3 saved") as refused:
            import_model(CARTPOLE, recipe(tmp_path / name))
        assert "\n" not in str(refused.value)
    rewritten(tmp_path / "model.zip", tmp_path / "list.zip", policy=(tmp_path / "list.pth").read_bytes())
    with pytest.raises(GatitoError, match="its policy has no weights"):
        import_model(CARTPOLE, recipe(tmp_path / "list.zip"))
    rewritten(tmp_path / "model.zip", tmp_path / "lacks.zip", policy=None)
    with pytest.raises(GatitoError, match="lacks.zip has no policy.pth: it is not a model"):
        import_model(CARTPOLE, recipe(tmp_path / "lacks.zip"))
    rewritten(tmp_path / "model.zip", tmp_path / "deep.zip", data="[" * 100_000)
    with pytest.raises(GatitoError, match="deep.zip is not a model"):
        import_model(CARTPOLE, recipe(tmp_path / "deep.zip"))
    with pytest.raises(GatitoError, match="nowhere.zip of task toy/cartpole is no file"):
        import_model(CARTPOLE, recipe(tmp_path / "nowhere.zip"))
    monkeypatch.setattr(model_files, "_MOST_WEIGHTS", 2**22)
    huge = io.BytesIO()
    torch.save({"action_net.weight": torch.zeros(1).expand(2**40)}, huge)
    for name, member in (("huge.zip", huge.getvalue()), ("bomb.zip", bytes(model_files._MOST_WEIGHTS + 1))):
        rewritten(tmp_path / "model.zip", tmp_path / name, policy=member)
        assert (tmp_path / name).stat().st_size < 2e5
        with pytest.raises(GatitoError, match=f"{name} unpacks to more than"):
            import_model(CARTPOLE, recipe(tmp_path / name))


def test_what_is_not_stable_baselines3s_own_is_refused(tmp_path):
    model, _ = made(tmp_path / "model.zip", PPO, CARTPOLE)
    data = json.loads(zipfile.ZipFile(tmp_path / "model.zip").read("data"))
    cases = {
        "its policy is a class of my_package": data | {"policy_class": {"__module__": "my_package"}},
        "its activation_fn is <class 'mine.Act'>": data | {"policy_kwargs": {"activation_fn": "<class 'mine.Act'>"}},
    }
    for words, changed in cases.items():
        rewritten(tmp_path / "model.zip", tmp_path / "other.zip", data=json.dumps(changed))
        with pytest.raises(GatitoError, match=f"cannot be taken: {words}"):
            import_model(CARTPOLE, recipe(tmp_path / "other.zip"))
    weights = io.BytesIO()
    torch.save({**model.policy.state_dict(), "more.weight": torch.zeros(3)}, weights)
    rewritten(tmp_path / "model.zip", tmp_path / "more.zip", policy=weights.getvalue())
    with pytest.raises(GatitoError, match=r"not of the networks that stable-baselines3 has .*more.weight"):
        import_model(CARTPOLE, recipe(tmp_path / "more.zip"))
    with torch.no_grad():
        model.policy.action_net.weight[0, 0] = float("nan")
    model.save(tmp_path / "nan.zip")
    with pytest.raises(GatitoError, match=r"the weights action_net.weight are NaN or infinite"):
        import_model(CARTPOLE, recipe(tmp_path / "nan.zip"))
