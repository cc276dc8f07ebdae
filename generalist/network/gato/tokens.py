"""Time steps as Gato's tokens (Reed et al. 2022, arXiv:2205.06175, section 2.1 and appendix B).

A time step consists of its texts, image patches and tensors in this order (within each kind in the lexicographic order
of the observation's keys, tensors row-major), a separator, and the action. Two things differ from the paper: the text
vocabulary consists of bytes and BabyAI's words instead of SentencePiece's 32,000 pieces, and discrete values have their
own ids instead of sharing the first 1,024 with texts.
"""

import functools
import math
import re
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from benchmarks.tasks import Task, spaces
from benchmarks.tasks.conformity import text_bytes
from generalist.config.codec import CodecConfig
from generalist.network.batches import options
from generalist.network.distributions import from_unit, to_unit
from generalist.network.heads import action_count
from generalist.network.images import fitted
from generalist.network.modalities import images_of, modality_of, part_spaces
from generalist.network.observations import mu_law

DISCRETE = 1_024  # integers that have a token each
_BYTES = 256
_WORDS = (
    b"a after and ball behind blue box door front go green grey in key left next object of on open pick purple put red "
    b"right the then to up yellow you your"
).split()
_PIECES = sorted([space + word for word in _WORDS for space in (b" ", b"")], key=len, reverse=True)
# Alternatives are tried in order: the longest pieces first, single bytes last.
_READ = re.compile(b"|".join([*map(re.escape, _PIECES), b"."]), re.DOTALL)
_NUMBERS = {piece: _BYTES + number for number, piece in enumerate(_PIECES)}


@dataclass(frozen=True)
class Vocabulary:
    """Token ids: texts, then discrete values, then bins of continuous values, then two special tokens.

    Attributes:
        bins: bins per continuous value, shared by observations and actions.
    """

    bins: int

    discrete = _BYTES + len(_PIECES)
    """The id of the integer 0; lower ids are text."""

    continuous = discrete + DISCRETE
    """The id of the lowest bin."""

    @property
    def separator(self) -> int:
        """The token between observation and action."""
        return self.continuous + self.bins

    @property
    def patch(self) -> int:
        """The token of every patch, to which the patch's own vector is added."""
        return self.separator + 1

    @property
    def size(self) -> int:
        """The number of ids."""
        return self.patch + 1


@dataclass(frozen=True)
class StepTokens:
    """n time steps of one task, one per row.

    Attributes:
        ids: ``(n, texts + patches + tensors + 1 + actions)``, -1 after the end of a text.
        texts: number of text columns.
        patches: number of patch columns.
        actions: number of action columns; 0 if the action is not decided yet.
        images: ``(n, frames, height, width)``, uint8; None if the task has none.
    """

    ids: np.ndarray
    texts: int
    patches: int
    actions: int
    images: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "StepTokens":
        """The steps from ``start`` to ``stop`` (exclusive)."""
        images = None if self.images is None else self.images[start:stop]
        return StepTokens(self.ids[start:stop], self.texts, self.patches, self.actions, images)

    @property
    def present(self) -> np.ndarray:
        """The shape of ``ids``, false where there is no token."""
        return self.ids >= 0

    @property
    def within(self) -> np.ndarray:
        """The shape of ``ids``, each token's index within its step, from 0."""
        return self.present.cumsum(axis=1) - 1

    @property
    def lengths(self) -> np.ndarray:
        """``(n,)``, tokens of each step."""
        return self.present.sum(axis=1)


def tokenise(
    task: Task, observations: np.ndarray, actions: np.ndarray | None, vocabulary: Vocabulary, codec: CodecConfig
) -> StepTokens:
    """Convert time steps to tokens.

    Args:
        task: the task.
        observations: ``(n, *observation shape)``, packed.
        actions: ``(n, *action shape)``; None if they are not decided yet.
        vocabulary: the vocabulary.
        codec: the size of images and of their patches.
    """
    rows = len(observations)
    empty = np.zeros((rows, 0), dtype=np.int64)
    texts, tensors = empty, [empty]
    images = images_of(task, observations)
    images, patches = (None, 0) if images is None else (fitted(images, codec), _patches(codec))
    for name, space in sorted(part_spaces(spaces(task)[0]).items()):
        values = np.asarray(observations[name] if name else observations)
        modality = modality_of(space)
        if modality == "text":
            texts = _texts(values)
        elif modality == "image":
            continue
        elif isinstance(space, gym.spaces.Discrete):
            tensors.append(values.reshape(rows, 1) - int(space.start) + vocabulary.discrete)
        elif _is_integer(space):
            tensors.append(values.reshape(rows, -1).astype(np.int64) + vocabulary.discrete)
        else:
            squashed = mu_law(torch.from_numpy(values.reshape(rows, -1).astype(np.float64))).numpy()
            tensors.append(to_bins(squashed, vocabulary.bins) + vocabulary.continuous)
    taken = empty if actions is None else action_tokens(task, actions, vocabulary)
    patch_ids, separators = np.full((rows, patches), vocabulary.patch), np.full((rows, 1), vocabulary.separator)
    ids = np.concatenate([texts, patch_ids, *tensors, separators, taken], axis=1)
    return StepTokens(ids, texts.shape[1], patches, taken.shape[1], images)


def step_length(task: Task, codec: CodecConfig, *, longest: bool) -> int:
    """Tokens of a time step, action included, with the longest or the shortest possible text."""
    parts = part_spaces(spaces(task)[0]).values()
    tokens = 1 + action_length(task)
    for space in parts:
        if isinstance(space, gym.spaces.Text):
            tokens += text_bytes(space) if longest else min(1, space.min_length)
        elif modality_of(space) != "image":
            tokens += math.prod(space.shape or ())
    return tokens + (_patches(codec) if any(modality_of(space) == "image" for space in parts) else 0)


def action_length(task: Task) -> int:
    """Tokens of an action: one for each choice or number."""
    return len(options(task)) or action_count(task)


def action_tokens(task: Task, actions: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """``(n, *action shape)`` → ``(n, tokens)``; continuous actions are scaled by their bounds, not by the mu-law."""
    space = spaces(task)[1]
    if isinstance(space, gym.spaces.Discrete):
        return actions.reshape(-1, 1).astype(np.int64) - int(space.start) + vocabulary.discrete
    if isinstance(space, gym.spaces.MultiDiscrete):
        return actions.astype(np.int64) + vocabulary.discrete
    assert isinstance(space, gym.spaces.Box)
    return to_bins(to_unit(space, actions), vocabulary.bins) + vocabulary.continuous


def actions_of(task: Task, tokens: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """The inverse of :func:`action_tokens`; continuous actions are the middles of their bins."""
    space = spaces(task)[1]
    if isinstance(space, gym.spaces.Discrete):
        return tokens[:, 0] - vocabulary.discrete + int(space.start)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return tokens - vocabulary.discrete
    assert isinstance(space, gym.spaces.Box)
    return from_unit(space, (tokens - vocabulary.continuous + 0.5) / vocabulary.bins * 2 - 1)


def valid_tokens(task: Task, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """The range of ids of each token of an action: the first one, and the last one + 1."""
    if choices := options(task):
        return [(vocabulary.discrete, vocabulary.discrete + count) for count in choices]
    return [(vocabulary.continuous, vocabulary.separator)] * action_count(task)


def to_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Uniform bins from -1 to 1, numbered from 0; values beyond are in the outermost bins."""
    return np.clip((np.clip(values, -1, 1) + 1) / 2 * bins, 0, bins - 1).astype(np.int64)


@functools.lru_cache(maxsize=4_096)
def read_text(text: bytes) -> tuple[int, ...]:
    """The ids of a text, split greedily into the longest pieces."""
    return tuple(_NUMBERS[piece] if piece in _NUMBERS else piece[0] for piece in _READ.findall(text))


def write_text(ids: tuple[int, ...]) -> bytes:
    """The inverse of :func:`read_text`."""
    return b"".join(bytes([number]) if number < _BYTES else _PIECES[number - _BYTES] for number in ids)


def _texts(values: np.ndarray) -> np.ndarray:
    """``(n, bytes)`` with zeros after each text's end → ``(n, longest)`` ids, -1 after each text's end."""
    # Each row is viewed as a single item, which sorts quickly; a mission repeats throughout a window.
    rows = np.ascontiguousarray(values).view(f"V{values.shape[1]}")[:, 0]
    distinct, numbers = np.unique(rows, return_inverse=True)
    texts = [read_text(text.tobytes().rstrip(b"\0")) for text in distinct]
    ids = np.full((len(texts), max(map(len, texts), default=0)), -1, dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return ids[numbers]


def _patches(codec: CodecConfig) -> int:
    return math.ceil(codec.image_size / codec.patch) ** 2


def _is_integer(space: gym.Space) -> bool:
    """Whether all numbers of a box are integers with a token of their own."""
    assert isinstance(space, gym.spaces.Box)
    return space.dtype.kind in "iu" and bool((space.low >= 0).all() and (space.high < DISCRETE).all())
