"""Seeds and random streams: disjoint ranges per purpose, one independent stream per name.

Nothing is ever chosen on test seeds, so the ranges below must not overlap, which a test checks.
"""

import enum
import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

_RANGE = 100_000_000  # seeds in one purpose's range
_PER_TRAIN_SEED = 1_000_000  # episode seeds that one training seed may use within a range


@enum.unique
class Purpose(enum.IntEnum):
    """The purpose of an episode seed; each has its own range below 2**31 (the Atari emulator's limit)."""

    TRAINING = 0
    SELECTION = 1  # choosing checkpoints and settings
    GATE = 2  # testing whether an expert reaches its reference
    RECORDING = 3
    RECORDING_RANDOM = 4
    HELD_OUT = 5  # layouts that no stage before scoring may see
    TEST = 6
    DAGGER = 7  # a learner's own episodes, labelled by its teachers
    AMPLIFIED = 8  # an amplifier's episodes, from which the next round's generalist learns


def episode_seed(purpose: Purpose, index: int, train_seed: int = 0) -> int:
    """The ``index``-th episode seed of a purpose.

    Each training seed has its own episodes, including test episodes: all agents of one training seed have the same
    starts, and the samples of several training seeds are independent. Held-out layouts are the same for all.

    Raises:
        ValueError: if ``index`` or ``train_seed`` leaves the purpose's range.
    """
    offset = 0 if purpose is Purpose.HELD_OUT else train_seed
    if not 0 <= index < _PER_TRAIN_SEED or not 0 <= offset < _RANGE // _PER_TRAIN_SEED:
        raise ValueError(f"no {purpose.name} seed with index {index} and train seed {train_seed}")
    return purpose * _RANGE + offset * _PER_TRAIN_SEED + index


def purpose_of(seed: int) -> Purpose:
    """The purpose whose range contains an episode seed.

    Raises:
        ValueError: if the seed is in no range.
    """
    return Purpose(seed // _RANGE)


def is_test(seed: int) -> bool:
    """Whether an episode is for tests, in tasks that hold layouts or items out for them.

    Seeds without a purpose, from outside the project, are not.
    """
    try:
        return purpose_of(seed) in (Purpose.HELD_OUT, Purpose.TEST)
    except ValueError:
        return False


def training_seed(*names: object) -> int:
    """An episode seed from the training range that depends on these names."""
    return Purpose.TRAINING * _RANGE + derive(*names) % _RANGE


def derive(*names: object) -> int:
    """A 31-bit seed that depends only on these names (unlike the salted ``hash``)."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def stream(*names: object) -> np.random.Generator:
    """An independent random stream for these names, such as ``stream(task, agent, episode_seed)``."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def branch(rng: np.random.Generator) -> np.random.Generator:
    """A new stream, seeded from another stream."""
    return alike(rng, 1)[0]


def alike(rng: np.random.Generator, count: int) -> list[np.random.Generator]:
    """Several equal streams, as common random numbers for comparisons (Law 2015, section 11.2).

    Rollouts that are compared share their randomness, so that it does not mask the difference between two actions.
    """
    words: Any = _Words(rng.bit_generator.random_raw(4))  # numpy's annotations do not know of its own interface
    return [np.random.Generator(np.random.PCG64(words)) for _ in range(count)]


class _Words(ISeedSequence):
    """Random words that seed a stream unchanged; numpy's mixing, for seeds chosen by people, is ten times slower."""

    def __init__(self, words: Any) -> None:  # noqa: ANN401
        self._words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:  # noqa: ANN401
        return self._words
