"""Sources of experts: trained, released, or existing datasets."""

import csv
import shutil

import pytest

from benchmarks.base.artifacts import read_json, read_manifest, write_json
from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Suite
from experts import load, released, train
from experts.recipe import DATASET, RELEASED, ExpertRecipe, ExpertsConfig
from tests.conftest import ROOT, gatito, make_run, make_task

SMALL = [
    "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=600", "experts.checkpoints=2",
    "experts.selection_episodes=2", "experts.gate_episodes=3", "record.env_steps=60", "record.random_env_steps=30",
    "record.shards=1", "controls=none", "distill.updates=3", "distill.batch_size=4", "distill.warmup=1",
    "evaluate.episodes=3", "clips.agents=[]", "tracking=none", "experts.released=released",
]  # fmt: skip


def run(folder, *words):
    done = gatito(*SMALL, *words, cwd=folder)
    return done.returncode, done.stderr.strip()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run whose expert is released and whose recordings are exported."""
    folder = tmp_path_factory.mktemp("sources")
    code, error = run(folder, "name=trained", "stages=[experts,record,export,release]")
    assert code == 0, error
    return folder


def test_an_expert_is_released_with_its_provenance_and_started_from(trained):
    [row] = csv.DictReader((trained / "released" / "experts.csv").open())
    assert ",".join(row) == "task,algorithm,env_steps,train_seed,mean_return,std_return,episodes,reference,gate"
    assert row["task"] == "classic/cartpole" and row["algorithm"] == "ppo" and row["episodes"] == "3"
    assert row["gate"] == "weak" and float(row["mean_return"]) < 490  # 600 steps do not suffice for an expert
    code, error = run(trained, "name=started", "experts=released", "seed=3")
    assert code == 0, error
    first, second = (
        trained / "results" / "runs" / name / "experts/classic/cartpole" for name in ("trained", "started")
    )
    assert (first / "policy.safetensors").read_bytes() == (second / "policy.safetensors").read_bytes()
    assert read_json(second / "expert.json")["recipe"]["algorithm"] == "ppo"
    facts = [read_manifest(folder)["facts"] for folder in (first, second)]
    assert facts[0]["cost"] == facts[1]["cost"] and facts[1]["steps"] >= 600
    assert "is weak" in error  # the gate is reported again
    scores = list(csv.DictReader((trained / "results/runs/started/scores.csv").open()))
    assert {row["agent"] for row in scores} == {"random", "expert", "generalist"}


def test_releasing_a_released_expert_again_keeps_its_provenance(trained):
    before = {path: path.read_bytes() for path in (trained / "released").rglob("*") if path.is_file()}
    code, error = run(trained, "name=again", "experts=released", "stages=[experts,release]")
    assert code == 0 and "experts.csv: 1 experts" in error, error
    assert {path: path.read_bytes() for path in (trained / "released").rglob("*") if path.is_file()} == before


def test_the_projects_released_experts_are_not_released_again(trained):
    words = ["name=projects", "experts=released", "experts.released=results/experts"]
    code, error = run(trained, *words, "stages=[experts,release]")
    assert code == 0 and "no expert to release: all are released ones" in error, error
    assert not (trained / "results" / "experts").exists()


def test_a_missing_or_mismatched_released_expert_is_rejected(trained):
    code, error = run(trained, "experts=released", "+suite.tasks.classic-cartpole.kwargs.sutton_barto_reward=true")
    assert code == 1 and error.count("\n") == 0
    assert "made for other arguments of CartPole-v1 than those of task classic/cartpole" in error
    code, error = run(trained, "experts=released", "experts.released=nowhere")
    assert code == 1 and "task classic/cartpole has no released expert in nowhere: train it with experts=train" in error
    code, error = run(trained, "name=elsewhere", "experts=released", "experts.released=nowhere")
    assert code == 1 and "in nowhere" in error
    code, error = run(trained, "name=elsewhere", "experts=released", "stages=[record]")  # the path is right by now
    assert code == 1 and "classic/cartpole is not in" in error and "stages=[experts] first" in error


def test_an_unfinished_training_is_released_and_resumed_to_the_same_expert(tmp_path, monkeypatch):
    task = make_task("CartPole-v1", "classic/cartpole", reference=490.0)
    recipe = ExpertRecipe(algorithm="ppo", env_steps=600, num_envs=2, hyperparameters={"n_steps": 50, "batch_size": 50})
    config = ExpertsConfig(checkpoints=4, selection_episodes=2, gate_episodes=3)

    def make(run):
        artifact = train.expert_artifact(make_run(run), task, recipe, config)
        artifact.start()
        released.resume_released_training(task, tmp_path / "released", artifact)
        train._train(task=task, recipe=recipe, config=config, seed=0, artifact=artifact, report=lambda done: None)
        return (artifact.folder / "policy.safetensors").read_bytes()

    def release(run):
        suite = Suite("classic", (task,))
        return released.release(suite, run, tmp_path / "released", {task.name: recipe}, config, 0)

    undisturbed = make(tmp_path / "whole")
    saves, save = [], train.save_state

    def die(path, state):
        save(path, state)
        saves.append(path)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", die)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "half")
    [row] = release(tmp_path / "half")
    assert (row.gate, row.env_steps, row.episodes) == ("training", 300, 2)
    with pytest.raises(GatitoError, match="is not fully trained: resume its training with experts=train"):
        released.released_digest(task, tmp_path / "released")
    taken = []
    monkeypatch.setattr(train, "save_state", lambda path, state: (save(path, state), taken.append(path)))
    assert make(tmp_path / "other") == undisturbed
    assert len([path for path in taken if path.name == "checkpoint.safetensors"]) == 2  # the other half
    [row] = release(tmp_path / "other")
    folder = tmp_path / "released/classic/cartpole"
    assert (row.gate, row.episodes) == ("weak", 3) and not (folder / "training").exists()
    [row] = release(tmp_path / "half")  # a weak expert stays while a better one is in training
    assert (row.gate, row.episodes) == ("weak", 3) and released.released_digest(task, tmp_path / "released")
    taken.clear()
    assert make(tmp_path / "another") == undisturbed
    assert len([path for path in taken if path.name == "checkpoint.safetensors"]) == 2


def test_a_damaged_released_expert_is_named(trained, tmp_path):
    shutil.copytree(trained / "released", tmp_path / "released")
    path = tmp_path / "released/classic/cartpole/policy.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    code, error = run(tmp_path, "experts=released")
    assert code == 1 and "policy.safetensors is damaged" in error and "Traceback" not in error


def test_a_dataset_stands_for_an_expert(trained):
    dataset = trained / "results/runs/trained/minari/gatito/classic/cartpole/expert-v0"
    episodes = read_json(trained / "results/runs/trained/trajectories/classic/cartpole/expert/shard-000/index.json")
    returns = [episode["return"] for episode in episodes["episodes"]]
    assert len(returns) >= 3
    code, error = run(trained, "name=minari", "experts=minari", f"+experts.datasets.cartpole={dataset}")
    assert code == 0, error
    rows = [
        row for row in csv.DictReader((trained / "results/runs/minari/scores.csv").open()) if row["agent"] == "expert"
    ]
    assert [float(row["return"]) for row in rows] == returns[:3]
    code, error = run(
        trained, "name=minari", "experts=minari", f"+experts.datasets.cartpole={dataset}", "evaluate.episodes=99"
    )
    assert code == 1 and f"has {len(returns)} episodes, but 99 are scored: set evaluate.episodes" in error
    code, error = run(trained, "experts=minari")
    assert code == 1 and "task classic/cartpole has no dataset: set +experts.datasets.cartpole=ID" in error


def test_sources_decide_the_recipe():
    ppo, bot = ExpertRecipe(algorithm="ppo"), ExpertRecipe(algorithm="bot")
    assert ExpertsConfig(source="train").recipe("a/b", ppo) is ppo
    assert ExpertsConfig(source="released").recipe("a/b", ppo).algorithm == RELEASED
    assert ExpertsConfig(source="scripted").recipe("a/b", ppo).algorithm == "random"
    assert all(ExpertsConfig(source=source).recipe("a/b", bot) is bot for source in ("train", "released", "scripted"))
    made = ExpertsConfig(source="minari", datasets={"b": "id"}).recipe("a/b", bot)
    assert (made.algorithm, made.dataset, made.trained) == (DATASET, "id", False)
    with pytest.raises(GatitoError, match="is only for experts=minari"):
        ExpertsConfig(source="train", datasets={"b": "id"}).check()
    with pytest.raises(GatitoError, match="unknown experts.source"):
        ExpertsConfig(source="scipted").check()


def test_the_projects_released_experts_are_intact():
    """The table agrees with the files, and the files with their manifests."""
    from benchmarks.base.artifacts import verify

    folder = ROOT / "results" / "experts"
    rows = {row["task"]: row for row in csv.DictReader((folder / "experts.csv").open())}
    found = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/manifest.json")}
    unfinished = {task for task, row in rows.items() if row["gate"] == "training"}
    assert found == set(rows) - unfinished
    for task, row in rows.items():
        if task in unfinished:
            continue
        manifest = read_manifest(folder / task)
        verify(folder / task, manifest)
        gate = read_json(folder / task / "gate.json")
        assert row["gate"] == ("passed" if gate["passed"] else "weak") and int(row["episodes"]) == 100
        assert float(row["mean_return"]) == pytest.approx(gate["mean"], abs=1e-3)
        assert gate["passed"] == (gate["mean"] >= gate["reference"])
        assert (folder / task / "policy.safetensors").exists() == (row["algorithm"] not in ("bot", "script"))
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 60e6


def test_a_recipe_of_an_earlier_version_is_rejected_in_one_line(tmp_path):
    write_json(tmp_path / "expert.json", {"recipe": {"algorithm": "random", "envs": 4}})
    with pytest.raises(GatitoError, match=r"expert.envs is now suite\.tasks\.\*\.expert\.num_envs\. Remove the folder"):
        load.load_expert(tmp_path, make_task("tests.environments:Counter-v0"))
