"""``trigram``: writes the byte that most often follows the last two, without reading images or the rest of the text.

The probability of a byte c after a and b is interpolated with shorter contexts (Witten and Bell 1991,
doi:10.1109/18.87000; Chen and Goodman 1999, doi:10.1006/csla.1999.0128, eq. 18):

    p(c | a b) = (n(a b c) + t(a b) p(c | b)) / (n(a b) + t(a b))

n counts in the recording, t(a b) is the number of different bytes that follow a b, and the shortest context gives every
byte the probability 1/256. The gap to the generalist is the contribution of everything but local statistics.

Run by ``gatito stages=[controls]``.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.artifacts import Artifact
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput, PolicyPerTask
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite, Task
from benchmarks.tasks.words.environment import BYTES
from generalist.controls.control import MemoryControl

COUNTS = "counts.safetensors"
ORDER = 3  # bytes, the last of which is predicted


class Trigram(MemoryControl):
    """One table of counts per task."""

    name = "trigram"

    def check(self) -> None:
        """Reject suites with tasks of other families.

        Raises:
            GatitoError: names the first such task.
        """
        for task in self.context.run.suite:
            if task.family != "words":
                raise GatitoError(
                    f"controls.agents: trigram plays tasks of family words only, not {task.name}: leave it out, or set "
                    "suite=words."
                )

    @staticmethod
    def make(task: Task, recording: Artifact, artifact: Artifact, runs: Path) -> None:
        """See :func:`count`."""
        count(task, recording, artifact, runs)

    @staticmethod
    def load(folders: Mapping[str, Path], suite: Suite) -> PolicyPerTask:
        """See :func:`load_trigrams`."""
        return load_trigrams(folders, suite)


class TrigramPolicy(Policy):
    """Writes the most likely byte."""

    name = "trigram"

    def __init__(self, task: str, grams: np.ndarray, counts: np.ndarray) -> None:
        """Args: the task's name, ``(n, 3)`` different trigrams of bytes, and ``(n,)`` how often each was recorded."""
        self.distribution_kind: Mapping[str, str] = {task: "logits"}
        self._counts: dict[bytes, np.ndarray] = {}  # of the following byte, by the bytes before it
        for gram, times in zip(grams, counts, strict=True):
            for length in range(ORDER):
                context = bytes(gram[ORDER - 1 - length : -1])
                self._counts.setdefault(context, np.zeros(BYTES))[gram[-1]] += times
        self._known: dict[bytes, np.ndarray] = {}

    def initial_state(self, num_envs: int) -> None:
        """No memory of episodes."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The most likely byte in each row, with the probabilities of all."""
        outputs = []
        for rows in inputs:
            probabilities = np.stack([self.probabilities(context) for context in last_bytes(rows.observations["text"])])
            actions = probabilities.argmax(axis=1)
            outputs.append(PolicyOutput(actions, actions, np.log(probabilities).astype(np.float32)))
        return outputs, state

    def probabilities(self, context: bytes) -> np.ndarray:
        """The probability of every byte after a context, ``(256,)``."""
        if context not in self._known:
            shorter = self.probabilities(context[1:]) if context else np.full(BYTES, 1 / BYTES)
            counts = self._counts.get(context)
            if counts is None:
                self._known[context] = shorter
            else:
                kinds = (counts > 0).sum()
                self._known[context] = (counts + kinds * shorter) / (counts.sum() + kinds)
        return self._known[context]


def last_bytes(texts: np.ndarray) -> list[bytes]:
    """The last two bytes of each text, ``(n, length)`` padded with zeros; fewer where it is shorter."""
    return [bytes(text).rstrip(b"\0")[1 - ORDER :] for text in texts]


def count(task: Task, recording: Artifact, artifact: Artifact, runs: Path) -> None:
    """Count a recording's trigrams, unless it was done: the last two bytes of each text and the byte to write.

    Raises:
        GatitoError: if the recording is damaged.
    """
    if artifact.is_complete() or artifact.adopt(runs):
        return
    start = time.monotonic()
    artifact.start()
    trajectories = Trajectories(recording.folder)
    rows = []
    for steps in trajectories.episodes():
        contexts = [context.rjust(ORDER - 1, b"\0") for context in last_bytes(steps["observations"]["text"][:-1])]
        before = np.frombuffer(b"".join(contexts), np.uint8).reshape(-1, ORDER - 1)
        rows.append(np.concatenate([before, np.asarray(steps["labels"], np.uint8)[:, None]], axis=1))
    grams, counts = np.unique(np.concatenate(rows), axis=0, return_counts=True)
    save_state(artifact.folder / COUNTS, {"grams": grams, "counts": counts})
    cost = Cost(len(counts), 0.0, trajectories.steps, time.monotonic() - start)
    artifact.finish(cost.seconds, **cost.facts())


def load_trigrams(folders: Mapping[str, Path], suite: Suite) -> PolicyPerTask:
    """Load the tables of several tasks as one agent."""
    policies = {}
    for task in suite:
        table = load_state(folders[task.name] / COUNTS)
        policies[task.name] = TrigramPolicy(task.name, table["grams"].numpy(), table["counts"].numpy())
    return PolicyPerTask("trigram", policies)
