"""Results folders are verified: every number of a table must follow from its rows."""

import gzip
import shutil

import pytest

from benchmarks.base.artifacts import Artifact, write_json
from benchmarks.base.csv_rows import to_csv
from benchmarks.base.environment import describe_environment
from benchmarks.base.seals import seal
from benchmarks.report.report import write_report
from benchmarks.report.verify import verify_folder
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.results import Results, ScoreRow
from tests.benchmarks.report.test_docs import COMMITTED, RESULTS
from tests.conftest import make_results


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.relative_to(RESULTS).as_posix())
def test_every_committed_folder_is_what_its_rows_give(folder):
    assert list(verify_folder(folder)) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A submission: the folder of a run, as the stages leave it."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    returns = {"random": {0: [0, 1, 2]}, "expert": {0: [10, 11, 12]}, "generalist": {0: [7, 8, 9]}}
    results = make_results({"toy/x": returns, "toy/y": returns})
    steps = {
        row.agent_id: sum(other.length for other in results.scores if other.agent == row.agent) for row in results.costs
    }
    costs = tuple(type(row)(**{**vars(row), "play_steps": steps[row.agent_id]}) for row in results.costs)
    results = Results(results.scores, results.tasks, costs, results.curves)
    results.write(folder)
    (folder / "config.yaml").write_text("suite: {name: toy}\n")
    write_json(folder / "environment.json", describe_environment("gatito suite=toy"))
    tracker = Tracker(TrackingConfig("none"), group="toy/r", exp_name="r", seed=0, folder=folder)
    write_report(Results.read(folder), folder, tracker=tracker)
    artifact = Artifact(folder / "scores" / "generalist", "scores", {})
    artifact.start()
    (artifact.folder / "scores.csv").write_text(
        to_csv([row for row in results.scores if row.agent == "generalist"], ScoreRow)
    )
    artifact.finish(1.0)
    assert list(verify_folder(folder)) == []
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "runs" / "mine")


def edit(path, before, after, sealed=True):
    """Change one text in a file, and make its checksum the right one where it has any."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    if sealed and path.name in ("scores.csv", "tasks.csv", "costs.csv", "curves.csv"):
        seal(path.parent, [path.name])


def test_one_edited_number_is_found_wherever_it_is(folder):
    rows = (folder / "table.csv").read_text().splitlines()
    generalist = next(row for row in rows if row.startswith("toy,toy/x,generalist"))
    f = generalist.split(",")[10]
    edit(folder / "table.csv", f",{f},", f",{float(f) + 1e-6},")
    [line] = verify_folder(folder)
    assert line == f"table.csv: toy/x, generalist: f is {float(f) + 1e-6}, the rows give {f}"


@pytest.mark.parametrize(
    "name, before, after, words",
    [
        ("scores.csv", ",8.0,9,", ",9.0,9,", "table.csv: toy/x, generalist: raw is 8.0, the rows give 8.333"),
        ("table.md", "0.700", "0.800", "table.md, line "),
        ("table.tex", "0.700", "0.800", "table.tex, line "),
        (
            "costs.csv",
            ",54,",
            ",55,",
            "costs.csv: random, training seed 0: play_steps is 55, its episodes in scores.csv have 54",
        ),
        ("scores.csv", ",generalist,,,0,600000000", ",generalist,,,0,600000001", "duplicate rows"),
        ("environment.json", "command", "typed", "environment.json has no command"),
    ],
)
def test_a_changed_file_is_told_in_one_line_for_each_difference(folder, name, before, after, words):
    edit(folder / name, before, after)
    lines = list(verify_folder(folder))
    assert any(words in line for line in lines), lines
    assert not any("\n" in line for line in lines)


def test_episodes_that_are_none_of_the_test_are_named(folder):
    path = folder / "scores.csv"
    path.write_text(path.read_text().replace("600000002", "600000009"))
    seal(folder, ["scores.csv"])
    assert any("episode seed 600000009 is no test episode of training seed 0" in line for line in verify_folder(folder))


def test_a_file_that_is_not_sealed_anew_is_told_by_its_checksum(folder):
    edit(folder / "scores.csv", ",8.0,9,", ",8.0,9 ,", sealed=False)
    assert "scores.csv is not the file that gatito wrote: its checksum differs from the one in results.json" in list(
        verify_folder(folder)
    )


def test_what_is_missing_or_damaged_is_named(folder):
    (folder / "table.tex").unlink()
    (folder / "environment.json").unlink()
    (folder / "scores" / "generalist" / "scores.csv").write_text("no")
    lines = list(verify_folder(folder))
    assert "table.tex is missing" in lines and "environment.json is missing" in lines
    assert any(line.endswith("scores.csv has 2 bytes instead of " + line.rpartition(" ")[2]) for line in lines)
    (folder / "scores.csv").unlink()
    assert any("scores.csv is missing" in line for line in verify_folder(folder))


def test_the_scores_of_a_runs_agents_must_be_those_of_its_table(folder):
    path = folder / "scores" / "generalist"
    (path / "manifest.json").unlink()
    edit(path / "scores.csv", ",8.0,9,", ",8.5,9,")
    [line] = verify_folder(folder)
    assert (
        line
        == "scores/generalist/scores.csv: generalist on toy/x, episode 600000001 is not so in the folder's scores.csv"
    )


def test_the_command_says_what_differs_and_ends_with_exit_code_1(folder, gatito_inside):
    path = folder / "scores.csv"
    (folder / "scores.csv.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    seal(folder, ["scores.csv.gz"])
    done = gatito_inside("stages=[verify]", "runs=[mine]", "runs_folder=runs")
    assert done.returncode == 0 and "runs/mine: every number of its tables follows from its rows" in done.stderr
    edit(folder / "table.csv", "toy/x,generalist,,,1,1,8.0", "toy/x,generalist,,,1,1,9.0")
    done = gatito_inside("stages=[verify]", f"runs=[{folder}]")
    assert done.returncode == 1 and "table.csv: toy/x, generalist: raw is 9.0, the rows give 8.0" in done.stderr
    assert "error: 1 of 1 results folders are not what their rows give" in done.stderr
    done = gatito_inside("stages=[verify]")
    assert done.returncode == 1 and "stages=[verify] needs runs to verify" in done.stderr
