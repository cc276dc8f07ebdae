"""The interface of networks, and functions that make, save and load one.

A network turns a task's observations and actions into tokens, runs its trunk (a transformer or a perceptron) over them
and reads actions from the hidden states. See ``step``, ``jat.jat`` and ``gato.gato`` for the three kinds.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import write_json
from benchmarks.base.flops import parameter_count
from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.config.networks import NetworkKind, network_class, network_kind
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window
from generalist.network.distributions import NetworkOutput, Selector, greedy
from generalist.network.images import fitted
from generalist.network.modalities import BOARD, Modalities, is_board, join_modalities, split_modalities
from generalist.network.perceptron import Perceptron
from generalist.network.runtime import Accelerated
from generalist.network.shape import PROMPTS, SHAPE, WEIGHTS, read_shape
from generalist.network.transformer import Transformer

_MOST_PARAMETERS = 100_000_000  # beyond them, copies of the weights cost memory, and products take all of the time


class Network(nn.Module, abc.ABC):
    """One network for all tasks that it learns: the generalist, or a specialist for a single task.

    Attributes:
        codec: settings of its inputs and outputs.
        tasks: names of the tasks that it learns, for ``codec.conditioning=task_id``.
        trunk: maps tokens to hidden states.
        task_embedding: one vector per task; None if the task identity is not an input.
        in_one_pass: whether each batch goes through the blocks exactly once, which parts of one network in several
            processes need; otherwise tokens that attend only to themselves take a faster way.
    """

    task_embedding: nn.Embedding | None

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the settings of inputs and outputs, and the names of the tasks that it learns."""
        super().__init__()
        codec.check()
        self.codec = codec
        self.tasks = list(tasks)
        self.in_one_pass = False
        # Typed as Any: a perceptron has the transformer's methods, but uses only a few of their arguments.
        self.trunk: Any = Perceptron(model) if model.kind == "perceptron" else Transformer(model)

    @staticmethod
    @abc.abstractmethod
    def check_task(codec: CodecConfig, task: Task, context_length: int) -> None:
        """Reject a task whose spaces do not fit the network, or do not fit a context of this many tokens.

        Raises:
            GatitoError: names the task, the part that does not fit, and the setting to raise.
        """

    @abc.abstractmethod
    def steps_in(self, task: Task, tokens: int) -> int:
        """The most time steps of a task that fit into this many tokens."""

    @abc.abstractmethod
    def remembers(self, task: Task) -> bool:
        """Whether a task's steps attend to earlier ones; if not, the order of steps in a window does not matter."""

    @abc.abstractmethod
    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> Any:  # noqa: ANN401
        """Make a :class:`.Batch` of windows of at most ``length`` tokens, with one random stream per window."""

    @abc.abstractmethod
    def loss(self, batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Averages over the real steps of a batch: ``loss``, to be minimised, and other values to log."""

    @abc.abstractmethod
    def initial_state(self, num_envs: int, prompts: Mapping[str, Window]) -> Any:  # noqa: ANN401
        """Memory for ``num_envs`` environments; ``prompts`` are demonstrations by task name."""

    @abc.abstractmethod
    def act(self, inputs: Sequence[PolicyInput], memory: Any, select: Selector = greedy) -> list[NetworkOutput]:  # noqa: ANN401
        """Decide the action of every row of every task; ``memory`` is updated in place."""

    @abc.abstractmethod
    def fork(self, memory: Any, sources: np.ndarray, targets: np.ndarray) -> None:  # noqa: ANN401
        """Copy the memory of the env_ids ``sources`` to ``targets``: ``(n,)`` each; no target is a source."""

    @abc.abstractmethod
    def replace_actions(self, memory: Any, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:  # noqa: ANN401
        """Record that these actions, ``(rows, *action shape)``, were taken instead of the last ones of :meth:`act`.

        Raises:
            GatitoError: if the network cannot replace an action that it has decided.
        """

    @property
    def kind(self) -> NetworkKind:
        """The capabilities of this kind of network."""
        return network_kind(self.codec.name)

    @property
    def model(self) -> ModelConfig:
        """The sizes of the trunk."""
        return self.trunk.config

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def set_context_length(self, tokens: int) -> None:
        """Change how far attention looks back; positions are relative, so the weights stay valid."""
        self.trunk.config = replace(self.model, context_length=tokens)

    def shown(self, task: Task, observations: np.ndarray) -> Modalities:
        """Packed observations, ``(n, *shape)``, by modality, images as large as the network's."""
        modalities = split_modalities(task, observations)
        if "image" in modalities:
            modalities["image"] = fitted(modalities["image"], self.codec)
        if self.codec.board_features and is_board(spaces(task)[0]):
            modalities["board"] = modalities.pop("vector").reshape(-1, *BOARD)
        return modalities

    def accelerate(self) -> Self:
        """Act faster on a CPU, with the weights as they are now, see :class:`.Accelerated`; itself."""
        weights = next(self.parameters())
        if (
            weights.device.type == "cpu"
            and weights.dtype == torch.float32
            and parameter_count(self) <= _MOST_PARAMETERS
        ):
            for module in self.modules():
                if isinstance(module, Accelerated):
                    module.accelerate()
        return self

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        """An array on the weights' device."""
        return torch.from_numpy(values).to(self.device)

    def task_numbers(self, tasks: Sequence[Task]) -> torch.Tensor | None:
        """``(n,)``, the index of each task; None if the task identity is not an input."""
        if self.task_embedding is None:
            return None
        return torch.tensor([self.tasks.index(task.name) for task in tasks])

    def copy(self, state: Mapping[str, torch.Tensor] | None = None) -> Self:
        """A copy with its own weights, on the CPU, in evaluation mode.

        Args:
            state: the weights; None for those of this network.
        """
        copied = type(self)(self.model, self.codec, self.tasks)
        weights = self.state_dict() if state is None else state
        copied.load_state_dict({name: values.cpu() for name, values in weights.items()})
        return copied.eval()


def make_task_embedding(codec: CodecConfig, width: int, tasks: Sequence[str]) -> nn.Embedding | None:
    """One vector per task if ``codec.conditioning`` is ``task_id``, else None."""
    if codec.conditioning != "task_id":
        return None
    embedding = nn.Embedding(len(tasks), width)
    nn.init.normal_(embedding.weight, std=0.3)
    return embedding


def make_network(model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> Network:
    """Make the network of a codec with random weights, for tasks of these names.

    Raises:
        GatitoError: if there is no such codec, or its settings contradict each other.
    """
    return network_class(codec.name)(model, codec, tasks)


def save_network(folder: Path, network: Network, prompts: Mapping[str, Window]) -> None:
    """Write the weights, the shape and the demonstrations; loading needs all of them."""
    save_state(folder / WEIGHTS, network.state_dict())
    shown = {
        name: {
            "modalities": split_modalities(window.task, window.observations),
            "labels": window.labels,
            "rewards": window.rewards,
        }
        for name, window in prompts.items()
    }
    if shown:
        save_state(folder / PROMPTS, shown)
    shape = {"model": asdict(network.model), "codec": asdict(network.codec), "tasks": network.tasks}
    write_json(folder / SHAPE, shape)


def load_network(folder: Path) -> Network:
    """Build the network from its saved shape and load its weights.

    Raises:
        GatitoError: if a file is missing or damaged, or the weights do not fit the shape.
    """
    if not (folder / SHAPE).exists():
        raise GatitoError(f"{folder} has no network: run with stages=[distill,controls] first.")
    network = make_network(*read_shape(folder))
    try:
        network.load_state_dict(load_state(folder / WEIGHTS))
    except RuntimeError as error:
        raise GatitoError(f"{folder / WEIGHTS} does not fit {folder / SHAPE}: {error}") from None
    return network.eval()


def load_prompts(folder: Path, tasks: Sequence[Task]) -> dict[str, Window]:
    """The demonstrations of these tasks by name; empty if the network is not conditioned on demonstrations.

    Raises:
        GatitoError: if the network is conditioned on demonstrations and has none of one of these tasks.
    """
    if not (folder / PROMPTS).exists():
        return {}
    saved = load_state(folder / PROMPTS)
    prompts = {}
    for task in tasks:
        if task.name not in saved:
            raise GatitoError(f"{folder} has no demonstration of task {task.name}: distil with this task in the suite.")
        shown = saved[task.name]
        labels = shown["labels"].numpy()
        arrays = {modality: values.numpy() for modality, values in shown["modalities"].items()}
        observations = join_modalities(task, arrays)
        prompts[task.name] = Window(task, observations, labels, None, labels, shown["rewards"].numpy())
    return prompts
