from dataclasses import replace

import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Noisy
from benchmarks.play.rollout import rollout
from experts.load import load_expert
from experts.programs.scripted import make_program
from experts.recipe import PROGRAMS, ExpertRecipe
from tests.benchmarks.tasks.test_memory import hidden, maze
from tests.conftest import ROOT, make_task

SIGHTED = ExpertRecipe(algorithm="sighted", hyperparameters={"task": "classic/cartpole"})
RECALL = ExpertRecipe(algorithm="recall")
KEY, BALL, FORWARD = 5, 6, 2


def returns(policy, task, seeds=range(5)):
    return [episode.total_return for episode in rollout(policy, {task: seeds})]


def test_a_sighted_expert_plays_as_if_nothing_were_hidden():
    task = make_task("CartPole-v1", name="classic/cartpole")
    released = load_expert(ROOT / "results" / "experts" / task.name, task)
    sighted = make_program(hidden(), SIGHTED)
    assert returns(sighted, hidden()) == returns(released, task)
    assert sighted.distribution_kind == {"memory/toy": released.distribution_kind[task.name]}


def test_what_a_sighted_expert_is_made_from_is_the_released_network():
    [digest] = PROGRAMS.load("sighted").made_from(hidden(), SIGHTED).values()
    assert len(digest) == 64
    assert not PROGRAMS.load("recall").made_from(maze(), RECALL)


@pytest.mark.parametrize("size", [7, 11, 13])
def test_recall_never_fails_and_has_seen_the_object_before_it_chooses(size):
    pytest.importorskip("minigrid")
    task = maze(f"MiniGrid-MemoryS{size}-v0")
    for episode in rollout(make_program(task, RECALL), {task: range(30)}, keep_steps=True):
        assert episode.success and episode.length < 4 * size
        row_of_hallway, first = episode.steps["observations"]["image"][0, :, 6], episode.steps["actions"][0]
        sees_it = row_of_hallway[2, 0] in (KEY, BALL)  # the agent faces east at 3, so the object beside it is at 2
        assert (first == FORWARD) == sees_it


def test_recall_goes_on_from_wherever_another_player_left_it():
    pytest.importorskip("minigrid")
    task = maze()
    played = list(rollout(Noisy(make_program(task, RECALL), 0.3), {task: range(30)}))
    assert sum(episode.success for episode in played) > 20


@pytest.mark.parametrize(
    "task, recipe, words",
    [
        (hidden, RECALL, "recall plays MiniGrid-Memory, not CartPole-v1: use sighted"),
        (maze, SIGHTED, "sighted plays tasks with hidden numbers, not MiniGrid-MemoryS7-v0: use recall"),
        (hidden, replace(SIGHTED, hyperparameters={}), r"sighted needs hyperparameters: \{task: GROUP/NAME\}"),
        (hidden, replace(SIGHTED, hyperparameters={"task": "classic/pendulum"}), "was made for other arguments"),
        (hidden, replace(SIGHTED, hyperparameters={"task": "classic/none"}), "has no released expert"),
        (lambda: make_task("CartPole-v1", name="classic/cartpole"), SIGHTED, "plays tasks of family memory"),
    ],
)
def test_experts_that_do_not_fit_get_one_line(task, recipe, words):
    pytest.importorskip("minigrid")
    with pytest.raises(GatitoError, match=words) as error:
        make_program(task(), recipe)
    assert "\n" not in str(error.value)
