import re

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import gatito as entry  # which says what a configuration consists of
from benchmarks.base.csv_rows import to_csv
from benchmarks.report.formats import to_markdown
from benchmarks.report.report import score_by_return, score_results
from benchmarks.report.tables import TidyScore, all_tables, headline, tidy_scores
from benchmarks.scoring.results import Results
from tests.conftest import ROOT
from tests.readme import ABLATIONS, BLOCKS, IDA, rounds, shown

COMMITTED = {folder.parent.name: folder.parent for folder in sorted((ROOT / "results").glob("*/tasks.csv"))}
"""The suites whose results are committed."""

EVERY = COMMITTED | {f"{folder.parent.name}/{folder.name}": folder for folder in (*IDA, *ABLATIONS)}


@pytest.mark.parametrize("begin", BLOCKS)
def test_the_readmes_results_are_the_committed_ones(begin):
    assert shown(begin) == BLOCKS[begin]()


@pytest.mark.parametrize("suite, tasks", [("mixed", 24), ("classic", 5)])
def test_the_readme_has_every_task(suite, tasks):
    [block] = [shown(begin) for begin in BLOCKS if f"results/{suite}/" in begin]
    rows = [line for line in block.splitlines() if line.startswith("| ") and "/" in line.split("|")[1]]
    assert len(rows) == tasks


@pytest.mark.parametrize("name", EVERY)
def test_every_committed_table_is_what_the_committed_rows_give(name):
    folder = EVERY[name]
    board = score_results(Results.read(folder))
    text = (folder / "table.md").read_text()
    assert text.startswith(headline(board))
    for table in all_tables(board, score_by_return(board)):
        assert to_markdown(table) in text
    assert (folder / "table.csv").read_text() == to_csv(tidy_scores(board), TidyScore)


def test_the_classic_suite_was_played_with_five_training_seeds():
    assert Results.read(COMMITTED["classic"]).train_seeds == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", EVERY)
def test_the_committed_config_is_todays_suite(name):
    suite = yaml.safe_load((EVERY[name] / "config.yaml").read_text())["suite"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        today = OmegaConf.to_container(compose("config", [f"suite={suite['name']}"]).suite.tasks)
    for key, task in suite["tasks"].items():
        assert task["env_id"] == today[key]["env_id"]
        assert task["expert"].get("env_steps", task["expert"].get("steps")) == today[key]["expert"]["env_steps"]


def test_the_rounds_of_all_runs_are_in_one_file():
    assert (ROOT / "results" / "ida" / "rounds.csv").read_text() == rounds()


def test_readme_speaks_of_every_folder_and_stage():
    text = (ROOT / "README.md").read_text()
    for folder in ("benchmarks", "experts", "generalist", "conf", "results", "tests"):
        assert f"`{folder}/`" in text
    for stage in entry.STAGES:
        assert re.search(rf"\b{stage}\b", text), stage
