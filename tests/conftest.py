import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("WANDB_MODE", "offline")


def make_task(env_id="tests.environments:Counter-v0", name=None, **settings):
    """A task of any registered environment."""
    from benchmarks.tasks import Task, TaskConfig

    default = "toy/" + env_id.rpartition(":")[2].rpartition("-")[0].lower()
    return Task.resolve(name or default, TaskConfig(env_id=env_id, **settings))


def make_run(folder, suite=None, *, seed=0, workers=1, failures=None):
    """A run in a folder without tracking; without a suite, it has no tasks."""
    from benchmarks.runs.failures import Failures
    from benchmarks.runs.run import Run
    from benchmarks.runs.tracking import Tracker, TrackingConfig
    from benchmarks.tasks import Suite

    suite = suite or Suite("toy", ())
    tracker = Tracker(TrackingConfig("none"), group="toy/r", exp_name="r", seed=seed, folder=folder)
    failures = Failures([task.name for task in suite]) if failures is None else failures
    return Run(folder, suite, seed, workers, tracker, failures)


def agent_id(text):
    """The identity of ``generalist round 2 (model=mini)``, as tests write it."""
    from benchmarks.scoring.agents import AgentId

    name, number, label = re.fullmatch(r"([\w-]+)(?: round (\d+))?(?: \((.*)\))?", text).groups()
    return AgentId(name, number and int(number), label or "")


def make_results(returns, suite="toy", **tasks):
    """Results of returns by ``{task: {agent: {training seed: returns of its episodes}}}``; a cost and a curve for each.

    Agents are texts as :func:`agent_id` takes them.

    ``tasks`` holds columns of the tasks' rows, by the task's name without its group; with ``metric="success"``, returns
    above 0 are successes.
    """
    from benchmarks.base.seeds import Purpose, episode_seed
    from benchmarks.scoring.results import CostRow, CurveRow, Results, ScoreRow, TaskRow

    scores, rows, costs, curves = [], [], {}, {}
    for task, agents in returns.items():
        columns = {"env_id": "Toy-v0", "horizon": 9, "metric": "return", "reference": None, "preprocessing": "abc"}
        columns |= tasks.get(task.rpartition("/")[2], {})
        for text, seeds in agents.items():
            agent = agent_id(text)
            key = (agent.name, agent.round, agent.label)
            for seed, values in seeds.items():
                for index, value in enumerate(map(float, values)):
                    success = value > 0 if columns["metric"] == "success" else None
                    episode = episode_seed(Purpose.TEST, index, seed)
                    scores.append(ScoreRow(suite, task, *key, seed, episode, value, 9, success))
                if agent.name == "expert":
                    own = {"label": agent.label, "gate_mean": sum(values) / len(values)} | columns
                    rows.append(TaskRow(suite, task, train_seed=seed, **own))
                costs[agent, seed] = CostRow(suite, *key, seed, 10, 1e6, 100, 1.5, 50, 0.25)
                curves[agent, seed] = CurveRow(*key, "", seed, "loss", 5, 0.1 + seed)
    return Results(tuple(scores), tuple(rows), tuple(costs.values()), tuple(curves.values()))


def gatito(*arguments, cwd, timeout=300, **environment):
    """Run the command line as a user would."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "250"} | environment
    return subprocess.run(
        [sys.executable, str(ROOT / "gatito.py"), *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def small_network(codec, width=32, tasks=(), **sizes):
    """A network of one layer and random weights."""
    from generalist.config.settings import ModelConfig
    from generalist.network.network import make_network

    sizes = {"layers": 1, "heads": 2, "feedforward": width} | sizes
    return make_network(ModelConfig(width=width, **sizes), codec, tasks)


@pytest.fixture
def gatito_inside(tmp_path, monkeypatch, capfd):
    """Run the command line in this process and in an empty folder, which is seconds faster for early errors."""

    def run(*arguments):
        import gatito as entry

        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "250")
        monkeypatch.setattr(sys, "argv", ["gatito", *arguments])
        monkeypatch.setattr(entry, "_sweep", entry.Sweep())
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            entry.main()
        captured = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, done.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def suite_folder(tmp_path):
    """A folder for suites of a test's own, given to gatito as ``--config-dir``."""
    folder = tmp_path / "conf"
    (folder / "suite").mkdir(parents=True)
    return folder
