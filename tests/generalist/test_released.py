"""A released generalist: released by one run, scored by another."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, gatito

SUITE = ["suite=classic", "tasks=[cartpole,pendulum]", "tracking=none"]
SMALL = [
    "record.env_steps=1000",
    "record.random_env_steps=200",
    "distill.updates=10",
    "distill.batch_size=8",
    "evaluate.episodes=5",
]
SCORE = ["stages=[evaluate,report]", "evaluate.episodes=5", "clips.agents=[]", "generalist=released"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    for task in ("cartpole", "pendulum"):
        place = Path("results", "experts", "classic", task)
        shutil.copytree(ROOT / place, folder / place)
    made = "stages=[experts,record,distill,evaluate]"
    done = gatito(*SUITE, *SMALL, made, "experts=released", "controls=none", "name=made", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = gatito(*SUITE, *SMALL, "stages=[release]", "experts=released", "name=made", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_released_generalist_has_the_same_scores_in_another_run(folder):
    assert (folder / "results" / "classic" / "generalist" / "model.safetensors").exists()
    done = gatito(*SUITE, *SCORE, "name=again", cwd=folder)
    assert done.returncode == 0, done.stderr
    runs = folder / "results" / "runs"
    assert (runs / "again" / "scores.csv").read_text() == (runs / "made" / "scores.csv").read_text()
    manifest = json.loads((runs / "again" / "generalist" / "manifest.json").read_text())
    assert manifest["facts"]["steps"] == 10 and "trained_at" in manifest["facts"]


def test_rounds_from_a_released_network_use_experts_if_experts_share_is_set(folder):
    rounds = ["ida.rounds=1", "amplifier=self_imitation", "ida.experts_share=0.5", "ida.env_steps=200", "ida.updates=4"]
    words = [*SUITE, *SMALL, *rounds, "experts=released", "generalist=released", "controls=none", "clips.agents=[]"]
    done = gatito(*words, "stages=[ida]", "name=rounds", cwd=folder)
    assert done.returncode == 1 and "stages=[record]" in done.stderr, done.stderr
    done = gatito(*words, "name=rounds", cwd=folder)
    assert done.returncode == 0, done.stderr
    run = folder / "results" / "runs" / "rounds"
    assert (run / "rounds.csv").exists()
    done = gatito(
        *words, "stages=[release]", "generalist.released=results/classic/generalist", "name=rounds", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "results/classic/generalist: this run began with it, so it stays; name the one after round 1" in done.stderr
    done = gatito(*words, "stages=[report]", "name=rounds", cwd=folder)
    assert done.returncode == 0, done.stderr
    newest = "generalist.released=results/runs/rounds/ida/round-1/generalist"
    done = gatito(*SUITE, *SCORE, newest, "name=next", cwd=folder)
    assert done.returncode == 0, done.stderr
    students = [(run.parent / "next" / "generalist", run / "ida" / "round-1" / "generalist")]
    assert all((a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes() for a, b in students)


@pytest.mark.parametrize(
    "words, line",
    [
        (["codec.bins=128"], "was made with another codec than the configured one: set codec.bins=256"),
        (["codec.text=words"], "was made with another codec than the configured one: set codec.text=bytes"),
        (["model=mini"], "was made with another model than the configured one: set model.name=nano model.layers=4"),
        (["generalist.released=nowhere"], "nowhere has no released generalist: distil one with generalist=train"),
    ],
)
def test_a_released_network_with_other_settings_is_rejected(folder, words, line):
    done = gatito(*SUITE, *SCORE, "name=other", *words, cwd=folder)
    assert done.returncode == 1
    assert line in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "results" / "runs" / "other" / "experts").exists()  # reported before any work
