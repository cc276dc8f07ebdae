"""DAgger: the learner acts, the teacher labels, and the network learns from it."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose
from benchmarks.play.policy import Policy, PolicyOutput, TeacherLabelled
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig
from generalist.distill import train as module
from generalist.distill.dagger import run_dagger_round
from generalist.distill.distill import distill
from generalist.network.network import load_network
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task
from tests.generalist.network.test_conditioning import record

DAGGER = DaggerConfig(rounds=2, env_steps=60)
MODEL = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=4)
TASK = make_task()
SUITE = Suite("toy", (TASK,))


class Always(Policy):
    """Always takes one action, with a given probability."""

    name = "expert"

    def __init__(self, action, gives_up_after=99):
        self._action, self._last = action, gives_up_after
        self.distribution_kind = {TASK.name: "logits"}

    def initial_state(self, num_envs):
        return None

    def act(self, inputs, state):
        decisions = []
        for rows in inputs:
            actions = np.full(len(rows.env_ids), self._action)
            logits = np.eye(3, dtype=np.float32)[actions]
            decisions.append(PolicyOutput(actions, actions, logits, rows.observations[:, 1] >= self._last))
        return decisions, state


def test_the_learner_acts_and_the_teacher_labels():
    policy = TeacherLabelled(Always(0), Always(2), longest=99)
    [episode] = rollout(policy, {TASK: [3]}, keep_steps=True)
    assert (episode.steps["actions"] == 0).all() and (episode.steps["labels"] == 2).all()
    assert (episode.steps["distributions"].argmax(axis=1) == 2).all()
    assert policy.distribution_kind == {TASK.name: "logits"}


@pytest.mark.parametrize("longest, patience, length", [(2, 99, 2), (99, 3, 3), (99, 99, 99)])
def test_an_episode_ends_when_the_teacher_stops_or_at_the_step_limit(longest, patience, length):
    policy = TeacherLabelled(Always(0), Always(2, patience), longest)
    # Successive episodes in one environment: each is counted from its own start.
    played = list(rollout(policy, {TASK: [5, 5, 5]}, envs_per_task=1, keep_steps=True))
    whole = next(rollout(Always(0), {TASK: [5]})).length
    assert [episode.length for episode in played] == [min(length, whole)] * 3
    assert all(episode.truncated_by_policy == (length < whole) for episode in played)


def parts(folder, teacher=2, dagger=DAGGER, **settings):
    """A distillation with two DAgger rounds, whose expert was recorded with a single action."""
    recording = record(folder, TASK, Always(2))
    defaults = {"updates": 20, "batch_size": 8, "sequence_length": 6, "warmup": 2, "checkpoint_every": 4}
    config = DistillConfig(**defaults | settings, dagger=dagger)
    learner = Artifact(folder / "runs" / "r" / "generalist", "generalist", {})
    run = make_run(folder / "runs" / "r", SUITE)

    def play_round(number, student):
        teachers = {TASK.name: Teacher(teacher)}
        return run_dagger_round(number, student, run=run, teachers=teachers, learner=learner, config=config)

    recipe = NetworkRecipe(config, MODEL, plain_codec())
    return lambda: distill(run, {TASK.name: recording}, recipe, play_round=play_round)


@dataclass(frozen=True)
class Teacher:
    """Makes the expert in another process; ``None``: the expert has stopped."""

    action: int | None

    def __call__(self):
        if self.action is None:
            raise GatitoError("task toy/counter: the expert has left.")
        return Always(self.action)


def test_each_round_is_played_by_the_current_network_and_learned(tmp_path, monkeypatch):
    drawn = []
    original = module.Mixture.__init__

    def watched(self, sources, *arguments, **settings):
        drawn.append({source.trajectories.facts["agent"]: source.weight for source in sources})
        original(self, sources, *arguments, **settings)

    monkeypatch.setattr(module.Mixture, "__init__", watched)
    training = parts(tmp_path, dagger=replace(DAGGER, share=0.6))()
    del drawn[0]  # one batch is for counting operations only
    assert [set(each) for each in drawn] == [
        {"expert"},
        {"expert", "student-1"},
        {"expert", "student-1", "student-2"},
    ]
    assert [sum(each.values()) for each in drawn] == pytest.approx([1, 1, 1])
    assert drawn[1] == pytest.approx({"expert": 0.4, "student-1": 0.6})
    one, two = (tmp_path / "runs" / "r" / "trajectories" / TASK.name / f"student-{number}" for number in (1, 2))
    assert min(Trajectories(one).steps, Trajectories(two).steps) >= 60
    seeds = {int(seed) for folder in (one, two) for seed in Trajectories(folder).seeds}
    assert len(seeds) == len(Trajectories(one)) + len(Trajectories(two))
    assert {seed // 100_000_000 for seed in seeds} == {Purpose.DAGGER}
    weights = [load_network(training.folder / part).state_dict() for part in ("round-1", "round-2", ".")]
    assert not torch.equal(weights[0]["observation_encoder.bias"], weights[1]["observation_encoder.bias"])
    assert not torch.equal(weights[1]["observation_encoder.bias"], weights[2]["observation_encoder.bias"])
    manifest = json.loads((training.folder / "manifest.json").read_text())
    steps = sum(Trajectories(folder).steps for folder in (one, two))
    assert manifest["facts"]["cost"]["env_steps"] > steps


def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """At every update, including those after a DAgger round."""
    expected = load_network(parts(tmp_path / "a", ema=0.9)().folder).state_dict()
    resume = parts(tmp_path / "b", ema=0.9)
    original = module.learning_rate
    for kill in range(20):
        taken = []

        def dies(step, config, taken=taken, kill=kill):
            taken.append(step)
            if step == kill:
                raise KeyboardInterrupt
            return original(step, config)

        monkeypatch.setattr(module, "learning_rate", dies)
        with pytest.raises(KeyboardInterrupt):
            resume()
        assert len(taken) <= 5  # a checkpoint is at most four steps ago
    monkeypatch.setattr(module, "learning_rate", original)
    for name, values in load_network(resume().folder).state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_the_network_is_the_average_of_its_last_weights(tmp_path):
    """Worked by hand: with 10 steps the decay is (1 + n) / (10 + n), below 0.9."""
    trail = []
    original = module._Training._update

    def watched(self, mixture):
        if not trail:
            trail.append([values.detach().clone() for values in self._parameters])
        original(self, mixture)
        trail.append([values.detach().clone() for values in self._parameters])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Training, "_update", watched)
        training = parts(tmp_path, updates=10, dagger=DaggerConfig(), ema=0.9)()
    average = trail[0]
    for step, weights in enumerate(trail[1:], 1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights, strict=True)]
    for values, expected in zip(load_network(training.folder).parameters(), average, strict=True):
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=1e-5)


def test_expert_labels_of_dagger_rounds_are_learned(tmp_path):
    """In the recording the expert takes one action; for the learner's observations it labels another."""
    training = parts(
        tmp_path, teacher=1, dagger=replace(DAGGER, rounds=1, share=1.0), updates=150, learning_rate=5e-3
    )()

    def share(folder, action):
        played = rollout(NetworkPolicy.load(folder, [TASK]), {TASK: range(900, 910)}, keep_steps=True)
        return np.mean(np.concatenate([episode.steps["actions"] == action for episode in played]))

    assert share(training.folder / "round-1", 2) == 1
    assert share(training.folder, 1) == 1


def test_an_empty_dagger_round_gets_one_line(tmp_path):
    with pytest.raises(GatitoError, match="the expert has left"):
        parts(tmp_path, teacher=None)()
