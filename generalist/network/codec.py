"""Codecs turn a task's observations and actions into the model's inputs and targets, and back.

A new codec is one module here, one line in ``generalist.config.codec.CODECS`` and one YAML file in ``conf/codec/``.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.base.errors import unknown
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from generalist.config.codec import CODECS, CodecConfig
from generalist.network.batches import Batch, Window
from generalist.network.choice import Chooser, most_likely


class Codec(Protocol):
    """What stands between tasks and the model; a ``torch.nn.Module`` of ``(config, width, tasks)``.

    Attributes:
        config: its settings.
    """

    config: CodecConfig

    @staticmethod
    def check_task(config: CodecConfig, task: Task, window: int) -> None:
        """Refuse a task that it cannot carry, or not in a model's window of so many tokens.

        Raises:
            GatitoError: naming the task, what does not fit and the setting to raise.
        """
        ...

    def steps(self, task: Task, tokens: int) -> int:
        """Time steps of a task that so many tokens hold, at most."""
        ...

    def remembers(self, task: Task) -> bool:
        """Whether a task's steps see those before them; if not, they may stand in a window in any order."""
        ...

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> Batch:
        """A batch of windows of at most ``length`` tokens, each with a random stream of its own."""
        ...

    def loss(self, model: Any, batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Averages over the real steps of a batch: ``loss``, to be lowered, and what else there is to know."""
        ...

    def new_memory(self, model: Any, num_envs: int, prompts: Mapping[str, Window]) -> Any:  # noqa: ANN401
        """Memory for so many environments; ``prompts`` are demonstrations by task name."""
        ...

    def act(
        self,
        model: Any,  # noqa: ANN401
        inputs: Sequence[PolicyInput],
        memory: Any,  # noqa: ANN401
        choose: Chooser = most_likely,
    ) -> list[PolicyOutput]:
        """Decide for every row of every task; ``memory`` is updated in place.

        Decisions carry the distribution (logits of discrete actions, of bins of continuous ones) where it is known at
        once, and the critic's values where there is a critic.
        """
        ...

    def fork(self, model: Any, memory: Any, sources: np.ndarray, targets: np.ndarray) -> None:  # noqa: ANN401
        """Let the environments ``targets`` continue from the memory of ``sources``: ``(n,)`` each, disjoint."""
        ...

    def remember(self, memory: Any, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:  # noqa: ANN401
        """These actions, ``(rows, *action shape)``, were done in place of those that :meth:`act` decided just before.

        Raises:
            GatitoError: if the codec cannot take back what it decided.
        """
        ...


def codec_class(name: str) -> Any:  # noqa: ANN401
    """The class of a codec.

    Raises:
        GatitoError: if there is no such codec.
    """
    if name not in CODECS:
        raise unknown("codec", name, CODECS)
    module, kind = CODECS[name]
    return getattr(importlib.import_module(module), kind)


def make_codec(config: CodecConfig, width: int, tasks: Sequence[str] = ()) -> Any:  # noqa: ANN401
    """The codec that a config names, for a model of this width and tasks of these names.

    Raises:
        GatitoError: if there is no such codec.
    """
    config.check()
    return codec_class(config.name)(config, width, tasks)


__all__ = ["CODECS", "Batch", "Codec", "CodecConfig", "Window", "codec_class", "make_codec"]
