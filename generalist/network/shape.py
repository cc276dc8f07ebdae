"""The files of a saved network, and its shape: what it is made of, before its weights are loaded.

Importing this does not import torch.
"""

from pathlib import Path

from benchmarks.base.files import read_json, removal
from benchmarks.base.settings import from_file
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig

WEIGHTS = "model.safetensors"
SHAPE = "network.json"
PROMPTS = "prompts.safetensors"


def read_shape(folder: Path, remedy: str = "") -> tuple[ModelConfig, CodecConfig, list[str]]:
    """Read the model settings, codec settings and task names of a saved network.

    Args:
        folder: the folder that :func:`generalist.network.network.save_network` wrote.
        remedy: the advice in the error message; by default, to remove the folder and run again.

    Raises:
        FatalError: if the file is damaged or has settings of another version.
    """
    path, remedy = folder / SHAPE, remedy or removal(folder)
    shape = read_json(path, {"model": dict, "codec": dict, "tasks": list}, remedy)
    model = from_file(ModelConfig, shape["model"], "model", path, remedy)
    return model, from_file(CodecConfig, shape["codec"], "codec", path, remedy), shape["tasks"]
