import json

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Noisy, Policy, PolicyOutput
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.runs.tracking import read_log
from benchmarks.tasks import Suite, spaces
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill import train as module
from generalist.distill.data import Mixture, Source
from generalist.distill.distill import distill
from generalist.distill.train import learning_rate
from generalist.network.network import load_network
from generalist.network.policy import NetworkPolicy
from generalist.network.step import StepNetwork
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task, small_network

MODEL = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=4)
SUITE = Suite("toy", (make_task(), make_task("tests.environments:Target-v0")))


class Parity(Policy):
    """An expert for the toys: action by the parity of the step counter; continuous: always the same two numbers."""

    name = "expert"
    distribution_kind = {"toy/counter": "logits", "toy/target": "gaussian"}

    def initial_state(self, num_envs):
        return None

    def act(self, inputs, state):
        decisions = []
        for rows in inputs:
            if rows.task.name == "toy/counter":
                actions = (rows.observations[:, 1] % 2).astype(np.int64)
                decisions.append(PolicyOutput(actions, actions, 4.0 * np.eye(3, dtype=np.float32)[actions]))
            else:
                actions = np.tile(np.array([0.5, 5.0], np.float32), (len(rows.observations), 1))
                spread = np.full_like(actions, 0.1)
                decisions.append(PolicyOutput(actions, actions, np.stack([actions, spread], axis=1)))
        return decisions, state


@pytest.fixture
def recordings(tmp_path):
    made = {}
    for task in SUITE:
        artifact = Artifact(tmp_path / "runs" / "r" / "trajectories" / task.name, "trajectories", {"task": task.digest})
        artifact.start()
        episodes = list(rollout(Noisy(Parity(), 0.2), {task: range(20)}, keep_steps=True))
        write_shard(artifact.folder / "shard-000", episodes, spaces(task)[0])
        kind = Parity.distribution_kind[task.name]
        artifact.finish(0.0, task=task.name, agent="expert", distribution_kind=kind)
        made[task.name] = artifact
    return made


def run(recordings, folder, seed=0, **settings):
    config = DistillConfig(
        **{"updates": 30, "batch_size": 8, "sequence_length": 6, "warmup": 5, "checkpoint_every": 10} | settings
    )
    run = make_run(folder / "runs" / settings.get("loss", "r"), SUITE, seed=seed)
    return distill(run, recordings, NetworkRecipe(config, MODEL, plain_codec()))


def test_the_network_learns_discrete_and_continuous_actions_in_the_same_weights(recordings, tmp_path):
    artifact = run(recordings, tmp_path, updates=1000, learning_rate=1e-2)
    log = read_log(artifact.folder / "log.jsonl")
    assert log[-1]["distill/loss"] < log[0]["distill/loss"] - 0.5
    policy = NetworkPolicy.load(artifact.folder, SUITE.tasks)
    seeds = {task: range(1000, 1020) for task in SUITE}
    returns = {"toy/counter": [], "toy/target": []}
    hits = []
    for episode in rollout(policy, seeds, keep_steps=True):
        returns[episode.task].append(episode.total_return)
        if episode.task == "toy/counter":
            hits.append((episode.steps["actions"] == episode.steps["observations"][:-1, 1] % 2).mean())
    assert sum(hits) / len(hits) > 0.9
    assert min(returns["toy/target"]) > -20 * 0.1  # 20 steps, within a twentieth of each bound


@pytest.mark.parametrize("precision", ["bf16", "bf16_everywhere"])
def test_a_killed_distillation_resumes_to_the_same_weights(recordings, tmp_path, monkeypatch, precision):
    undisturbed = run(recordings, tmp_path / "undisturbed", precision=precision)
    weights = load_network(undisturbed.folder).state_dict()
    lines = [line["distill/loss"] for line in read_log(undisturbed.folder / "log.jsonl")]

    calls = []
    original = module.learning_rate

    def killed(step, config):
        calls.append(step)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return original(step, config)

    monkeypatch.setattr(module, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        run(recordings, tmp_path / "killed", precision=precision)
    resumed = run(recordings, tmp_path / "killed", precision=precision)
    assert calls == [*range(17), *range(10, 30)]  # killed in update 16, the last checkpoint is 10
    for name, values in load_network(resumed.folder).state_dict().items():
        assert torch.equal(values, weights[name]), name
    assert [line["distill/loss"] for line in read_log(resumed.folder / "log.jsonl")] == lines


@pytest.mark.parametrize(
    "precision, products", [("bf16", "highest"), ("fp32", "highest"), ("bf16_everywhere", "medium")]
)
def test_products_have_their_precision_while_a_network_learns(recordings, tmp_path, monkeypatch, precision, products):
    seen, original = set(), torch.optim.AdamW.step  # after the backward pass

    def step(self, *arguments, **settings):
        seen.add(torch.get_float32_matmul_precision())
        return original(self, *arguments, **settings)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(recordings, tmp_path, precision=precision)
    assert seen == {products} and torch.get_float32_matmul_precision() == "highest"


def test_a_loss_that_becomes_nan_stops_and_keeps_the_last_good_checkpoint(recordings, tmp_path, monkeypatch):
    from benchmarks.base.checkpoints import load_state

    original = StepNetwork.loss
    steps = []  # the first one only counts operations

    def broken(self, batch):
        steps.append(1)
        values = original(self, batch)
        return values | {"loss": values["loss"] * (float("nan") if len(steps) > 26 else 1.0)}

    monkeypatch.setattr(StepNetwork, "loss", broken)
    with pytest.raises(GatitoError, match=r"became NaN at step 25; the last good checkpoint \(step 20\) is kept"):
        run(recordings, tmp_path)
    saved = load_state(tmp_path / "runs" / "r" / "generalist" / "checkpoint.safetensors")
    assert saved["step"] == 20
    assert all(bool(values.isfinite().all()) for values in saved["network"].values())


def test_a_finished_generalist_is_retrained_only_with_other_settings(recordings, tmp_path):
    first = run(recordings, tmp_path)
    finished = json.loads((first.folder / "manifest.json").read_text())["finished"]
    again = run(recordings, tmp_path)
    assert json.loads((again.folder / "manifest.json").read_text())["finished"] == finished
    assert run(recordings, tmp_path, seed=1).fingerprint != first.fingerprint
    assert run(recordings, tmp_path, loss="nll").fingerprint != first.fingerprint


def test_the_learning_rate_warms_up_and_decays_by_a_cosine_to_a_tenth():
    config = DistillConfig(updates=110, warmup=10, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(9, config) == pytest.approx(1.0)
    assert learning_rate(60, config) == pytest.approx(0.55)
    assert learning_rate(110, config) == pytest.approx(0.1)


def mixture(recordings, weights, codec=plain_codec(), **settings):  # noqa: B008
    sources = [
        Source(task, Trajectories(recordings[task.name].folder), weight)
        for task, weight in zip(SUITE, weights, strict=True)
    ]
    return Mixture(sources, small_network(codec, 16), **{"batch_size": 200, "sequence_length": 6, "seed": 0} | settings)


def vectors(batch):
    """The batch's padded vectors, ``(B, L, longest)``."""
    windows, length = batch.inputs.shape
    values = batch.inputs.values["vector"]
    whole = torch.zeros(windows * length, values.shape[-1])
    whole[batch.inputs.places["vector"]] = values
    return whole.view(windows, length, -1)


def test_tasks_are_mixed_by_their_weights(recordings):
    batch = mixture(recordings, [3.0, 1.0], batch_size=2000).batch(0)
    assert len(batch.targets.discrete) / 2000 == pytest.approx(0.75, abs=0.03)
    assert len(mixture(recordings, [1.0, 0.0]).batch(0).targets.continuous) == 0
    with pytest.raises(GatitoError, match="weights must not be negative"):
        mixture(recordings, [1.0, -1.0])


def test_a_batch_depends_on_seed_and_update_only(recordings):
    first, second = mixture(recordings, [1.0, 1.0]), mixture(recordings, [1.0, 1.0])
    first.batch(0)
    another_seed = mixture(recordings, [1.0, 1.0], seed=1)
    assert torch.equal(vectors(first.batch(7)), vectors(second.batch(7)))
    assert not torch.equal(vectors(first.batch(7)), vectors(first.batch(8)))
    assert not torch.equal(vectors(first.batch(7)), vectors(another_seed.batch(7)))


def test_sequences_are_consecutive_steps_with_their_targets(recordings):
    batch = mixture(recordings, [1.0, 0.0]).batch(0)
    for row, index in enumerate(batch.targets.discrete):
        valid = batch.targets.valid[index]
        counters = vectors(batch)[index, valid, 1]
        assert (counters.diff() == 1).all()
        assert torch.equal(batch.targets.probabilities[row, valid].argmax(dim=-1), (counters % 2).long())
        assert (vectors(batch)[index, ~valid] == 0).all()


def test_steps_without_memory_are_sampled_from_anywhere_with_their_targets(recordings):
    batch = mixture(recordings, [1.0, 0.0], plain_codec(memory="partial")).batch(0)
    assert batch.targets.valid.all()  # every sequence is within an episode
    counters = vectors(batch)[batch.targets.discrete, :, 1]
    assert (counters.diff(dim=1) == 1).float().mean() < 0.5
    assert torch.equal(batch.targets.probabilities.argmax(dim=-1), (counters % 2).long())


def test_independent_steps_attend_to_themselves_alone(recordings):
    batch = mixture(recordings, [1.0, 0.0], plain_codec(memory="all", independent=0.5)).batch(0)
    assert 60 < batch.remembers.sum() < 140  # of 200
    counters = vectors(batch)[batch.targets.discrete, :, 1]
    consecutive = (counters.diff(dim=1) == 1).all(dim=1)
    assert consecutive[batch.remembers].float().mean() > 0.7  # the toy counts on, but for some steps
    assert not consecutive[~batch.remembers].any()


def test_only_solved_episodes_are_learned_if_there_are_any(recordings):
    recorded = Trajectories(recordings[SUITE.tasks[0].name].folder)
    every = range(len(recorded))
    starts = recorded.ends - recorded.lengths

    def learned(successes, solved=True):
        """The episodes whose steps are sampled: all of their steps, uniformly."""
        recorded.successes = successes
        source = Source(SUITE.tasks[0], recorded, 1.0, solved=solved)
        artifact = Mixture([source], small_network(plain_codec(), 16), batch_size=1, sequence_length=6, seed=0)
        episodes, steps = artifact._place(0, np.arange(artifact._ends[0][-1]))
        chosen = sorted(set(episodes.tolist()))
        assert steps.tolist() == [step for each in chosen for step in range(starts[each], recorded.ends[each])]
        return chosen

    odd = [number % 2 == 1 for number in every]
    assert learned(odd) == [number for number in every if number % 2]
    assert learned(odd, solved=False) == [*every]
    assert learned([False] * len(every)) == learned([None] * len(every)) == [*every]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"loss": "kll"}, "unknown distill.loss 'kll'. Did you mean 'kl'"),
        ({"updates": 0}, "distill.updates=0 learns nothing"),
        ({"sequence_length": 3}, "distill.sequence_length=3 is shorter than model.context_length=4"),
        ({"weights": {"toy/countr": 2.0}}, "unknown task in distill.weights 'toy/countr'. Did you mean 'toy/counter'"),
        ({"held_out": ["targt"]}, "unknown task in distill.held_out 'targt'. Did you mean 'toy/target'"),
        ({"held_out": ["target", "toy/counter"]}, "distill.held_out leaves no task to learn"),
    ],
)
def test_incompatible_settings_are_rejected(settings, words):
    with pytest.raises(GatitoError, match=words):
        DistillConfig(**settings).check([task.name for task in SUITE], MODEL)


def test_changing_the_mission_changes_the_actions(tmp_path):
    """Images are uninformative in this environment: only the mission determines the right action."""
    import numpy as np

    from benchmarks.tasks.observations import text_of
    from tests.environments import MISSIONS

    task = make_task("tests.environments:Instructed-v0")

    class Reader(Parity):
        distribution_kind = {}

        def act(self, inputs, state):
            chosen = [
                np.array([2 * MISSIONS.index(text_of(row)) for row in rows.observations["mission"]]) for rows in inputs
            ]
            return [PolicyOutput(actions, actions) for actions in chosen], state

    artifact = Artifact(tmp_path / "runs" / "r" / "trajectories" / task.name, "trajectories", {"task": task.digest})
    artifact.start()
    write_shard(artifact.folder / "shard-000", rollout(Reader(), {task: range(60)}, keep_steps=True), spaces(task)[0])
    artifact.finish(0.0, task=task.name, agent="expert", distribution_kind=None)
    config = DistillConfig(updates=120, batch_size=16, sequence_length=6, warmup=5, learning_rate=3e-3)
    run = make_run(tmp_path / "runs" / "r", Suite("toy", (task,)))
    made = distill(run, {task.name: artifact}, NetworkRecipe(config, MODEL, plain_codec()))
    policy = NetworkPolicy(load_network(made.folder))
    scores = [episode.total_return / episode.length for episode in rollout(policy, {task: range(900, 920)})]
    assert np.mean(scores) > 0.95  # half of the episodes have the other mission

    class Lied(NetworkPolicy):
        def act(self, inputs, state):
            for rows in inputs:
                for row in rows.observations["mission"]:
                    row[:] = 0
                    lie = MISSIONS[0].encode()
                    row[: len(lie)] = np.frombuffer(lie, np.uint8)
            return super().act(inputs, state)

    lied_to = rollout(Lied(load_network(made.folder)), {task: range(900, 920)}, keep_steps=True)
    assert np.mean([(episode.steps["actions"] == 0).mean() for episode in lied_to]) > 0.95


def test_loader_processes_sample_the_same_batches_as_the_trainer(recordings, tmp_path, monkeypatch):
    drawn, original = [], Mixture.batch
    monkeypatch.setattr(Mixture, "batch", lambda *given: (drawn.append(given[1]), original(*given))[1])
    alone = run(recordings, tmp_path / "alone")
    here = len(drawn)
    monkeypatch.setattr("generalist.distill.train._num_workers", lambda device: 2)
    helped = run(recordings, tmp_path / "helped")
    assert here > 30 and len(drawn) - here == 1  # the batch whose operations are counted
    curves = [[line["distill/loss"] for line in read_log(each.folder / "log.jsonl")] for each in (alone, helped)]
    assert curves[0] and curves[0] == curves[1]
