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
        values: by modality, ``(n, …)``: vectors padded to the longest one, images, grids, boards; for ``text``, row
            indices into ``texts``.
        sizes: ``(n,)``, the length of each vector.
        texts: ``(m, bytes)``, the distinct texts of the batch.
    """

    shape: tuple[int, int]
    places: Mapping[str, torch.Tensor]
    values: Mapping[str, torch.Tensor]
    sizes: torch.Tensor
    texts: torch.Tensor


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
    arrays = {
        modality: np.concatenate(rows) for modality, rows in values.items() if modality in ("image", "grid", "board")
    }
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
    return Inputs(
        (count, length),
        {modality: torch.from_numpy(np.concatenate(rows)) for modality, rows in places.items()},
        {modality: torch.from_numpy(rows) for modality, rows in arrays.items()},
        torch.from_numpy(sizes),
        torch.from_numpy(texts),
    )


def _padded(arrays: list[np.ndarray]) -> np.ndarray:
    """Rows of different lengths in one array, padded with zeros."""
    whole = np.zeros((sum(map(len, arrays)), max(array.shape[1] for array in arrays)), dtype=arrays[0].dtype)
    first = 0
    for array in arrays:
        whole[first : first + len(array), : array.shape[1]] = array
        first += len(array)
    return whole
