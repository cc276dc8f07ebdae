"""The scores of tasks of writing beside f: the score itself, exact matches, and bits per byte."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.scores import samples_by_task
from benchmarks.scoring.statistics import Bootstrap, Estimate, Sample, interval
from benchmarks.scoring.texts import TextRow
from benchmarks.tasks.words.corpora import documentation
from benchmarks.tasks.words.metrics import exact

COMPRESSOR = "zstd"
EXACT, BITS = "exact", "bits per byte"
_OWN = {"captions": "F1", "replies": "chrF", "language": "predicted", "own": "score"}
"""The name of a task's own score by ``env_id``; of the others, exact match."""
_LEVEL = 19  # of zstd, the highest without a larger window


@dataclass(frozen=True)
class WordsBoard:
    """Scores of tasks of writing.

    Attributes:
        columns: pairs of task and quantity, in the order of the suite.
        scores: by task, quantity and agent.
        compressor: zstd's bits per byte of the held-out text of ``language``, with the training text as its dictionary;
            None if there is no such task, or this Python has another documentation.
    """

    columns: tuple[tuple[str, str], ...]
    scores: Mapping[tuple[str, str, AgentId], Estimate]
    compressor: float | None


def words_board(results: Results, bootstrap: Bootstrap) -> WordsBoard | None:
    """Score every agent in every task of writing; None if there is none.

    Args:
        results: rows that pass :meth:`Results.check`.
        bootstrap: shared with the other scores.
    """
    kinds = {row.task: row.env_id for row in results.tasks if any(text.task == row.task for text in results.texts)}
    if not kinds:
        return None
    own, scores = samples_by_task(results), {}
    for task, kind in kinds.items():
        for agent in results.agents:
            rows = [row for row in results.texts if row.task == task and row.agent_id == agent]
            quantities = {_OWN.get(kind, EXACT): own[task, agent]}
            quantities.setdefault(EXACT, _sample(rows, lambda row: exact(row.written, row.accepted)))
            if kind == "language":
                del quantities[EXACT]
                quantities[BITS] = _sample([row for row in rows if row.bits is not None], lambda row: row.bits or 0.0)
            for name, sample in quantities.items():
                if sample:
                    low_and_high = (0.0, 8.0 if name == BITS else 1.0)
                    scores[task, name, agent] = _estimate(bootstrap, sample, low_and_high)
    columns = tuple(dict.fromkeys((task, name) for task, name, _ in scores))
    language = [row for row in results.texts if kinds.get(row.task) == "language"]
    return WordsBoard(columns, scores, _compressor(language) if language else None)


def compressed_bits(text: str, known: str) -> float:
    """Bits per byte of a text that zstd compresses with another text as its dictionary."""
    import zstandard

    dictionary = zstandard.ZstdCompressionDict(known.encode(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    compressed = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary).compress(text.encode())
    return 8 * len(compressed) / len(text.encode())


def _compressor(rows: list[TextRow]) -> float | None:
    train, test = documentation()
    if any(row.accepted[0] not in test for row in rows):
        return None
    return compressed_bits(test, train)


def _sample(rows: list[TextRow], value: Callable[[TextRow], float]) -> Sample:
    by_seed: dict[int, list[float]] = {}
    for row in sorted(rows, key=lambda row: row.episode_seed):
        by_seed.setdefault(row.train_seed, []).append(value(row))
    return {seed: np.array(values) for seed, values in by_seed.items()}


def _estimate(bootstrap: Bootstrap, sample: Sample, bounds: tuple[float, float]) -> Estimate:
    replicates = bootstrap.means([sample])
    low, high = interval(replicates, bounds)
    return Estimate(float(replicates.estimate[0]), float(low[0]), float(high[0]))
