"""Networks that are recorded in place of the experts."""

import csv
import json
import shutil
from types import SimpleNamespace

from benchmarks.base.artifacts import write_manifest
from generalist.config.recipe import find_network
from tests.conftest import gatito
from tests.test_gatito import NO_BAR, TINY, fails_with

COMMAND = [
    *TINY,
    "tasks=[cartpole]",
    *NO_BAR,
    "suite.tasks.classic-cartpole.expert.env_steps=500",
    "controls.agents=[specialist]",
]

MANIFEST = {"complete": True, "kind": "generalist", "config": {}, "files": {}, "facts": {}, "wall_seconds": 1.0}


def columns(folder, name):
    return list(csv.DictReader((folder / name).open()))


def test_a_generalist_is_distilled_into_a_smaller_one_and_specialists_into_one(tmp_path):
    runs = tmp_path / "results" / "runs"

    def run(*arguments):
        done = gatito(*COMMAND, *arguments, cwd=tmp_path, timeout=600)
        assert done.returncode == 0, done.stderr

    run("name=large")
    run("name=small", "record.player=large", "model.feedforward=16")
    run("name=again", "record.player=large/controls/specialist", "model.feedforward=16")
    recorded = {}
    for name in ("large", "small", "again"):
        [manifest] = (runs / name / "trajectories" / "classic" / "cartpole" / "expert").glob("manifest.json")
        recorded[name] = json.loads(manifest.read_text())
        rows = columns(runs / name, "scores.csv")
        assert {row["agent"] for row in rows} == {"random", "expert", "generalist", "specialist"}
    assert len({manifest["fingerprint"] for manifest in recorded.values()}) == 3
    assert {manifest["facts"]["distribution_kind"] for manifest in recorded.values()} == {"logits"}
    experts = [[row for row in columns(runs / name, "scores.csv") if row["agent"] == "expert"] for name in recorded]
    assert experts[0] == experts[1] == experts[2], "f is measured by the same experts"
    costs = [
        int(row["parameters"])
        for name in recorded
        for row in columns(runs / name, "costs.csv")
        if row["agent"] == "generalist"
    ]
    assert costs[1] == costs[2] < costs[0]


def test_a_missing_player_and_teachers_that_are_not_recorded_get_one_line(tmp_path):
    done = gatito(*COMMAND, "record.player=nowhere", cwd=tmp_path)
    fails_with(done, "record.player=nowhere has no finished generalist: name a run below")
    done = gatito(*COMMAND, "record.player=nowhere", "record.reward_only_share=0.5", cwd=tmp_path)
    fails_with(done, "record.player and record.reward_only_share exclude each other")


def test_a_runs_newest_generalist_is_found(tmp_path):
    run, rounds = SimpleNamespace(runs_folder=tmp_path), tmp_path / "rounds" / "ida"

    def finish(folder, name, before):
        folder.mkdir(parents=True, exist_ok=True)
        inputs = {"before": before} if before else {}
        write_manifest(folder, {"fingerprint": name, "inputs": inputs, **MANIFEST})

    finish(tmp_path / "rounds" / "generalist", "start", "")
    for number in range(1, 11):
        finish(rounds / f"round-{number}" / "generalist", f"{number}", f"{number - 1}" if number > 1 else "start")
        finish(rounds / f"round-{number}" / "control", f"control {number}", "start")
    (rounds / "round-11" / "generalist").mkdir(parents=True)  # not finished
    (rounds / "round-12-copied").mkdir()
    assert find_network(run, "record.player", "rounds") == rounds / "round-10" / "generalist"
    shutil.rmtree(rounds / "round-3")
    assert find_network(run, "record.player", "rounds") == rounds / "round-10" / "generalist", "one was removed"
    finish(rounds / "round-7" / "generalist", "made again with other settings", "6")
    assert find_network(run, "record.player", "rounds") == rounds / "round-7" / "generalist", "later ones are stale"
    finish(rounds / "round-1" / "generalist", "of an earlier start", "another start")
    assert find_network(run, "record.player", "rounds") == tmp_path / "rounds" / "generalist"
