"""Whatever a space allows is conformed, packed and stacked without a change."""

import gymnasium as gym
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tasks.conformity import action_copier, conformer
from benchmarks.tasks.observations import pack, packed_dtype, stack, text_of
from generalist.network.distributions import from_unit, to_unit
from tests.properties import few

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@st.composite
def boxes(draw, integers=True):
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8", *(["i1", "u1", "i4", "i8"] if integers else [])])))
    low = draw(st.integers(0 if dtype.kind == "u" else -100, 100))
    high = min(127, low + draw(st.integers(0, 50)))
    return gym.spaces.Box(dtype.type(low), dtype.type(high), draw(SHAPES), dtype)


discrete = st.builds(lambda n, start: gym.spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-5, 5))
texts = st.integers(1, 12).map(gym.spaces.Text)
plain = boxes() | discrete | texts
spaces = plain | st.dictionaries(st.text("abcdef", min_size=1, max_size=3), plain, min_size=1, max_size=3).map(
    gym.spaces.Dict
)


def sampled(space, seed):
    space.seed(seed)
    return space.sample()


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return np.array_equal(one, other)


@few
@given(space=spaces, seed=st.integers(0, 99))
def test_a_conformed_observation_is_the_same_and_in_its_space(space, seed):
    observation = sampled(space, seed)
    conformed = conformer(space)(observation)
    assert equal(observation, conformed) and space.contains(conformed)
    assert equal(conformed, conformer(space)(conformed))


@few
@given(space=boxes() | discrete, seed=st.integers(0, 99))
def test_a_copied_action_is_the_same_and_in_its_space(space, seed):
    action = sampled(space, seed)
    copied = action_copier(space)(action)
    assert (equal(action, copied) and space.contains(copied) and copied is not action) or isinstance(copied, int)


@few
@given(space=spaces, seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_packed_observations_hold_every_entry(space, seeds):
    observations = [conformer(space)(sampled(space, seed)) for seed in seeds]
    rows = stack([pack(space, observation) for observation in observations])
    assert len(rows) == len(observations)
    for row, observation in zip(rows, observations, strict=True):
        parts = observation if isinstance(space, gym.spaces.Dict) else {"": observation}
        for name, value in parts.items():
            packed = row[name] if name else row
            assert text_of(packed) == value if isinstance(value, str) else np.array_equal(packed, value)
    if isinstance(space, gym.spaces.Dict):
        assert rows.dtype == packed_dtype(space)


@few
@given(text=st.text(max_size=6).filter(lambda text: "\0" not in text))
def test_texts_come_back_from_their_bytes(text):
    space = gym.spaces.Text(24, charset=set(text) or {"a"})
    assert text_of(pack(space, text)) == text


@few
@given(space=boxes(), seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_actions_come_back_from_minus_1_to_1(space, seeds):
    actions = np.stack([sampled(space, seed) for seed in seeds])
    unit = to_unit(space, actions)
    assert unit.shape == (len(seeds), int(np.prod(space.shape))) and np.abs(unit).max(initial=0) <= 1
    back = from_unit(space, unit)
    assert back.dtype == space.dtype and back.shape == actions.shape and all(space.contains(one) for one in back)
    np.testing.assert_allclose(back.astype(float), actions.astype(float), atol=1e-4)
    if space.dtype.kind in "iu":
        np.testing.assert_array_equal(back, actions)
