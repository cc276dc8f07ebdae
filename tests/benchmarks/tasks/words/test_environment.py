"""Writing byte by byte."""

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import Task, TaskConfig, make_env
from benchmarks.tasks.check import check_env
from benchmarks.tasks.words.environment import END, Writing
from benchmarks.tasks.words.items import SIDE, Item
from experts.programs.reference import ReferencePolicy


class Fixed:
    """One item."""

    has_images, digest = False, ""
    longest_prompt, longest_answer = 8, 4

    def __init__(self, metric="exact", forced=False):
        self.metric, self.forced = metric, forced

    def draw(self, rng, test):
        return Item("a\nb?", ("yes", "si"))


def written(text, source=None, horizon=5):
    """The steps of an episode in which these bytes are written."""
    env = Writing(source or Fixed(), horizon)
    env.reset(seed=0)
    return [env.step(byte) for byte in text]


@pytest.mark.parametrize(
    ("text", "reward", "success"),
    [(b"yes\0", 1, True), (b"si\0", 1, True), (b"no\0", 0, False), (b"\0", 0, False), (b"yesss", 0, False)],
)
def test_an_answer_ends_with_its_end_or_at_the_limit_and_is_scored_once(text, reward, success):
    *before, (_, last, terminated, truncated, info) = written(text)
    assert all(step[1:] == (0.0, False, False, {}) for step in before)
    assert (last, terminated, truncated, info) == (reward, True, False, {"success": success})


def test_the_text_is_the_prompt_and_what_is_written_so_far():
    texts = [step[0]["text"] for step in written(b"y\xe9\n")]
    assert texts == ["a\nb?\ny", "a\nb?\ny?", "a\nb?\ny?\n"]


def test_a_forced_text_goes_on_as_it_is_whatever_is_written():
    steps = written(b"yxs", Fixed("predicted", forced=True))
    assert [step[0]["text"] for step in steps] == ["a\nb?y", "a\nb?ye", "a\nb?yes"]
    assert [step[1] for step in steps] == pytest.approx([1 / 3, 0, 1 / 3])
    assert [step[2] for step in steps] == [False, False, True] and steps[-1][4] == {"success": False}
    assert written(b"\0", Fixed("predicted", forced=True))[0][2] is False  # END is a byte like the others


def test_the_reference_writer_goes_on_after_a_wrong_byte():
    env = Writing(Fixed(), 5)
    env.reset(seed=0)
    env.step(ord("x"))
    assert [env.next_byte, env.answer] == [ord("e"), "x"]
    env.step(ord("e")), env.step(ord("s"))
    assert env.next_byte == END


@pytest.mark.parametrize("kind", ["captions", "questions", "digits", "replies", "language"])
def test_the_expert_scores_one_and_random_bytes_next_to_nothing(kind):
    task = Task.resolve(f"words/{kind}", TaskConfig(family="words", env_id=kind))
    check_env(task)
    experts = list(rollout(ReferencePolicy(), {task: range(8)}, envs_per_task=4))
    assert [episode.total_return for episode in experts] == pytest.approx([1] * 8)
    assert all(episode.success for episode in experts)
    random = list(rollout(RandomPolicy(), {task: range(8)}, envs_per_task=4))
    assert np.mean([episode.total_return for episode in random]) < 0.1


def test_a_prompt_of_ones_own_is_asked():
    env = make_env(Task.resolve("words/replies", TaskConfig(family="words", env_id="replies")))
    observation, _ = env.reset(seed=1, options={"prompt": "Hello"})
    assert observation["text"] == "Hello\n"
    with pytest.raises(GatitoError, match="97 bytes"):
        env.reset(seed=1, options={"prompt": "a" * 97})


def test_the_picture_shows_image_prompt_and_answer():
    task = Task.resolve("words/questions", TaskConfig(family="words", env_id="questions"))
    env = make_env(task, "rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(ord("y"))
    after = env.render()
    assert before.shape == after.shape and before.dtype == np.uint8
    enlarged = np.kron(env.unwrapped.item.image, np.ones((2, 2, 1), np.uint8))
    assert np.array_equal(before[: 2 * SIDE, : 2 * SIDE], enlarged)
    assert (before != after).any() and np.array_equal(before[: 2 * SIDE], after[: 2 * SIDE])
