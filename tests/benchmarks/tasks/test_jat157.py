"""The suite of all tasks: it composes, and a sample of its tasks, which depends on the commit, is played."""

import csv
import subprocess

import pytest
import yaml

from tests.conftest import ROOT, gatito

FAMILIES = {"atari": 57, "babyai": 39, "metaworld": 50, "mujoco": 11}


def names():
    """The suite's tasks by family, from the files that it includes."""
    files = {"atari": "atari57", "babyai": "babyai", "metaworld": "metaworld", "mujoco": "mujoco"}
    suites = {family: yaml.safe_load((ROOT / f"conf/suite/{name}.yaml").read_text()) for family, name in files.items()}
    return {family: [key.replace("-", "/", 1) for key in suite["tasks"]] for family, suite in suites.items()}


def sample(each=2):
    """Some tasks of each family, in the order of the commits' digests."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    turn = int(done.stdout or "0", 16)
    return [tasks[(each * turn + place) % len(tasks)] for tasks in names().values() for place in range(each)]


def test_it_is_the_union_of_its_families():
    assert {family: len(tasks) for family, tasks in names().items()} == FAMILIES


def test_a_sample_is_played_and_scored_end_to_end(tmp_path):
    """Short episodes by programs or the random policy, and an almost untrained network."""
    tasks = sample()
    for family in FAMILIES:
        pytest.importorskip(
            {"atari": "ale_py", "babyai": "minigrid", "metaworld": "metaworld", "mujoco": "mujoco"}[family]
        )
    done = gatito(
        "suite=jat157", "experts=scripted", f"tasks=[{','.join(tasks)}]", "suite.horizon=12", "controls=none",
        "experts.gate_episodes=2", "record.env_steps=20", "record.random_env_steps=5", "record.shards=1",
        "distill.updates=3", "distill.batch_size=8", "distill.warmup=1", "evaluate.episodes=2", "clips.agents=[]",
        "tracking=none", "name=smoke",
        cwd=tmp_path, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "results/runs/smoke/scores.csv").open()))
    assert {row["task"] for row in rows} == set(tasks)
    assert {row["agent"] for row in rows} == {"random", "expert", "generalist"}
    assert all(0 < int(row["length"]) <= 12 for row in rows)
