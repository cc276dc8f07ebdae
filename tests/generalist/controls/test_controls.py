import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import read_manifest
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.policy import PolicyInput
from benchmarks.play.rollout import rollout
from benchmarks.runs.tracking import read_log
from generalist.config.recipe import NetworkRecipe, memory_artifact
from generalist.config.settings import ControlsConfig, DistillConfig, ModelConfig, for_one_task
from generalist.controls.retrieval import RetrievalPolicy, load_retrieval, memorize
from generalist.controls.single_task import load_students, students, train_students
from generalist.network.network import load_network
from generalist.network.perceptron import Perceptron
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task
from tests.generalist.distill.test_distill import MODEL, SUITE, recordings

assert recordings  # the fixture of the recorded toys

CLONE = ModelConfig("mlp", "perceptron", layers=2, heads=1, width=32, feedforward=32, context_length=1)
CONFIG = DistillConfig(updates=400, batch_size=16, sequence_length=6, learning_rate=1e-2, warmup=5, log_every=10)


def train(agent, recordings, tmp_path, **settings):
    run = make_run(tmp_path / "runs" / "r", SUITE)
    recipe = NetworkRecipe(DistillConfig(**vars(CONFIG) | settings), MODEL, plain_codec())
    student = students(agent, run, recordings, CLONE, recipe)
    train_students(run, student)
    run.failures.stop_if_any()
    return student


@pytest.mark.parametrize("agent", ["clone", "specialist"])
def test_one_network_per_task_learns_its_expert(agent, recordings, tmp_path):
    made = train(agent, recordings, tmp_path)
    policy = load_students(
        agent, {student.task.name: student.artifact.folder for student in made}, [student.task for student in made]
    )
    episodes = list(rollout(policy, {task: range(900, 910) for task in SUITE}, keep_steps=True))
    counted = [episode.steps for episode in episodes if episode.task == "toy/counter"]
    hits = [steps["actions"] == steps["observations"][:-1, 1] % 2 for steps in counted]
    assert np.concatenate(hits).mean() > 0.65  # a constant action: one half
    aimed = [episode.steps["actions"] for episode in episodes if episode.task == "toy/target"]
    assert np.abs(np.concatenate(aimed) - [0.5, 5.0]).max() < 0.5


def test_a_specialist_has_the_generalists_network_and_a_clone_is_an_mlp(recordings, tmp_path):
    specialist = train("specialist", recordings, tmp_path, updates=2)[0]
    clone, target = train("clone", recordings, tmp_path, updates=2)
    assert load_network(specialist.artifact.folder).model == MODEL
    network = load_network(clone.artifact.folder)
    assert isinstance(network.trunk, Perceptron)
    assert network.codec.vector_width == 2 and network.codec.discrete_actions == 3
    assert load_network(target.artifact.folder).codec.action_dimensions == 2


def test_a_clone_learns_as_many_steps_as_a_specialist(recordings, tmp_path):
    steps = {}
    for agent in ("clone", "specialist"):
        [student, _] = train(agent, recordings, tmp_path, updates=2, sequence_length=0)
        distill = student.recipe.distill
        steps[agent] = distill.updates * distill.batch_size * distill.length(student.recipe.model)
    assert steps["clone"] == steps["specialist"] and MODEL.context_length > 1


def test_each_networks_cost_is_measured(recordings, tmp_path):
    for agent in ("clone", "specialist"):
        for student in train(agent, recordings, tmp_path, updates=3):
            facts = read_manifest(student.artifact.folder)["facts"]["cost"]
            network = load_network(student.artifact.folder)
            assert facts["parameters"] == sum(values.numel() for values in network.parameters())
            assert facts["env_steps"] > 0
            seen = (
                student.recipe.distill.updates
                * student.recipe.distill.batch_size
                * student.recipe.distill.sequence_length
            )
            matrices = sum(values.numel() for name, values in network.trunk.named_parameters() if values.dim() == 2)
            assert facts["flops"] >= 6 * seen * matrices  # forward 2, backward 4; embedding and heads come on top
            assert read_log(student.artifact.folder / "log.jsonl")


@pytest.mark.parametrize(
    "config, weights, expected",
    [
        ({"updates": 1500, "batch_size": 64}, {}, (1477, 13)),  # 12.8 windows a step
        (
            {"updates": 1000, "batch_size": 10},
            {"b": 3.0},
            (250, 8),
        ),  # one part of five: 2 windows a step would be too few
        ({"updates": 1000, "batch_size": 1}, {}, (333, 1)),  # less than a window a step
    ],
)
def test_a_specialist_trains_on_the_tasks_share_of_sequences(config, weights, expected):
    tasks = "abcde" if not weights and config["batch_size"] == 64 else "abc"
    share = for_one_task(DistillConfig(**config, weights=weights), "a", list(tasks))
    assert (share.updates, share.batch_size, share.weights) == (*expected, {})


def test_a_perceptron_uses_a_single_step():
    torch.manual_seed(0)
    model = Perceptron(CLONE)
    tokens = torch.randn(2, 5, 32)
    whole = model(tokens)
    tokens[:, :4] = 0
    assert torch.equal(model(tokens)[:, 4], whole[:, 4])
    one = model.step(tokens[:, 4], None, torch.arange(2), torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(one, whole[:, 4])
    with pytest.raises(GatitoError, match=r"set model\.context_length=1"):
        ModelConfig(kind="perceptron").check()
    with pytest.raises(GatitoError, match="unknown model.kind"):
        ModelConfig(kind="transfomer").check()


def test_retrieval_plays_the_action_of_the_nearest_normalised_observation():
    policy = RetrievalPolicy(np.array([[0.0, 0.0], [100.0, 1.0]], np.float32), np.array([0, 1]), 2)
    asked = np.array([[60.0, 0.1], [40.0, 0.9]], np.float32)  # without scaling, only column one would matter
    rngs = [stream("a", i) for i in range(2)]
    inputs = PolicyInput(make_task(), asked, np.arange(2), np.ones(2, bool), np.zeros(2), rngs, [])
    [decision], _ = policy.act([inputs], None)
    assert decision.actions.tolist() == [0, 1]


def test_retrieval_reproduces_its_recording(recordings, tmp_path):
    folders = {}
    for task in SUITE:
        artifact = memory_artifact(make_run(tmp_path / "runs" / "r"), "retrieval", task.name, recordings[task.name])
        memorize(task, recordings[task.name], artifact, tmp_path / "runs")
        assert artifact.is_complete()
        folders[task.name] = artifact.folder
    policy = load_retrieval(folders, SUITE)
    episodes = list(rollout(policy, {SUITE.tasks[1]: range(5)}, keep_steps=True))
    assert all(np.allclose(episode.steps["actions"], [0.5, 5.0]) for episode in episodes)
    cost = read_manifest(folders["toy/counter"].parent.parent / "toy" / "counter")["facts"]["cost"]
    assert cost["flops"] == 0 and cost["parameters"] > cost["env_steps"] > 0


def test_unknown_controls_are_rejected():
    with pytest.raises(GatitoError, match=r"unknown controls\.agents 'clon'\. Did you mean 'clone'\?"):
        ControlsConfig(["clon"]).check()
