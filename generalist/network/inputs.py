"""A batch of observations of several tasks: one array per modality, with its positions in the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from generalist.network.modalities import Modalities


@dataclass(frozen=True)
class Inputs:
    """Observations of B windows of L steps; padded steps have none.

    Attributes:
        shape: ``(B, L)``.
        places: by modality, ``(n,)``: the steps that have this modality, as ``window * L + step``.
        values: by modality, ``(n, …)``: vectors padded to the longest one, grids, boards; for ``text`` and ``image``,
            row indices into ``texts`` and ``images``.
        sizes: ``(n,)``, the length of each vector.
        texts: ``(m, bytes)``, the distinct texts of the batch.
        images: ``(m, frames, height, width)``; an image that does not change from step to step is there once.
    """

    shape: tuple[int, int]
    places: Mapping[str, torch.Tensor]
    values: Mapping[str, torch.Tensor]
    sizes: torch.Tensor
    texts: torch.Tensor
    images: torch.Tensor

    def of(self, modality: str) -> torch.Tensor:
        """The values of a modality, ``(n, …)``; images themselves, not their indices."""
        values = self.values[modality]
        return self.images[values] if modality == "image" else values


def collate(items: Sequence[Modalities], length: int) -> Inputs:
    """Collate windows into one batch.

    Args:
        items: modalities of shape ``(windows, steps, …)``, each item of one task; at most ``length`` steps.
        length: steps per window of the batch.
    """
    places: dict[str, list[np.ndarray]] = {}
    values: dict[str, list[np.ndarray]] = {}
    count = 0
    for item in items:
        windows, steps = next(iter(item.values())).shape[:2]
        steps_of_item = ((count + np.arange(windows))[:, None] * length + np.arange(steps)).reshape(-1)
        for modality, array in item.items():
            places.setdefault(modality, []).append(steps_of_item)
            values.setdefault(modality, []).append(array.reshape(windows * steps, *array.shape[2:]))
        count += windows
    arrays = {modality: np.concatenate(rows) for modality, rows in values.items() if modality in ("grid", "board")}
    sizes = np.zeros(0, dtype=np.int64)
    if "vector" in values:
        sizes = np.concatenate([np.full(len(rows), rows.shape[1]) for rows in values["vector"]])
        arrays["vector"] = _padded(values["vector"])
    texts = np.zeros((0, 1), dtype=np.uint8)
    if "text" in values:
        rows_of_bytes = np.ascontiguousarray(_padded(values["text"]))
        # Each row is viewed as a single item, which sorts quickly; a mission repeats throughout a window.
        distinct, numbers = np.unique(rows_of_bytes.view(f"V{rows_of_bytes.shape[1]}")[:, 0], return_inverse=True)
        texts, arrays["text"] = distinct.view(np.uint8).reshape(len(distinct), -1), numbers
    images = np.zeros((0, 1, 1, 1), dtype=np.uint8)
    if "image" in values:
        images, arrays["image"] = _without_repetitions(np.concatenate(values["image"]))
    return Inputs(
        (count, length),
        {modality: torch.from_numpy(np.concatenate(rows)) for modality, rows in places.items()},
        {modality: torch.from_numpy(rows) for modality, rows in arrays.items()},
        torch.from_numpy(sizes),
        torch.from_numpy(texts),
        torch.from_numpy(images),
    )


def _without_repetitions(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(n, …)`` images without those that equal the one before, and the index of each row's image, ``(n,)``."""
    new = np.ones(len(images), dtype=bool)
    rows = images.reshape(len(images), -1)
    new[1:] = [not np.array_equal(row, before) for row, before in zip(rows[1:], rows, strict=False)]
    return images[new], np.cumsum(new) - 1


def _padded(arrays: list[np.ndarray]) -> np.ndarray:
    """Rows of different lengths in one array, padded with zeros."""
    whole = np.zeros((sum(map(len, arrays)), max(array.shape[1] for array in arrays)), dtype=arrays[0].dtype)
    first = 0
    for array in arrays:
        whole[first : first + len(array), : array.shape[1]] = array
        first += len(array)
    return whole
