"""A network's weights: a codec and a model, saved and loaded together, and the demonstrations that it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.base import artifacts
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError
from benchmarks.base.renamed import translate
from benchmarks.tasks import Task
from generalist.config.settings import ModelConfig
from generalist.network.codec import CodecConfig, Window, make_codec
from generalist.network.modalities import join_modalities, split_modalities
from generalist.network.perceptron import Perceptron
from generalist.network.transformer import Transformer

WEIGHTS = "model.safetensors"
SHAPE = "network.json"
PROMPTS = "prompts.safetensors"


class Network(nn.Module):
    """One network for every task that it learns: the generalist, or a specialist of one."""

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the inputs and outputs, and the names of the tasks that it learns."""
        super().__init__()
        self.tasks = list(tasks)
        self.model = Perceptron(model) if model.kind == "perceptron" else Transformer(model)
        self.codec: Any = make_codec(codec, model.width, tasks)

    def loss(self, batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """See :meth:`generalist.network.codec.Codec.loss`."""
        return self.codec.loss(self.model, batch)


def save_network(folder: Path, network: Network, prompts: Mapping[str, Window]) -> None:
    """Write weights, shape and demonstrations; all are needed to load."""
    save_state(folder / WEIGHTS, network.state_dict())
    shown = {
        name: {
            "parts": split_modalities(window.task, window.observations),
            "labels": window.labels,
            "rewards": window.rewards,
        }
        for name, window in prompts.items()
    }
    if shown:
        save_state(folder / PROMPTS, shown)
    shape = {"model": asdict(network.model.config), "codec": asdict(network.codec.config), "tasks": network.tasks}
    artifacts.write_json(folder / SHAPE, shape)


def load_network(folder: Path) -> Network:
    """Build the network from its shape and put the weights in.

    Raises:
        GatitoError: if a file is missing or damaged, or the weights belong to another shape.
    """
    if not (folder / SHAPE).exists():
        raise GatitoError(f"{folder} holds no network: run with stages=[distill,controls] first.")
    shape = artifacts.read_json(folder / SHAPE)
    network = Network(
        ModelConfig(**translate(shape["model"], "model")),
        CodecConfig(**translate(shape["codec"], "codec")),
        shape["tasks"],
    )
    try:
        network.load_state_dict(load_state(folder / WEIGHTS))
    except RuntimeError as error:
        raise GatitoError(f"{folder / WEIGHTS} does not fit {folder / SHAPE}: {error}") from None
    return network.eval()


def load_prompts(folder: Path, tasks: Sequence[Task]) -> dict[str, Window]:
    """The demonstrations of some tasks, by name; none where the network is shown none.

    Raises:
        GatitoError: if the network is shown demonstrations and has none of a task.
    """
    if not (folder / PROMPTS).exists():
        return {}
    saved = load_state(folder / PROMPTS)
    prompts = {}
    for task in tasks:
        if task.name not in saved:
            raise GatitoError(f"{folder} has no demonstration of task {task.name}: distil with this task in the suite.")
        labels = saved[task.name]["labels"].numpy()
        observations = join_modalities(task, {kind: part.numpy() for kind, part in saved[task.name]["parts"].items()})
        prompts[task.name] = Window(task, observations, labels, None, labels, saved[task.name]["rewards"].numpy())
    return prompts
