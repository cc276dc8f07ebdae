"""Scores of a written text against its references, from 0 to 1."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.base.errors import GatitoError

MISSING = "pip install 'gatito[words]'"
"""What installs the packages of this family."""


def exact(written: str, references: Sequence[str]) -> float:
    """1 where the text equals a reference, apart from spaces around it; 0 elsewhere."""
    return float(written.strip() in {reference.strip() for reference in references})


def named(written: str, references: Sequence[str]) -> float:
    """F1 of what is named: things separated by commas, without order; the best over the references.

    F1 is 2 |A and B| / (|A| + |B|) of the sets of named things.
    """
    return max(_f1(_things(written), _things(reference)) for reference in references)


def chrf(written: str, references: Sequence[str]) -> float:
    """Sacrebleu's sentence chrF2 (Popović 2015, doi:10.18653/v1/W15-3049) over 100, the best over the references.

    Raises:
        GatitoError: if sacrebleu is missing.
    """
    return _chrf().sentence_score(written, list(references)).score / 100


def predicted(written: str, references: Sequence[str]) -> float:
    """The share of the first reference's bytes that were written at their position."""
    [reference, *_] = references
    return sum(one == other for one, other in zip(written, reference, strict=False)) / len(reference)


SCORES: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exact": exact,
    "named": named,
    "chrf": chrf,
    "predicted": predicted,
}
"""Scores by name."""


def check_score(name: str) -> None:
    """Load the package of a score.

    Raises:
        GatitoError: if it is missing.
    """
    if name == "chrf":
        _chrf()


def _things(text: str) -> set[str]:
    return {thing.strip() for thing in text.split(",")} - {""}


def _f1(one: set[str], other: set[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


@functools.cache
def _chrf() -> Any:  # noqa: ANN401
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise GatitoError(f"the score chrf needs a package that is not installed ({error}): {MISSING}.") from None
    return CHRF()
