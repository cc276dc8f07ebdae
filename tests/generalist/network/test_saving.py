"""Files of a network: settings of another version are rejected, newer settings have their defaults."""

import json

import pytest

from benchmarks.base.errors import FatalError
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.network import load_network, make_network, save_network
from generalist.network.shape import SHAPE, read_shape

TINY = ModelConfig(layers=1, heads=1, width=8, context_length=4)


@pytest.fixture
def folder(tmp_path):
    save_network(tmp_path, make_network(TINY, CodecConfig(name="jat"), ["toy/a"]), {})
    return tmp_path


def change_shape(folder, change):
    shape = json.loads((folder / SHAPE).read_text())
    change(shape)
    (folder / SHAPE).write_text(json.dumps(shape))


def test_a_saved_network_has_the_same_architecture(folder):
    assert read_shape(folder) == (TINY, CodecConfig(name="jat"), ["toy/a"])
    assert load_network(folder).model == TINY


def test_settings_missing_from_an_older_file_have_their_defaults(folder):
    change_shape(folder, lambda shape: shape["codec"].pop("bins"))
    assert read_shape(folder)[1] == CodecConfig(name="jat")


@pytest.mark.parametrize(
    "old, line",
    [
        ({"window": 4}, "model.window is now model.context_length."),
        ({"layerz": 4}, "unknown config key in model 'layerz'. Did you mean 'layers'?"),
        ({"layers": 0}, "model.layers must be at least 1, not 0."),
    ],
)
def test_an_architecture_of_another_version_is_rejected(folder, old, line):
    change_shape(folder, lambda shape: shape["model"].update(old))
    with pytest.raises(FatalError) as error:
        load_network(folder)
    assert line in str(error.value) and "Remove the folder" in str(error.value) and "\n" not in str(error.value)
