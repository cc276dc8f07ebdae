import numpy as np
import pytest

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env
from benchmarks.tasks.memory import whole
from tests.conftest import make_task


def hidden(env_id="CartPole-v1", indices=(1, 3), **settings):
    return make_task(env_id, name="memory/toy", family="memory", kwargs={"hidden": list(indices)}, **settings)


def maze(env_id="MiniGrid-MemoryS7-v0", **settings):
    return make_task(env_id, name="memory/maze", family="memory", metric="success", **settings)


def test_hidden_numbers_are_left_out_and_nothing_else_changes():
    task = hidden()
    [shown] = rollout(RandomPolicy(), {task: [5]}, keep_steps=True)
    [every] = rollout(RandomPolicy(), {whole(task, task.name): [5]}, keep_steps=True)
    np.testing.assert_array_equal(shown.steps["observations"], every.steps["observations"][:, [0, 2]])
    np.testing.assert_array_equal(shown.steps["rewards"], every.steps["rewards"])
    env = make_env(task)
    assert env.observation_space.shape == (2,) and env.observation_space.contains(env.reset(seed=0)[0])


def test_with_nothing_hidden_it_is_the_task_of_another_suite():
    assert whole(hidden(), "classic/cartpole").digest == make_task("CartPole-v1", name="classic/cartpole").digest
    assert hidden().digest != hidden(indices=[1]).digest


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"indices": []}, "nothing is hidden; name numbers"),
        (
            {"indices": [1, 4]},
            r"hidden=\[1, 4\] must name some of .* 4 numbers, from 0 to 3, and not all",
        ),
        ({"indices": [0, 1, 2, 3]}, "and not all"),
        ({"indices": ["speed"]}, "must name some"),
        ({"env_id": "FrozenLake-v1", "indices": [0]}, "FrozenLake-v1 has no vector as observation"),
        ({"env_id": "NoSuch-v1"}, "NoSuch-v1"),
    ],
)
def test_what_cannot_be_hidden_gets_one_line(settings, words):
    with pytest.raises(FatalError, match=words) as error:
        make_env(hidden(**settings))
    assert "\n" not in str(error.value)


def test_a_maze_takes_no_arguments_and_has_to_exist():
    pytest.importorskip("minigrid")
    with pytest.raises(FatalError, match="takes no arguments"):
        maze(kwargs={"size": 5})
    with pytest.raises(GatitoError, match="maze of task memory/maze.*MiniGrid-MemoryS7-v0"):
        maze("MiniGrid-MemoryS8-v0")
    assert maze().horizon == 5 * 7**2


def test_the_object_at_the_end_that_matches_is_the_only_success():
    pytest.importorskip("minigrid")
    env = make_env(maze())
    for end, success in (("success_pos", True), ("failure_pos", False)):
        env.reset(seed=1)
        level = env.unwrapped
        x, y = getattr(level, end)
        level.agent_pos, level.agent_dir = np.array((x, level.height // 2)), 1 if y > level.height // 2 else 3
        _, reward, terminated, _, info = env.step(2)
        assert terminated and info["success"] is success and (reward > 0) is success
