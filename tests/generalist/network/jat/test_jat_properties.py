"""What holds for the ``jat`` network with every action space and every window: round trips, bounds, no silent NaN."""

import functools
from dataclasses import replace

import gymnasium as gym
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import spaces
from generalist.network.distributions import Deterministic, environment_actions
from tests.conftest import make_task, small_network
from tests.generalist.network.jat.test_jat_codec import COUNTER, FILM, INSTRUCTED, JAT, LAKE, TARGET, batch_of, window
from tests.properties import few

TASKS = [COUNTER, TARGET, LAKE, FILM, INSTRUCTED]


class AnyAction(gym.Env):
    """Constant observations; its arguments are those of its action space."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, kind, **arguments):
        self.action_space = getattr(gym.spaces, kind)(**arguments)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}


gym.register("AnyAction-v0", AnyAction, max_episode_steps=4)


@st.composite
def boxes(draw):
    low, width = draw(st.integers(-100, 100)), draw(st.integers(1, 50))
    shape = draw(st.lists(st.integers(1, 3), max_size=2))
    dtype = draw(st.sampled_from(["float32", "float64", "int32"]))
    return {"kind": "Box", "low": low, "high": low + width, "shape": shape, "dtype": dtype}


discrete = st.fixed_dictionaries({"kind": st.just("Discrete"), "n": st.integers(1, 9), "start": st.integers(-5, 5)})
choices = st.fixed_dictionaries(
    {"kind": st.just("MultiDiscrete"), "nvec": st.lists(st.integers(1, 4), min_size=1, max_size=3)}
)
actions = (boxes() | discrete | choices).map(lambda arguments: make_task("AnyAction-v0", kwargs=arguments))


@functools.cache
def jat():
    torch.manual_seed(0)
    return small_network(JAT, 16)


def sampled(task, seed, count=3):
    space = spaces(task)[1]
    space.seed(seed)
    return np.stack([space.sample() for _ in range(count)])


@few
@given(task=actions, seed=st.integers(0, 99))
def test_an_action_comes_back_from_the_numbers_of_its_token(task, seed):
    network, labels, space = jat(), sampled(task, seed), spaces(task)[1]
    numbers = network.actions.numbers(task, labels)
    options, constant = numbers[:, : network.codec.discrete_actions], numbers[:, -1]
    assert (constant == 1).all() and np.abs(numbers).max() <= 1
    if isinstance(space, gym.spaces.Box):
        unit = torch.from_numpy(numbers[:, network.codec.discrete_actions :][:, : labels[0].size])
        back = environment_actions(task, unit)
        np.testing.assert_allclose(back.astype(float), labels.astype(float), atol=1e-4)
        assert not options.any()
    else:
        sizes = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else space.nvec.tolist()
        chosen = [part.argmax(1) for part in np.split(options[:, : sum(sizes)], np.cumsum(sizes)[:-1], axis=1)]
        back = chosen[0] + int(space.start) if isinstance(space, gym.spaces.Discrete) else np.stack(chosen, axis=1)
        np.testing.assert_array_equal(back, labels)
        assert options.sum() == labels.size and set(np.unique(options)) <= {0.0, 1.0}


@few
@given(task=actions, seed=st.integers(0, 99))
def test_a_network_that_predicts_its_targets_plays_the_experts_actions(task, seed):
    network, labels, space = jat(), sampled(task, seed), spaces(task)[1]
    targets = network.heads.targets(task, labels, None)
    if isinstance(space, gym.spaces.Box):
        unit = torch.from_numpy(targets[..., 0] * (2 / network.codec.bins) - 1)  # as in the loss of a regression
        back, most = environment_actions(task, Deterministic(unit).mode()), (space.high - space.low).max() / 2
        np.testing.assert_allclose(back.astype(float), labels.astype(float), atol=most / 1024 + 1e-4)
    else:
        network.heads.discrete.forward = lambda hidden: torch.from_numpy(targets).log()
        back = network.heads.decide(task, torch.zeros(len(labels), 16)).actions
        del network.heads.discrete.forward
        np.testing.assert_array_equal(back, labels)


@few
@given(task=actions, seed=st.integers(0, 99), scale=st.sampled_from([0.0, 1.0, 1e3, 1e30]), start=st.booleans())
@torch.no_grad()
def test_played_actions_are_in_the_action_space_however_large_observations_and_hidden_states_are(
    task, seed, scale, start
):
    network, rng = jat(), np.random.default_rng(seed)
    rows = PolicyInput(
        task=task,
        observations=(rng.normal(size=(2, 1)) * scale).astype(np.float32),
        env_ids=np.array([1, 0]),
        episode_start=np.array([start, True]),
        rewards=rng.normal(size=2) * scale,
        rngs=[np.random.default_rng(row) for row in range(2)],
        envs=[],
    )
    [output] = network.act([rows], network.initial_state(2, {}))
    hidden = torch.from_numpy((rng.normal(size=(2, 16)) * scale).astype(np.float32))
    for actions in (output.actions, network.heads.decide(task, hidden).actions):
        assert all(spaces(task)[1].contains(np.asarray(action)) for action in actions)


def poisoned(values, steps, place):
    """A copy with one NaN among the numbers of these steps; None if they have no floats."""
    values = np.array(values, copy=True)
    parts = [values[name] for name in values.dtype.names] if values.dtype.names else [values]
    floats = [part for part in parts if part.dtype.kind == "f"]
    if not floats or not steps:
        return None
    part = floats[place % len(floats)][:steps]
    part[np.unravel_index(place % part.size, part.shape)] = np.nan
    return values


@few
@given(
    task=st.sampled_from(TASKS),
    steps=st.integers(2, 4),
    column=st.sampled_from(["observations", "labels", "actions", "rewards"]),
    place=st.integers(0, 99),
)
@torch.no_grad()
def test_a_nan_anywhere_in_a_window_makes_the_loss_nan_which_training_refuses(task, steps, column, place):
    played = window(task, steps, seed=place)
    assert jat().loss(batch_of(jat(), played))["loss"].isfinite()
    # The last action and reward have no later step that could depend on them.
    reach = steps if column in ("observations", "labels") else steps - 1
    values = poisoned(getattr(played, column), reach, place)
    if values is not None:
        assert not jat().loss(batch_of(jat(), replace(played, **{column: values})))["loss"].isfinite()
