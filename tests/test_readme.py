import re

import pytest
import yaml

from benchmarks.report.formats import to_markdown
from benchmarks.report.report import score_by_return, score_results
from benchmarks.report.tables import TidyScore, all_tables, headline, tidy_scores
from benchmarks.results import Results
from benchmarks.tidy import to_csv
from tests.conftest import ROOT
from tests.readme import BLOCKS, shown

CLASSIC = ROOT / "results" / "classic"


@pytest.mark.parametrize("begin", BLOCKS)
def test_the_readmes_results_are_the_committed_ones(begin):
    assert shown(begin) == BLOCKS[begin]()


def test_the_readme_has_every_classic_task():
    [classic, _] = map(shown, BLOCKS)
    assert len([line for line in classic.splitlines() if line.startswith("| classic/")]) == 5


def test_every_committed_table_is_what_the_committed_rows_give():
    results = Results.read(CLASSIC)
    assert results.train_seeds == [0, 1, 2, 3, 4]
    board = score_results(results)
    text = (CLASSIC / "table.md").read_text()
    assert text.startswith(headline(board))
    for table in all_tables(board, score_by_return(board)):
        assert to_markdown(table) in text
    assert (CLASSIC / "table.csv").read_text() == to_csv(tidy_scores(board), TidyScore)


def test_the_committed_config_is_todays_suite():
    config = yaml.safe_load((CLASSIC / "config.yaml").read_text())
    suite = yaml.safe_load((ROOT / "conf" / "suite" / "classic.yaml").read_text())
    for key, task in suite["tasks"].items():
        assert config["suite"]["tasks"][key]["env_id"] == task["env_id"]
        assert config["suite"]["tasks"][key]["expert"]["steps"] == task["expert"]["steps"]


def test_readme_speaks_of_every_folder_and_stage():
    import gatito

    text = (ROOT / "README.md").read_text()
    for folder in ("benchmarks", "experts", "generalist", "conf", "results", "tests"):
        assert f"`{folder}/`" in text
    for stage in gatito.STAGES:
        assert re.search(rf"\b{stage}\b", text), stage
