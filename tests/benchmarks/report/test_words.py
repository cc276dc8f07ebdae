"""Words on the report's page."""

from dataclasses import replace

import numpy as np

from benchmarks.play.text_records import write_images
from benchmarks.report.charts import charts
from benchmarks.report.page import render_page
from benchmarks.report.words import text_samples, words_rows, words_tables, words_values
from benchmarks.scoring.scoreboard import score
from tests.benchmarks.scoring.test_words_board import CAPTIONS, LANGUAGE, rows
from tests.conftest import make_results


def board():
    return score(rows(), np.random.default_rng(0), 50)


def test_the_table_has_a_row_for_each_agent_and_one_for_the_compressor():
    [table] = words_tables(board())
    assert table.columns[1:] == ["captions: F1", "captions: exact", "language: predicted", "language: bits per byte"]
    shown = {row[0]: [cell.partition(" ")[0] for cell in row[1:]] for row in table.rows}
    assert shown["generalist"] == ["0.750", "0.500", "0.600", "2.500"] and shown["expert"][-1] == "-"
    assert shown["zstd"][:3] == ["-"] * 3 and 1 < float(shown["zstd"][3]) < 4
    assert words_values(board())["words/bits-per-byte/words/language/generalist"] == 2.5
    assert {row.quantity for row in words_rows(board())} == {"F1", "exact", "predicted", "bits per byte"}


def test_the_page_shows_samples_with_pictures(tmp_path):
    results = rows()
    seed = str(results.texts[0].episode_seed)
    write_images(tmp_path, {CAPTIONS: {seed: "AAAA"}})
    shown = score(results, np.random.default_rng(0), 50)
    html = render_page(shown, None, charts(shown), tmp_path)
    assert '<a href="#words">Words</a>' in html and f"<h4>{LANGUAGE}</h4>" in html
    assert html.count("data:image/png;base64,AAAA") == 1 and "<dt>generalist</dt><dd>red box</dd>" in html


def test_samples_are_the_first_episodes_and_what_is_written_is_escaped(tmp_path):
    results = rows()
    texts = [replace(row, written="<b>") if row.agent == "generalist" else row for row in results.texts]
    results = replace(results, texts=tuple(texts))
    samples = text_samples(results, {})
    assert list(samples) == [CAPTIONS, LANGUAGE] and [len(found) for found in samples.values()] == [2, 2]
    assert samples[CAPTIONS][0].written == {"generalist": "<b>"} and samples[CAPTIONS][0].image is None
    shown = score(results, np.random.default_rng(0), 50)
    assert "<dd>&lt;b&gt;</dd>" in render_page(shown, None, charts(shown), tmp_path)


def test_a_report_without_words_has_no_such_section(tmp_path):
    plain = make_results({"toy/x": {agent: {0: [1, 2]} for agent in ("random", "expert", "generalist")}})
    shown = score(plain, np.random.default_rng(0), 50)
    assert 'id="words"' not in render_page(shown, None, charts(shown), tmp_path) and words_tables(shown) == []
