"""The loss on episodes that are not learned."""

import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.tracking import read_log
from generalist.config.settings import DistillConfig
from generalist.distill.data import Mixture, Source
from generalist.network.step import StepNetwork
from tests.codecs import plain_codec
from tests.generalist.distill.test_distill import MODEL, SUITE, recordings, run  # noqa: F401


def episodes(recording, config, *, validates=False):
    apart = config.validated(len(recording))
    source = Source(SUITE.tasks[0], recording, 1.0, share=config.data, apart=apart, validates=validates)
    network = StepNetwork(MODEL, plain_codec())
    return Mixture([source], network, batch_size=1, sequence_length=4, seed=0)._episodes[0].tolist()


@pytest.mark.parametrize(
    ("settings", "learned", "validated"),
    [({"validation": 0.1}, 18, 2), ({"validation": 0.01}, 19, 1), ({"validation": 0.1, "data": 0.5}, 9, 2)],
)
def test_no_episode_is_both_learned_and_validated(recordings, settings, learned, validated):  # noqa: F811
    recording, config = Trajectories(recordings["toy/counter"].folder), DistillConfig(**settings)
    assert episodes(recording, config) == list(range(learned)) and config.used(20) == learned
    assert episodes(recording, config, validates=True) == list(range(20 - validated, 20))


def test_nothing_left_to_learn_gets_one_line(recordings):  # noqa: F811
    source = Source(SUITE.tasks[0], Trajectories(recordings["toy/counter"].folder), 1.0, apart=20)
    with pytest.raises(GatitoError, match=r"toy/counter: distill.validation leaves none of 20 recorded episodes"):
        Mixture([source], StepNetwork(MODEL, plain_codec()), batch_size=1, sequence_length=4, seed=0)


def test_the_loss_is_logged_after_the_last_update(recordings, tmp_path):  # noqa: F811
    log = read_log(run(recordings, tmp_path, validation=0.2, updates=300, learning_rate=1e-2).folder / "log.jsonl")
    assert [line["step"] for line in log if "validation/loss" in line] == [300]
    assert 0 < log[-1]["validation/loss"] < log[0]["distill/loss"]
