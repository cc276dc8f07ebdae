"""Items: what an episode of writing is about, and the protocol of their sources."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.base.errors import GatitoError

SIDE = 84
"""Height and width of images in pixels: those that networks read, so that nothing is resized."""


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to write about.

    Attributes:
        prompt: what the writer is asked or told; may be empty.
        references: answers that count as right, at least one; the first is what the reference writer writes.
        image: ``(SIDE, SIDE, 3)`` uint8; None: the task has no images.
    """

    prompt: str
    references: tuple[str, ...]
    image: np.ndarray | None = None


class Source(Protocol):
    """Where a task's items come from.

    Attributes:
        metric: name of the score in :data:`benchmarks.tasks.words.metrics.SCORES`.
        has_images: whether items have an image.
        longest_prompt: the longest prompt in bytes.
        longest_answer: the longest answer in bytes.
        forced: whether the text goes on as the reference does, whatever is written (next-byte prediction).
        digest: digest of the data, if the installed packages or files decide them; else empty.
    """

    metric: str
    has_images: bool
    longest_prompt: int
    longest_answer: int
    forced: bool
    digest: str

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """Sample an item; ``test``: one that no training episode has."""
        ...


def check_item(item: Item, source: Source, where: str) -> None:
    """Reject an item that does not fit its source.

    Args:
        item: the item.
        source: its source.
        where: names the item in the error message.

    Raises:
        GatitoError: if a text is too long or not ASCII, a reference is empty, or the image has another size.
    """
    if not item.references or not all(item.references):
        raise GatitoError(f"{where} has an empty reference: write at least one character, or leave the item out.")
    texts = [("prompt", item.prompt, source.longest_prompt)]
    texts += [("reference", text, source.longest_answer) for text in item.references]
    for kind, text, longest in texts:
        if not text.isascii() or "\0" in text:
            raise GatitoError(f"{where}: the {kind} {text[:40]!r} has signs that are not ASCII: replace them.")
        if len(text) > longest:
            raise GatitoError(
                f"{where}: the {kind} {text[:40]!r} has {len(text)} bytes, and the limit is {longest}: shorten it, or "
                f"raise longest_{'prompt' if kind == 'prompt' else 'answer'} in the task's kwargs."
            )
    if source.has_images != (item.image is not None):
        raise GatitoError(f"{where}: either all items of a task have an image, or none has.")
    if item.image is not None and (item.image.shape != (SIDE, SIDE, 3) or item.image.dtype != np.uint8):
        shape = " x ".join(map(str, item.image.shape))
        raise GatitoError(f"{where}: the image is {shape}, not {SIDE} x {SIDE} x 3: resize it.")
