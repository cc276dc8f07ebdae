"""``suite=PATH`` on the command line, in sweeps, and in a run's own command."""

import json
import shlex

import pytest

from tests.conftest import gatito

SUITE = """
name: {name}
tasks:
  odd-pole: {{env_id: CartPole-v1, horizon: 20}}
"""
FAST = (
    "experts=scripted",
    "record.env_steps=100",
    "experts.gate_episodes=2",
    "tracking=none",
    "stages=[experts,record]",
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mein föld er").mkdir()
    (tmp_path / "mein föld er" / "süite.yaml").write_text(SUITE.format(name="odd"))
    (tmp_path / "two.yaml").write_text(SUITE.format(name="two"))
    return tmp_path


def test_a_run_prints_the_command_that_repeats_it(folder):
    done = gatito("--config-dir", "mein föld er", "suite=mein föld er/süite.yaml", "name=r", *FAST, cwd=folder)
    assert done.returncode == 0, done.stderr
    command = json.loads((folder / "results/runs/r/environment.json").read_text())["command"]
    words = shlex.split(command)
    assert words[:2] == ["gatito", "--config-dir"] and "suite=mein föld er/süite.yaml" in words


def test_a_sweep_over_files_runs_in_other_processes(folder):
    suites = "suite=./mein föld er/süite.yaml,./two.yaml"
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = gatito("-m", suites, *launcher, *FAST, "experts=train", "stages=[list]", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("odd/pole") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\ntaks: {}\n", ["'taks'", "Did you mean 'tasks'"]),
        ("name: x\ntasks: {a-b: {env_id: CartPole-v1, refrence: 3}}\n", ["'refrence'", "Did you mean 'reference'"]),
        ("tasks: {a-b: {env_id: CartPole-v1}}\n", ["no name"]),
        ('name: x\ntasks: {a-b: {env_id: "${oc.env:HOME}"}}\n', ["environment variable"]),
        (None, ["no such file"]),
    ],
)
def test_a_wrong_file_gets_one_line(gatito_inside, tmp_path, text, words):
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    done = gatito_inside("suite=./mine.yaml", "stages=[list]")
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.strip()]
    assert all(word in line for word in words), line
