"""A failing task is reported and left out; the others are scored; the run ends with the list of failures."""

import json
import re

import pytest

from benchmarks.base.csv_rows import read_csv
from benchmarks.base.errors import FatalError, GatitoError, TasksFailedError
from benchmarks.play.policy import RandomPolicy
from benchmarks.runs.failures import Failures, read_failures
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.evaluate import EvaluateConfig, score_artifact
from benchmarks.scoring.playing import Agent
from benchmarks.scoring.results import Results, ScoreRow
from benchmarks.tasks import Suite, SuiteConfig, TaskConfig
from tests.benchmarks.scoring.test_evaluate import SUITE, score
from tests.conftest import gatito, make_run, make_task
from tests.test_gatito import TINY

TASK = (
    "  toy-{0}: {{env_id: 'tests.environments:{1}-v0', expert: {{env_steps: 100, hyperparameters: {{n_steps: 64}}}}}}\n"
)


def write_suite(folder, **env_ids):
    text = "name: mine\ntasks:\n" + "".join(TASK.format(*pair) for pair in env_ids.items())
    (folder / "suite" / "mine.yaml").write_text(text)
    return ["--config-dir", str(folder), "suite=mine", "name=r", *TINY, "workers=2"]


def scored(run):
    """The tasks that every agent has scores of."""
    rows = read_csv(run / "scores.csv", ScoreRow, "")
    tasks = {agent: {row.task for row in rows if row.agent == agent} for agent in {row.agent for row in rows}}
    assert len({frozenset(names) for names in tasks.values()}) == 1 and len(tasks) == 6
    return sorted(tasks["random"])


def listed(done):
    """The list at the end: the header, and each task's line."""
    lines = done.stderr.splitlines()
    [start] = [number for number, line in enumerate(lines) if line.startswith("error:")]
    return lines[start], [line.strip() for line in lines[start + 1 :]]


def test_a_run_continues_without_failing_tasks_and_includes_them_once_fixed(tmp_path, suite_folder):
    command = write_suite(suite_folder, good="Counter", fragile="Fragile", needy="Needy", other="Target")
    (tmp_path / "broken").touch()
    done = gatito(*command, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    header, lines = listed(done)
    assert header == "error: 2 of 4 tasks failed; once they are fixed, run all stages again:"
    assert len(done.stderr.splitlines()) == 2 + 1 + 2 + 1, done.stderr  # the failures, the list, and the page's path
    assert lines[0].startswith("toy/fragile: the worker process of expert toy/fragile died of SIGSEGV")
    assert lines[1].startswith("toy/needy: task toy/needy needs a package") and "gatito[box2d]" in lines[1]
    assert done.stderr.count("toy/needy failed, the others continue") == 1  # not again in every stage
    run = tmp_path / "results" / "runs" / "r"
    assert scored(run) == ["toy/good", "toy/other"]
    assert set(read_failures(run)) == {"toy/needy", "toy/fragile"}
    for page in ("table.md", "index.html"):
        assert "toy/fragile failed: the worker process" in (run / page).read_text()
    network = (run / "generalist" / "model.safetensors").read_bytes()
    expert = (run / "experts" / "toy" / "good" / "manifest.json").stat().st_mtime_ns

    done = gatito(*command, "stages=[evaluate,report]", cwd=tmp_path)  # earlier failures stay left out
    assert done.returncode == 1 and len(listed(done)[1]) == 2, done.stderr

    (tmp_path / "broken").unlink()
    write_suite(suite_folder, good="Counter", fragile="Fragile", needy="Counter", other="Target")
    done = gatito(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert scored(run) == ["toy/fragile", "toy/good", "toy/needy", "toy/other"]
    assert not (run / "failures.json").exists() and "failed" not in (run / "table.md").read_text()
    assert (run / "generalist" / "model.safetensors").read_bytes() != network  # it has learned more tasks
    assert (run / "experts" / "toy" / "good" / "manifest.json").stat().st_mtime_ns == expert


def test_unsupported_and_crashing_tasks_are_left_out_of_the_generalist(tmp_path, suite_folder):
    command = write_suite(suite_folder, good="Counter", texts="TwoTexts", dead="StillBorn")
    done = gatito(*command, "controls.agents=[clone,retrieval,specialist]", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    header, lines = listed(done)
    assert header.startswith("error: 2 of 3 tasks failed")
    assert "toy/texts: task toy/texts: codec step cannot carry" in lines[0]
    assert lines[1].startswith("toy/dead: the worker process of check toy/dead died")
    run = tmp_path / "results" / "runs" / "r"
    assert scored(run) == ["toy/good"]
    assert json.loads((run / "generalist" / "manifest.json").read_text())["config"]["tasks"] == ["toy/good"]


def test_if_every_task_fails_the_run_stops_with_the_list(gatito_inside, suite_folder, tmp_path):
    command = write_suite(suite_folder, one="Needy", two="Needy")
    done = gatito_inside(*command)
    assert done.returncode == 1
    assert listed(done)[0].startswith("error: 2 of 2 tasks failed")
    assert not (tmp_path / "results").exists()


def test_a_mistyped_word_stops_all_and_a_missing_package_one_task(gatito_inside, suite_folder):
    configs = {"toy-a": TaskConfig("tests.environments:Counter-v0"), "toy-b": TaskConfig("nowhere:X-v0")}
    failures = Failures(["toy/a", "toy/b"])
    assert [task.name for task in Suite.resolve(SuiteConfig("s", configs), failed=failures.add)] == ["toy/a"]
    assert "toy/b" in failures
    for mistyped in ({"env_id": "CartPole-v9"}, {"family": "atary"}, {"metric": "retrun"}):
        wrong = {"env_id": "CartPole-v1"} | mistyped
        with pytest.raises(FatalError, match="unknown"):
            Suite.resolve(SuiteConfig("s", configs | {"toy-c": TaskConfig(**wrong)}), failed=failures.add)


@pytest.mark.parametrize(
    "env_id, workers, line",
    [
        ("Raises", 1, "the environment of task toy/raises raised in step.. in an episode seeded"),
        ("Exits", 1, "the environment of task toy/exits raised in reset.. .*SystemExit: 3"),
        ("Dies", 2, "the worker process of evaluate (random|expert) died of SIGSEGV"),
    ],
)
def test_a_task_that_fails_in_evaluation_is_left_out_for_every_agent(env_id, workers, line, tmp_path):
    bad = make_task(f"tests.environments:{env_id}-v0")
    suite = Suite("toy", (*SUITE, bad))
    failures = Failures([task.name for task in suite])
    results = score(tmp_path / "a" / "r", "random", "expert", suite=suite, workers=workers, failures=failures)
    with pytest.raises(TasksFailedError, match="1 of 3 tasks failed") as error:
        failures.stop_if_any()
    assert re.search(line, error.value.lines[0]), error.value.lines
    without = score(tmp_path / "b" / "r", "random", "expert", workers=workers)
    assert (results.scores, results.tasks) == (without.scores, without.tasks)
    assert results == Results.read(tmp_path / "a" / "r")


@pytest.mark.parametrize("before", [True, False], ids=["scored before", "scored now"])
def test_a_task_that_fails_with_one_agent_is_left_out_for_all(before, tmp_path):
    run = tmp_path / "runs" / "r"
    if before:
        score(run, "random")
    failures = Failures([task.name for task in SUITE])
    players = [Agent(AgentId("random"), RandomPolicy), Agent(AgentId("expert"), Clumsy)]
    results = score(run, players=players, failures=failures)
    assert "toy/target" in failures and len(failures) == 1
    assert {(row.agent, row.task) for row in results.scores} == {("random", "toy/counter"), ("expert", "toy/counter")}
    assert results == Results.read(run)
    left = failures.survivors(SUITE)
    assert all(
        score_artifact(make_run(run, seed=4), player, left, EvaluateConfig(12)).is_complete() for player in players
    )


class Clumsy(RandomPolicy):
    """Cannot play one of the tasks."""

    name = "expert"

    def act(self, inputs, state):
        for rows in inputs:
            if rows.task.name == "toy/target":
                raise GatitoError("it has two left feet: play something else.", rows.task.name)
        return super().act(inputs, state)


def test_failures_belong_to_stages():
    suite = Suite("toy", tuple(make_task(name=f"toy/{name}") for name in "abc"))
    failures = Failures(["toy/a", "toy/b", "toy/c"])
    failures.stage = "distill"
    failures.add("toy/a", "first\nline")
    failures.stage = "evaluate"
    failures.add("toy/b", "second")
    failures.add("toy/a", "third")
    names = {stage: [task.key[-1] for task in failures.survivors(suite, stage)] for stage in ("record", "distill")}
    assert names == {"record": ["a", "b", "c"], "distill": ["b", "c"]}
    assert [task.key[-1] for task in failures.survivors(suite)] == ["c"]
    failures.stop_if_none_is_left()
    with pytest.raises(TasksFailedError) as error:
        failures.stop_if_any()
    assert error.value.lines == ["toy/a: first line", "toy/b: second"]


def test_earlier_failures_are_remembered_and_not_retried(tmp_path):
    failures = Failures(["toy/a", "toy/b"])
    failures.stage = "record"
    failures.add("toy/a", "why")
    failures.write(tmp_path)
    for stages, expected in ((["evaluate", "report"], ["toy/a"]), (["record", "distill"], []), (["experts"], [])):
        later = Failures(["toy/a", "toy/b"])
        later.recall(tmp_path, stages)
        assert [task for task in ("toy/a", "toy/b") if task in later] == expected, stages
    Failures([]).write(tmp_path)
    assert read_failures(tmp_path) == {}


def test_what_failed_and_is_finished_by_now_is_forgotten(tmp_path):
    failures = Failures(["toy/a", "toy/b"])
    failures.stage = "experts"
    failures.add("toy/a", "why")
    failures.add("toy/b", "why")
    failures.write(tmp_path)
    later = Failures(["toy/a", "toy/b"])
    later.recall(tmp_path, ["evaluate"], lambda stage, task: (stage, task) == ("experts", "toy/a"))
    assert "toy/a" not in later and "toy/b" in later
    later.write(tmp_path)
    assert set(read_failures(tmp_path)) == {"toy/b"}


def test_a_command_leaves_the_failures_of_which_it_says_nothing(tmp_path):
    failures = Failures(["toy/a", "toy/b", "toy/c"])
    failures.stage = "experts"
    failures.add("toy/a", "why")
    failures.add("toy/b", "why")
    failures.stage = "evaluate"
    failures.add("toy/c", "why")
    failures.write(tmp_path)
    mended = Failures(["toy/a"])  # tasks=[a] stages=[experts]
    mended.recall(tmp_path, ["experts"])
    assert len(mended) == 0
    mended.write(tmp_path)
    assert set(read_failures(tmp_path)) == {"toy/b", "toy/c"}
    whole = Failures(["toy/a", "toy/b", "toy/c"])  # stages=[report]
    whole.recall(tmp_path, ["report"])
    assert [task for task in ("toy/a", "toy/b", "toy/c") if task in whole] == ["toy/b", "toy/c"]


def test_failures_that_are_in_the_file_are_not_written_again(tmp_path):
    failures = Failures(["toy/a"])
    failures.stage = "experts"
    failures.add("toy/a", "why")
    failures.write(tmp_path)
    before = (tmp_path / "failures.json").stat().st_ino
    again = Failures(["toy/a"])
    again.recall(tmp_path, ["report"])
    again.write(tmp_path)
    assert (tmp_path / "failures.json").stat().st_ino == before
