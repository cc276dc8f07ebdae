"""check_env: one line for each way in which an environment breaks its word."""

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.check import check_env
from tests.conftest import make_task
from tests.odd_environments import FAULTS, Signs


class Unseeded(Signs):
    """Draws from a stream of its own."""

    def reset(self, **arguments):
        found = super().reset(**arguments)
        self._np_random = np.random.default_rng()
        return found


class Remembers(Signs):
    """An episode depends on the ones before."""

    offset = 0.0

    def reset(self, **arguments):
        self.offset += 0.01
        return super().reset(**arguments)

    def show(self):
        return np.array([np.clip(self.number + self.offset, -1, 1)], np.float32)


class Beyond(Signs):
    """A number beyond the bounds of its space."""

    def show(self):
        return np.array([2 * self.number], np.float32)


class Masks(Signs):
    """A mask of the wrong length, or one that leaves nothing to do."""

    def __init__(self, mask=(1, 1, 1)):
        super().__init__()
        self._mask = np.array(mask, np.int8)

    def reset(self, **arguments):
        return super().reset(**arguments)[0], {"action_mask": self._mask}


class Sequences(Signs):
    """A space that is not supported."""

    def sights(self):
        return gym.spaces.Tuple((gym.spaces.Sequence(gym.spaces.Discrete(2)),))


class WrongTuple(Signs):
    """Says a Tuple of two, gives one."""

    def sights(self):
        return gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.MultiDiscrete([2, 2])))

    def show(self):
        return (0,)


class WrongOption(WrongTuple):
    """An option that a choice does not have."""

    def show(self):
        return (0, np.array([1, 2]))


class Tied(Signs):
    """Cannot be cloned."""

    def __init__(self):
        super().__init__()
        self._held = (number for number in range(3))


for _class in (Unseeded, Remembers, Beyond, Masks, Sequences, WrongTuple, WrongOption, Tied):
    gym.register(f"Check{_class.__name__}-v0", entry_point=_class, max_episode_steps=20)


def task_of(name, **kwargs):
    return make_task(f"tests.benchmarks.tasks.test_check:Check{name}-v0", f"odd/{name.lower()}", kwargs=kwargs)


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("Unseeded", {}, ["not decided by its seed", "another copy", "self.np_random"]),
        ("Remembers", {}, ["not decided by its seed", "after other episodes"]),
        ("Beyond", {}, ["bounds of its observation space", "where its space has"]),
        ("Masks", {}, ["action mask of 3", "space has 2"]),
        ("Masks", {"mask": (0, 0)}, ["leaves nothing to do"]),
        ("Sequences", {}, ["Sequence", "not supported", "MultiDiscrete"]),
        ("WrongTuple", {}, ["'1'", "is not there"]),
        ("WrongOption", {}, ["'1'", "has option 2"]),
    ],
)
def test_a_broken_environment_gets_one_line(name, kwargs, words):
    with pytest.raises(GatitoError) as refused:
        check_env(task_of(name, **kwargs))
    assert all(word in str(refused.value) for word in [f"odd/{name.lower()}", *words]), refused.value
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_guard_refuses_is_refused(fault):
    with pytest.raises(GatitoError, match="odd/breaks"):
        check_env(make_task("tests.odd_environments:Breaks-v0", "odd/breaks", kwargs={"fault": fault}))


def test_what_can_be_played_is_only_warned_of(capsys):
    check_env(task_of("Tied"))
    assert "cannot be cloned" in " ".join(capsys.readouterr().err.split())
    check_env(make_task("tests.odd_environments:Reuses-v0", "odd/reuses"))
    assert "into the array of the last one" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["Signs", "FromOne", "Pairs"])
def test_a_sound_environment_passes_in_silence(name, capsys):
    check_env(make_task(f"tests.odd_environments:{name}-v0", f"odd/{name.lower()}"))
    assert capsys.readouterr().err == ""
