"""Follow the remedies in error messages literally: afterwards, the same command works.

And it costs no more than it must: everything else in the run's folder is as it was.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import read_json, write_json, write_text
from benchmarks.base.seeds import Purpose
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.recording import RecordingJob, record
from benchmarks.runs.failures import Failures, read_failures
from benchmarks.scoring.comparison import compare
from benchmarks.tasks import Suite
from experts.recipe import ExpertRecipe, ExpertsConfig
from experts.released import adopt_released_expert, release, released_digest
from experts.train import read_gate
from tests.conftest import make_results, make_task

TASK = make_task("tests.environments:Counter-v0")


def make_expert(run):
    """A finished expert, as written by training."""
    artifact = Artifact(run / "experts" / TASK.name, "expert", {"task": TASK.digest, "recipe": {"algorithm": "ppo"}})
    if not artifact.is_complete():
        artifact.start()
        gate = {"mean": 2.0, "std": 1.0, "episodes": 3, "passed": True, "reference": None}
        write_json(artifact.folder / "gate.json", gate)
        write_json(artifact.folder / "expert.json", {"task": TASK.name, "recipe": {"algorithm": "ppo"}, "seed": 0})
        write_json(artifact.folder / "curve.json", [])
        write_text(artifact.folder / "log.jsonl", "")
        save_state(artifact.folder / "policy.safetensors", {"a": 1})
        artifact.finish(1.0, steps=5)
    read_gate(artifact)
    return artifact


def unfinished_artifact(run):
    Artifact(run / "generalist", "generalist", {"a": 1}).start()


def make_recording(run):
    """A recording that was killed and can be resumed."""
    artifact = Artifact(run / "trajectories" / TASK.name, "trajectories", {"agent": "random"})
    failures = Failures([TASK.name])
    artifact.start()
    job = RecordingJob(TASK, RandomPolicy, artifact, 20, Purpose.RECORDING_RANDOM, 0, shards=2)
    record([job], workers=1, failures=failures, suite=Suite("toy", (TASK,)))
    failures.stop_if_any()


def interrupted_recording(run):
    make_recording(run)
    manifest = run / "trajectories" / TASK.name / "manifest.json"
    fingerprint = read_json(manifest)["fingerprint"]
    manifest.unlink()
    write_json(manifest.with_name("started.json"), {"fingerprint": fingerprint, "kind": "trajectories"})


def make_scores(run):
    """A run with results, a description of its machine, and a checkpoint of something unfinished."""
    if not (run / "config.yaml").exists():
        write_text(run / "config.yaml", "seed: 0\nlabel: default\n")
        write_json(run / "environment.json", {"command": "gatito", "git_commit": None})
    compare([run], run.parent / "pooled")


def with_scores(run):
    returns = {"random": {0: [0.0, 0.1]}, "expert": {0: [9.0, 9.1]}, "generalist": {0: [8.0, 8.1]}}
    make_results({"toy/a": returns}).write(run)
    make_scores(run)


def read_what_failed(run):
    read_failures(run)


def resume_training(run):
    """Like training: resume from a checkpoint, if there is one."""
    path = run / "experts" / "checkpoint.safetensors"
    if path.exists():
        load_state(path)


def begun_training(run):
    save_state(run / "experts" / "checkpoint.safetensors", {"steps": 5})


def forge_nan(path):
    """A gate without a number, with valid checksums."""
    manifest = read_json(path.with_name("manifest.json"))
    write_json(path, read_json(path) | {"mean": float("nan")})
    kept = Artifact(path.parent, manifest["kind"], manifest["config"])
    kept.finish(1.0, steps=5)


def garble(path):
    path.write_bytes(b"\xff\x00[")


def other_shape(path):
    path.write_text("[3]")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


EXPERT, TRAJECTORIES = "experts/toy/counter", "trajectories/toy/counter"
CASES = [
    (make_expert, make_expert, f"{EXPERT}/manifest.json", garble),
    (make_expert, make_expert, f"{EXPERT}/manifest.json", other_shape),
    (make_expert, make_expert, f"{EXPERT}/gate.json", flip),
    (make_expert, make_expert, f"{EXPERT}/gate.json", forge_nan),
    (make_expert, make_expert, f"{EXPERT}/policy.safetensors", Path.unlink),
    (unfinished_artifact, unfinished_artifact, "generalist/started.json", garble),
    (unfinished_artifact, unfinished_artifact, "generalist/started.json", other_shape),
    (make_recording, lambda run: Artifact(run / TRAJECTORIES, "trajectories", {"agent": "random"}).is_complete()
        or make_recording(run), f"{TRAJECTORIES}/shard-001/rewards.npy", flip),
    (interrupted_recording, make_recording, f"{TRAJECTORIES}/shard-001/index.json", garble),
    (interrupted_recording, make_recording, f"{TRAJECTORIES}/shard-001/index.json", other_shape),
    (interrupted_recording, make_recording, f"{TRAJECTORIES}/shard-001/actions.npy", flip),
    (with_scores, make_scores, "environment.json", garble),
    (with_scores, make_scores, "environment.json", other_shape),
    (lambda run: write_json(run / "failures.json", {}), read_what_failed, "failures.json", garble),
    (lambda run: write_json(run / "failures.json", {}), read_what_failed, "failures.json", other_shape),
    (begun_training, resume_training, "experts/checkpoint.safetensors", flip),
]  # fmt: skip


@pytest.mark.parametrize(
    "prepare, command, damaged, damage", CASES, ids=[f"{case[2]}-{case[3].__name__}" for case in CASES]
)
def test_the_advice_in_errors_works_and_repeats_no_other_work(tmp_path, prepare, command, damaged, damage):
    run = tmp_path / "runs" / "r"
    write_text(run / "scores" / "generalist" / "precious.csv", "hours of play")
    prepare(run)
    damage(run / damaged)
    with pytest.raises(GatitoError) as error:
        command(run)
    assert "\n" not in str(error.value)
    named = re.search(
        r"Remove the (?:file|folder) (\S+) and run|(\S+) is damaged \(.*\)\. Remove it and run", str(error.value)
    )
    assert named, error.value
    target = Path(named[1] or named[2])
    assert target not in (run, run.parent, run / "experts") and (run / damaged).is_relative_to(target)
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    command(run)
    assert (run / "scores" / "generalist" / "precious.csv").exists()


def test_an_edited_score_is_rewritten_by_following_the_advice(tmp_path):
    with_scores(tmp_path / "r")
    path = tmp_path / "r" / "scores.csv"
    path.write_text(path.read_text().replace("8.0", "9.0"))
    with pytest.raises(GatitoError, match=r"run with stages=\[evaluate,report\], which writes it again"):
        make_scores(tmp_path / "r")
    with_scores(tmp_path / "r")  # like evaluate, from the scores of each agent


def release_expert(run, folder):
    recipe = ExpertRecipe(algorithm="ppo")
    return release(Suite("toy", (TASK,)), run, folder, {TASK.name: recipe}, ExpertsConfig(), 0)


@pytest.mark.parametrize("name", ["manifest.json", "policy.safetensors", "gate.json"])
@pytest.mark.parametrize("damage", [garble, flip])
def test_a_damaged_released_expert_fails_its_task_alone_and_can_be_fetched_or_released_again(tmp_path, name, damage):
    released, run = tmp_path / "released", tmp_path / "runs" / "r"
    make_expert(run)
    release_expert(run, released)
    shutil.copytree(released, tmp_path / "committed")
    damage(released / TASK.name / name)
    mine = Artifact(tmp_path / "runs" / "other" / EXPERT, "expert", {})
    mine.start()
    with pytest.raises(GatitoError, match=r"git checkout -- .*experts=train, or leave the task out") as error:
        released_digest(TASK, released)
        adopt_released_expert(TASK, released, mine)
    assert type(error.value) is GatitoError
    if name == "manifest.json":  # the folder's owner is unknown
        with pytest.raises(GatitoError, match="move them away"):
            release_expert(run, released)
        shutil.move(released / TASK.name, tmp_path / "away")
    release_expert(run, released)
    adopt_released_expert(TASK, released, mine)
    assert mine.is_complete()
    damage(released / TASK.name / name)
    shutil.rmtree(released / TASK.name)
    shutil.copytree(tmp_path / "committed" / TASK.name, released / TASK.name)  # what git checkout does
    assert released_digest(TASK, released)


def test_a_kill_while_releasing_loses_nothing_and_foreign_folders_are_kept(tmp_path, monkeypatch):
    released, run = tmp_path / "released", tmp_path / "runs" / "r"
    make_expert(run)
    release_expert(run, released)
    before = released_digest(TASK, released)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("experts.released.write_manifest", killed)
        release_expert(run, released)
    assert released_digest(TASK, released) == before
    assert [path.name for path in (released / TASK.name).parent.iterdir()] == ["counter"]
    (released / TASK.name / "manifest.json").unlink()
    with pytest.raises(GatitoError, match="has files that gatito did not make"):
        release_expert(run, released)
    assert (released / TASK.name / "policy.safetensors").exists()


def test_a_released_expert_contains_only_an_experts_files(tmp_path):
    released, run = tmp_path / "released", tmp_path / "runs" / "r"
    make_expert(run)
    release_expert(run, released)
    write_text(released / TASK.name / "sitecustomize.py", "evil")
    manifest = json.loads((released / TASK.name / "manifest.json").read_text())
    Artifact(released / TASK.name, "expert", manifest["config"]).finish(1.0, **manifest["facts"])
    mine = Artifact(tmp_path / "runs" / "other" / EXPERT, "expert", {})
    mine.start()
    adopt_released_expert(TASK, released, mine)
    assert not (mine.folder / "sitecustomize.py").exists() and mine.is_complete()
