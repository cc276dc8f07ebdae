import numpy as np
import pytest

from experts.recipe import ExpertRecipe
from experts.selection import is_best, is_trained, judge
from tests.conftest import make_task


def curve(*means):
    return [{"steps": 100 * (place + 1), "mean": mean} for place, mean in enumerate(means)]


def chosen(*means):
    """The checkpoint that a training with these means keeps."""
    best = None
    for place, mean in enumerate(means):
        if is_best(mean, curve(*means[:place])):
            best = place
    return best


@pytest.mark.parametrize(
    "means, kept",
    [([5.0], 0), ([1, 3, 2], 1), ([3, 1, 2], 0), ([-9, -5, -7], 1), ([2, 2, 1], 1), ([1, 2, 3], 2)],
)
def test_the_best_checkpoint_is_kept_and_the_later_one_of_equals(means, kept):
    assert chosen(*means) == kept


def test_a_training_ends_with_its_steps_or_when_it_is_good_enough():
    recipe = ExpertRecipe(env_steps=300)
    assert [is_trained(recipe, curve(*[0.0] * count)) for count in range(5)] == [False, False, False, True, True]
    good = ExpertRecipe(env_steps=300, stop_at=7.0)
    assert is_trained(good, curve(1.0, 7.0)) and not is_trained(good, curve(8.0, 6.9))
    assert is_trained(good, curve(0.0, 0.0, 0.0))


def test_an_expert_is_held_against_its_tasks_reference():
    task = make_task("CartPole-v1", reference=10.0, source="a paper")
    verdict = judge(task, [9.0, 11.0])
    assert verdict == {
        "mean": 10.0,
        "std": float(np.sqrt(2)),
        "episodes": 2,
        "reference": 10.0,
        "source": "a paper",
        "passed": True,
    }
    assert judge(task, [9.0, 10.9])["passed"] is False
    assert judge(make_task("CartPole-v1"), [-5.0])["passed"] is True
    assert judge(task, [12.0])["std"] == 0.0
