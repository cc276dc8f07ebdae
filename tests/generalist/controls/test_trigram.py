"""The control ``trigram``."""

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose
from benchmarks.play.recording import RecordingJob, record
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite, Task, TaskConfig
from experts.programs.reference import ReferencePolicy
from experts.record import RecordConfig, recording_artifact
from generalist.config.recipe import memory_artifact
from generalist.controls.control import ControlContext
from generalist.controls.trigram import Trigram, TrigramPolicy, count, last_bytes, load_trigrams
from tests.conftest import make_run, make_task

TASK = Task.resolve("words/digits", TaskConfig(family="words", env_id="digits"))


def test_probabilities_by_hand():
    policy = TrigramPolicy("words/x", np.frombuffer(b"abcabdabcxbc", np.uint8).reshape(-1, 3), np.array([1, 1, 1, 1]))
    # Without a context: c three times, d once; two kinds of bytes follow.
    alone = policy.probabilities(b"")
    assert alone[ord("c")] == pytest.approx((3 + 2 / 256) / 6) and alone[ord("z")] == pytest.approx(2 / 256 / 6)
    after_b = policy.probabilities(b"b")
    assert after_b[ord("c")] == pytest.approx((3 + 2 * alone[ord("c")]) / 6)
    after_ab = policy.probabilities(b"ab")
    assert after_ab[ord("d")] == pytest.approx((1 + 2 * after_b[ord("d")]) / 5)
    assert np.array_equal(policy.probabilities(b"zz"), alone), "an unknown context has no say"
    for context in (b"", b"b", b"ab", b"xb", b"zb"):
        assert policy.probabilities(context).sum() == pytest.approx(1)


def test_the_last_bytes_of_texts():
    texts = np.array([list(b"abc\0\0"), list(b"a\0\0\0\0"), list(b"abcde"), [0] * 5], np.uint8)
    assert last_bytes(texts) == [b"bc", b"a", b"de", b""]


@pytest.fixture
def recorded(tmp_path):
    run = make_run(tmp_path / "r", Suite("words", (TASK,)))
    artifact = recording_artifact(run, TASK, "expert", RecordConfig(shards=1), None)
    artifact.start()
    job = RecordingJob(TASK, ReferencePolicy, artifact, 300, Purpose.RECORDING, 0, shards=1)
    record([job], workers=1, failures=run.failures, suite=run.suite)
    run.failures.stop_if_any()
    return run, artifact


def test_it_writes_what_most_often_follows(recorded):
    run, recording = recorded
    table = memory_artifact(run, "trigram", TASK.name, recording)
    count(TASK, recording, table, run.runs_folder)
    assert table.is_complete()
    policy = load_trigrams({TASK.name: table.folder}, run.suite)
    written = set()
    for episode in rollout(policy, {TASK: range(5)}, envs_per_task=1, keep_steps=True):
        written.add(bytes(np.asarray(episode.steps["actions"], np.uint8)).rstrip(b"\0"))
    assert len(written) == 1, "it sees no image"
    labels = np.concatenate([steps["labels"] for steps in Trajectories(recording.folder).episodes()])
    assert {*b"".join(written)} <= {*labels.tolist()}


def test_it_refuses_other_tasks(tmp_path):
    pole = make_task()
    run = make_run(tmp_path / "r", Suite("toy", (pole,)))
    context = ControlContext(run, None, None, {}, 0, True)
    with pytest.raises(GatitoError, match="trigram plays tasks of family words only, not toy/counter"):
        Trigram(context).check()
