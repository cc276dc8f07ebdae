"""Held-out tasks, in a whole run with a round of amplification."""

import json

from safetensors.numpy import load_file

from benchmarks.base.checkpoints import load_state
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


def test_held_out_tasks_have_no_embeddings(gatito_inside):
    done = gatito_inside(*COMMAND, "codec.conditioning=task_id")
    fails_with(done, "held-out tasks have no embeddings", "codec.conditioning=none or prompt")


def test_held_out_tasks_that_are_shown_have_no_rounds(gatito_inside):
    fails_with(gatito_inside(*COMMAND, *ROUND, "codec.conditioning=prompt"), "has no rounds: leave ida.rounds out")


def test_held_out_tasks_are_played_from_demonstrations_alone(tmp_path):
    command = [*COMMAND, "codec.conditioning=prompt", "controls=none", "clips.agents=[]"]
    done = gatito(*command, "name=r", "distill.demonstrations=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "r"
    manifest = json.loads((run / "generalist" / "manifest.json").read_text())
    assert list(manifest["inputs"]) == ["classic/acrobot", "shown/classic/cartpole"]
    assert json.loads((run / "generalist" / "network.json").read_text())["tasks"] == ["classic/acrobot"]
    scored = (run / "scores.csv").read_text()
    assert "classic,classic/cartpole,generalist," in scored and "classic,classic/acrobot,generalist," in scored

    # Shown, it is the network that it was; only its demonstrations are others.
    few = [
        "distill.held_out=[]",
        "tasks=[cartpole]",
        "distill.start=r",
        "distill.updates=0",
        "stages=[experts,record,distill]",
    ]
    done = gatito(*command, *few, "distill.demonstrations=2", "name=s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown, before = ((run.parent / name / "generalist") for name in "sr")
    weights = [load_file(folder / "model.safetensors") for folder in (shown, before)]
    assert all((weights[0][name] == value).all() for name, value in weights[1].items())
    lengths = [
        len(load_state(folder / "prompts.safetensors")["classic/cartpole"]["labels"]) for folder in (shown, before)
    ]
    assert lengths == [32, 16]
    done = gatito(*command, *few, "distill.demonstrations=999", "name=t", cwd=tmp_path)
    assert done.returncode == 1
    assert "distill.demonstrations=999, but the recording of task classic/cartpole has 8 episodes" in done.stderr


def test_nothing_is_learned_without_a_start(gatito_inside):
    fails_with(gatito_inside("distill.updates=0"), "distill.updates=0 learns nothing", "distill.start=RUN")
    fails_with(
        gatito_inside("distill.updates=0", "distill.start=r"), "distill.updates=0 trains nothing: set controls=none"
    )
