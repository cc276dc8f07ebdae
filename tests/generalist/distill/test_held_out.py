"""Held-out tasks, in a whole run with a round of amplification."""

import json

import pytest

from tests.conftest import gatito
from tests.test_gatito import TINY, fails_with

COMMAND = ["suite=classic", "experts=scripted", "tasks=[cartpole,acrobot]", "distill.held_out=[cartpole]", *TINY]
ROUND = ["ida.rounds=1", "amplifier=scale", "amplifier.members=1", "ida.experts_share=0.5", "ida.env_steps=50"]
ROUND += ["ida.updates=2", "ida.control=false", "ida.episodes=2"]


def test_a_held_out_task_is_scored_and_amplified_but_its_expert_is_never_distilled(tmp_path):
    done = gatito(*COMMAND, *ROUND, "name=r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "r"
    manifest = json.loads((run / "generalist" / "manifest.json").read_text())
    assert list(manifest["inputs"]) == ["classic/acrobot"]
    assert json.loads((run / "generalist" / "network.json").read_text())["tasks"] == ["classic/acrobot"]
    learned = json.loads((run / "ida" / "round-1" / "generalist" / "manifest.json").read_text())["inputs"]
    assert sorted(learned) == ["1/classic/acrobot", "1/classic/cartpole", "before", "classic/acrobot"]
    scaled = json.loads((run / "ida" / "round-1" / "scaled" / "manifest.json").read_text())
    assert list(scaled["inputs"]) == ["classic/acrobot"]
    scored = (run / "scores.csv").read_text()
    for agent in ("generalist,", "specialist,", "clone,", "generalist,1"):  # controls learn the task separately
        assert f"classic,classic/cartpole,{agent}," in scored

    # The held-out task has no effect.
    done = gatito(*COMMAND[:2], "tasks=[acrobot]", *TINY, "stages=[experts,record,distill]", "name=s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    other = json.loads((run.parent / "s" / "generalist" / "manifest.json").read_text())
    assert other["fingerprint"] == manifest["fingerprint"] and other["files"] == manifest["files"]


def test_a_held_out_tasks_weight_decides_a_round_and_not_its_start(tmp_path):
    def fingerprints(*words, name):
        done = gatito(*COMMAND, *ROUND, "stages=[experts,record,distill,ida]", f"name={name}", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        run = tmp_path / "results" / "runs" / name
        folders = (run / "generalist", run / "ida" / "round-1" / "generalist")
        return [json.loads((folder / "manifest.json").read_text())["fingerprint"] for folder in folders]

    plain, weighed = fingerprints(name="a"), fingerprints("+distill.weights={cartpole: 3}", name="b")
    assert plain[0] == weighed[0] and plain[1] != weighed[1]


@pytest.mark.parametrize("conditioning", ["prompt", "task_id"])
def test_held_out_tasks_need_distinguishable_observations(gatito_inside, conditioning):
    done = gatito_inside(*COMMAND, f"codec.conditioning={conditioning}")
    fails_with(done, "held-out tasks have no demonstrations or embeddings", "codec.conditioning=none")
