"""Scores of tasks of writing, from rows."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.text_records import TextRecord
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.scoreboard import score
from benchmarks.scoring.texts import TextRow, text_rows
from benchmarks.scoring.words_board import BITS, EXACT, compressed_bits
from benchmarks.tasks import Suite, Task, TaskConfig
from benchmarks.tasks.words.corpora import documentation
from tests.conftest import make_results

CAPTIONS, LANGUAGE = "words/captions", "words/language"
AGENTS = ("random", "expert", "generalist")


def text(task, agent, number, written, reference, bits=None):
    from benchmarks.base.seeds import Purpose, episode_seed

    seed = episode_seed(Purpose.TEST, number)
    return TextRow("words", task, agent, None, "", 0, seed, "", written, f'["{reference}"]', bits)


def rows():
    """Two captions and two passages; the generalist has one caption half right, and 2 and 3 bits."""
    returns = {
        CAPTIONS: {"random": {0: [0, 0]}, "expert": {0: [1, 1]}, "generalist": {0: [1, 0.5]}},
        LANGUAGE: {"random": {0: [0, 0]}, "expert": {0: [1, 1]}, "generalist": {0: [0.5, 0.7]}},
    }
    results = make_results(returns, "words", captions={"env_id": "captions"}, language={"env_id": "language"})
    passage = documentation()[1][1000:1008].replace("\n", " ")
    texts = []
    for agent in AGENTS:
        answers = {"random": ["x", "y"], "expert": ["red ball", "red ball"], "generalist": ["red ball", "red box"]}
        texts += [text(CAPTIONS, agent, number, answers[agent][number], "red ball") for number in range(2)]
        bits = [2.0, 3.0] if agent == "generalist" else [None, None]
        texts += [text(LANGUAGE, agent, number, "q", passage, bits[number]) for number in range(2)]
    return replace(results, texts=tuple(texts))


def board(results):
    return score(results, np.random.default_rng(0), 50).words


def test_scores_beside_f():
    words = board(rows())
    assert words.columns == ((CAPTIONS, "F1"), (CAPTIONS, EXACT), (LANGUAGE, "predicted"), (LANGUAGE, BITS))
    values = {key: found.value for key, found in words.scores.items() if key[2] == AgentId("generalist")}
    assert list(values.values()) == [0.75, 0.5, 0.6, 2.5]
    assert (LANGUAGE, BITS, AgentId("expert")) not in words.scores
    assert words.compressor == pytest.approx(compressed_bits(documentation()[1], documentation()[0]))


def test_no_compressor_for_another_text():
    results = rows()
    other = [replace(row, references='["zzzzzzzz"]') if row.task == LANGUAGE else row for row in results.texts]
    assert board(replace(results, texts=tuple(other))).compressor is None


def test_the_compressor_knows_the_other_text():
    sentence = "The quick brown fox jumps over the lazy dog. "
    assert compressed_bits(sentence, sentence) < 0.5 * compressed_bits(sentence, "x")
    noise = bytes(np.random.default_rng(0).integers(97, 97 + 16, 4000, np.uint8)).decode()
    assert 3.9 < compressed_bits(noise, "x") < 4.6


def test_without_texts_there_is_no_board():
    assert board(replace(rows(), texts=())) is None


def test_texts_are_read_back_and_checked(tmp_path):
    results = rows()
    odd = replace(results.texts[0], written="=1\n\"'", prompt="a,b")
    results = replace(results, texts=(odd, *results.texts[1:]))
    results.write(tmp_path)
    assert Results.read(tmp_path).texts == results.texts
    with pytest.raises(GatitoError, match=r"texts.csv has duplicate rows"):
        replace(results, texts=(odd, odd)).check("here")
    with pytest.raises(GatitoError, match="has no list of references"):
        board(replace(results, texts=(replace(odd, references="red"), *results.texts[1:])))


def test_rows_keep_the_order_of_the_suite():
    names = ("digits", "captions")
    tasks = [Task.resolve(f"words/{name}", TaskConfig(family="words", env_id=name)) for name in names]
    records = [
        TextRecord(f"words/{name}", seed, "", "w", ("r", "s"), None)
        for name in ("captions", "digits", "x")
        for seed in (2, 1)
    ]
    made = text_rows(Suite("words", tuple(tasks)), AgentId("expert"), 0, records)
    assert [(row.task, row.episode_seed) for row in made] == [
        (f"words/{name}", seed) for name in names for seed in (1, 2)
    ]
    assert made[0].accepted == ["r", "s"]
