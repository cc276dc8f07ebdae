"""Environments, policies and stores exchange copies: arrays are overwritten after use."""

import copy

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.seeds import Purpose, stream
from benchmarks.play.policy import Noisy, Policy, PolicyInput, RandomPolicy, TeacherLabelled
from benchmarks.play.recording import RecordingJob, record
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.report.clips import ClipsConfig, Filmed
from benchmarks.runs.failures import Failures
from benchmarks.tasks import Suite, Task, make_env, spaces
from benchmarks.tasks.snapshots.snapshot import restore, save
from experts.datasets import dataset_episodes
from experts.minari_export import export_dataset
from generalist.amplifiers.simulator import Simulator
from generalist.network.distributions import Distribution
from generalist.network.inference_cost import InferenceCost
from generalist.network.policy import NetworkPolicy
from generalist.ppo.rollouts import RolloutCollector
from tests.conftest import make_task
from tests.generalist.ppo.test_ppo import network_of

DISCRETE = make_task("tests.odd_environments:Signs-v0", name="toy/discrete")
CONTINUOUS = make_task("tests.odd_environments:Scales-v0", name="toy/continuous")
TASKS = pytest.mark.parametrize("task", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])


class Spoils(gym.Wrapper):
    """Inside the guard: overwrites the last observation and every action, and reuses one array."""

    array = None

    def reset(self, **arguments):
        return self._kept(*self.env.reset(**arguments))

    def step(self, action):
        if self.array is not None:
            self.array[...] = 77
        observation, *rest = self.env.step(action.copy() if isinstance(action, np.ndarray) else action)
        if isinstance(action, np.ndarray):
            action[...] = 77
        return self._kept(observation, *rest)

    def _kept(self, observation, *rest):
        if self.array is None:
            self.array = np.zeros_like(observation)
        self.array[...] = observation
        return self.array, *rest


def spoiling(task: Task, render_mode=None) -> gym.Env:
    env = make_env(task, render_mode)
    env.env = Spoils(env.env)
    return env


def arrays_of(output):
    """The arrays and tensors of a policy's output, and those of its distribution."""
    for value in vars(output).values():
        if isinstance(value, Distribution):
            yield from arrays_of(value)
        elif value is not None:
            yield value


class SpoilsToo(Policy):
    """Overwrites its last inputs and outputs in its next call."""

    def __init__(self, policy):
        self._policy, self._used = policy, []
        self.name, self.distribution_kind = policy.name, policy.distribution_kind

    def initial_state(self, num_envs):
        return self._policy.initial_state(num_envs)

    def act(self, inputs, state, *choose):
        for array in self._used:
            array[...] = 55
        outputs, state = self._policy.act(
            [PolicyInput(**{**vars(rows), "observations": rows.observations.copy()}) for rows in inputs], state, *choose
        )
        outputs = [copy.deepcopy(output) for output in outputs]
        self._used = [array for output in outputs for array in arrays_of(output)]
        self._used += [array for rows in inputs for array in (rows.observations, rows.rewards, rows.env_ids)]
        return outputs, state

    def replace_actions(self, *arguments):
        self._policy.replace_actions(*arguments)


def by_episode(episodes):
    return {(episode.task, episode.seed): (episode.total_return, episode.steps) for episode in episodes}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key, (value, steps) in first.items():
        assert value == second[key][0]
        for name, rows in steps.items():
            np.testing.assert_array_equal(rows, second[key][1][name], err_msg=name)


def teach(policy):
    return TeacherLabelled(policy, RandomPolicy(), 99)


@pytest.mark.parametrize("wrap", [lambda policy: policy, lambda policy: Noisy(policy, 0.5), teach])
@pytest.mark.parametrize("make_policy", [RandomPolicy, lambda: NetworkPolicy(network_of(), "network")])
def test_policies_cannot_change_recorded_episodes(make_policy, wrap):
    seeds = {task: range(5) for task in (DISCRETE, CONTINUOUS)}
    clean = by_episode(rollout(wrap(make_policy()), seeds, envs_per_task=2, keep_steps=True))
    spoiled = rollout(wrap(SpoilsToo(make_policy())), seeds, envs_per_task=2, keep_steps=True, make=spoiling)
    assert_same(clean, by_episode(spoiled))


def test_policies_cannot_change_ppo_experience():
    def segments_of(make, wrap):
        collector = RolloutCollector({DISCRETE: 3, CONTINUOUS: 3}, 2, 0, 0.9, {}, make)
        policy = wrap(NetworkPolicy(network_of(), "network"))
        segments = [segment for part in range(2) for segment in collector.collect(policy, 11, ["test", part]).segments]
        collector.close()
        return segments

    clean, spoiled = segments_of(make_env, lambda policy: policy), segments_of(spoiling, SpoilsToo)
    for first, second in zip(clean, spoiled, strict=True):
        for name in ("observations", "actions", "labels", "rewards"):
            np.testing.assert_array_equal(getattr(first.window, name), getattr(second.window, name), err_msg=name)
        for name, value in vars(first).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)


@TASKS
def test_policies_cannot_change_clones(task, monkeypatch):
    def imagine(make):
        monkeypatch.setattr("generalist.amplifiers.simulator.make_env", make)
        env, rng = make(task), np.random.default_rng(0)
        env.reset(seed=1)
        action = np.asarray(spaces(task)[1].sample() * 0)
        env.step(action)
        simulator = Simulator(task, InferenceCost())
        spot = simulator.snapshot(env)
        seen = []
        for _ in range(2):
            simulator.enter([spot, spot], [stream(1), stream(2)])
            for _ in range(3):
                actions = np.stack([action, action])
                transitions = simulator.step([0, 1], actions)
                np.testing.assert_array_equal(actions, np.stack([action, action]))
                seen += [np.array(transition.observation) for transition in transitions]
                env_input = simulator.policy_input([0, 1], np.arange(2), transitions, [rng, rng])
                seen.append(env_input.observations.copy())
                for transition in transitions:
                    transition.observation[...] = 66
        seen.append(np.array(restore(make(task), save(env), stream(3))))
        return seen

    for first, second in zip(imagine(make_env), imagine(spoiling), strict=True):
        np.testing.assert_array_equal(first, second)


@TASKS
def test_saved_states_do_not_contain_changed_observations(task):
    env, other = make_env(task), make_env(task)
    observation, _ = env.reset(seed=0)
    kept = observation.copy()
    observation[...] = 44
    np.testing.assert_array_equal(restore(other, save(env), stream(0)), kept)


def test_policies_cannot_change_recordings_and_datasets(tmp_path):
    pytest.importorskip("minari")
    for task in (DISCRETE, CONTINUOUS, make_task("tests.odd_environments:FromOne-v0")):
        artifact = Artifact(tmp_path / task.key, "trajectories", {"agent": "random"})
        artifact.start()
        job = RecordingJob(task, RandomPolicy, artifact, 30, Purpose.RECORDING, seed=0, num_envs=2)
        record([job], workers=1, failures=Failures([task.name]), suite=Suite("toy", (task,)))
        recorded = Trajectories(artifact.folder)
        name = export_dataset(task, "random", recorded, tmp_path / "minari")
        back = list(dataset_episodes(task, str(tmp_path / "minari" / name)))
        played = by_episode(rollout(RandomPolicy(), {task: recorded.seeds.tolist()}, keep_steps=True, make=spoiling))
        for seed, steps, other in zip(recorded.seeds, recorded.episodes(), back, strict=True):
            for column in ("observations", "actions", "labels", "rewards"):
                np.testing.assert_array_equal(steps[column], played[task.name, seed][1][column], err_msg=column)
                np.testing.assert_array_equal(steps[column], other.steps[column], err_msg=column)


def test_clips_copy_each_frame():
    class Draws(gym.Wrapper):
        render_mode = "rgb_array"
        picture = np.zeros((64, 64, 3), np.uint8)

        def render(self):
            self.picture += 1
            return self.picture

    film = Filmed(Draws(make_env(DISCRETE)), ClipsConfig(height=64))
    film.reset(seed=0)
    film.step(0)
    film.step(0)
    assert [int(frame[0, 0, 0]) for frame in film.frames] == sorted({int(frame[0, 0, 0]) for frame in film.frames})
    assert len(film.frames) == 3
