"""What is kept of episodes of writing."""

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.text_records import SAMPLE_IMAGES, TextWatch, read_images, write_images
from benchmarks.play.watching import WatchedPolicy
from benchmarks.tasks import Task, TaskConfig
from experts.programs.reference import ReferencePolicy
from tests.conftest import make_task

LANGUAGE = Task.resolve("words/language", TaskConfig(family="words", env_id="language", kwargs={"passage": 8}))
DIGITS = Task.resolve("words/digits", TaskConfig(family="words", env_id="digits"))


class Sure(ReferencePolicy):
    """The reference writer, which gives the true byte one chance in four."""

    def act(self, inputs, state):
        outputs, state = super().act(inputs, state)
        logits = [np.log(np.where(np.eye(256)[output.actions] > 0, 0.25, 0.75 / 255)) for output in outputs]
        return [
            replace(output, distributions=values + 7) for output, values in zip(outputs, logits, strict=True)
        ], state


def records(policy, tasks, pictured=()):
    watch = TextWatch(pictured)
    played = rollout(WatchedPolicy(policy, [watch]), {task: range(4) for task in tasks}, envs_per_task=2)
    found = [(episode, watch.record(episode)) for episode in played]
    return {(episode.task, episode.seed): record for episode, record in found}


def test_every_text_is_recorded_with_its_references():
    found = records(Sure(), [LANGUAGE, DIGITS])
    assert len(found) == 8
    for (task, seed), record in found.items():
        assert (record.task, record.seed, record.written) == (task, seed, record.references[0])
        assert record.bits == (pytest.approx(2) if task == LANGUAGE.name else None)
        assert record.image is None


def test_a_policy_without_probabilities_has_no_bits_and_other_tasks_no_texts():
    found = records(RandomPolicy(), [LANGUAGE, make_task()])
    assert all(found[LANGUAGE.name, seed].bits is None for seed in range(4))
    assert all(record is None for (task, _), record in found.items() if task != LANGUAGE.name)
    assert all(len(found[LANGUAGE.name, seed].written) == 8 for seed in range(4))


def test_bits_are_those_of_the_true_byte():
    class Certain(Sure):
        def act(self, inputs, state):
            outputs, state = super().act(inputs, state)
            return [replace(output, actions=np.full_like(output.actions, 65)) for output in outputs], state

    found = records(Certain(), [LANGUAGE])
    assert all(record.bits == pytest.approx(-math.log2(0.25)) for record in found.values()), "whatever is written"


def test_pictures_of_some_episodes_are_kept(tmp_path):
    found = records(ReferencePolicy(), [DIGITS], [0, 3])
    assert [seed for (_, seed), record in found.items() if record.image] == [0, 3]
    write_images(tmp_path, {DIGITS.name: {"0": found[DIGITS.name, 0].image}})
    [image] = read_images(tmp_path)[DIGITS.name].values()
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))).shape == (84, 84, 3)
    write_images(tmp_path, {})
    assert not (tmp_path / SAMPLE_IMAGES).exists() and read_images(tmp_path) == {}
    (tmp_path / SAMPLE_IMAGES).write_text('{"words/digits": 3}')
    with pytest.raises(GatitoError, match="damaged"):
        read_images(tmp_path)
