"""What agents write in tasks of writing, and the probabilities that they gave to the true bytes."""

import base64
import io
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.base.files import read_json, write_json
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.play.rollout import Episode
from benchmarks.tasks.guard import Guarded
from benchmarks.tasks.words.environment import Writing

SAMPLE_IMAGES = "sample_images.json"
"""The file of pictures of the first test episodes, in an agent's scores and in a results folder."""
Images = Mapping[str, Mapping[str, str]]
"""PNG files in base64, by task name and episode seed (as text)."""


@dataclass(frozen=True)
class TextRecord:
    """What was written in one episode.

    Attributes:
        task: the task's name.
        seed: the episode's seed.
        prompt: what the writer was asked or told.
        written: its text; bytes that are not printable ASCII are ``?``.
        references: the texts that count as right.
        bits: mean of -log2 of the probability of the true next byte, given the true bytes before it; None where the
            text does not go on as the reference does, or the policy has no distribution.
        image: the item's picture as a PNG file in base64, of the first episodes; else None.
    """

    task: str
    seed: int
    prompt: str
    written: str
    references: tuple[str, ...]
    bits: float | None
    image: str | None = None


class TextWatch:
    """Records every episode of tasks of family ``words``.

    Call :meth:`record` when an episode ends, before its environment begins another one.
    """

    def __init__(self, pictured: Collection[int] = ()) -> None:
        """Args: seeds of the episodes whose pictures are kept."""
        self._pictured = pictured
        self._playing: dict[tuple[str, int], tuple[Writing, list[float]]] = {}

    def see(self, rows: PolicyInput, output: PolicyOutput) -> None:
        """See :class:`~benchmarks.play.watching.Watch`."""
        if rows.task.family != "words":
            return
        logs = None if output.distributions is None else _log_softmax(np.asarray(output.distributions, float))
        for row, env in enumerate(rows.envs):
            seed = cast(Guarded, env).position[0] or 0
            writing, bits = self._playing.setdefault((rows.task.name, seed), (cast(Writing, env.unwrapped), []))
            if logs is not None and writing.source.forced:
                bits.append(-float(logs[row, writing.next_byte]) / math.log(2))

    def record(self, episode: Episode) -> TextRecord | None:
        """What was written in an episode that has just ended; None if its task is none of writing."""
        playing = self._playing.pop((episode.task, episode.seed), None)
        if playing is None:
            return None
        writing, bits = playing
        mean = sum(bits) / len(bits) if bits else None
        item = writing.item
        image = None if item.image is None or episode.seed not in self._pictured else _png(item.image)
        return TextRecord(episode.task, episode.seed, item.prompt, writing.answer, item.references, mean, image)


def write_images(folder: Path, images: Images) -> None:
    """Write pictures into a folder; without any, there is no file."""
    if images:
        write_json(folder / SAMPLE_IMAGES, images)
    else:
        (folder / SAMPLE_IMAGES).unlink(missing_ok=True)


def read_images(folder: Path) -> Images:
    """The pictures in a folder; none if it has no such file.

    Raises:
        GatitoError: if the file is damaged.
    """
    path = folder / SAMPLE_IMAGES
    if not path.exists():
        return {}
    images = read_json(path, dict)
    for task, by_seed in images.items():
        if not isinstance(by_seed, dict) or not all(isinstance(image, str) for image in by_seed.values()):
            raise GatitoError(f"{path} is damaged ({task}). Remove it and run the same command again.")
    return images


def _png(image: np.ndarray) -> str:
    from PIL import Image  # here: most commands draw nothing

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
