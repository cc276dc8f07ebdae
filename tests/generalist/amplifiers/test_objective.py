"""What amplifiers maximise: a blind one violates where that pays, an overseen one does not, a cautious one seldom."""

import numpy as np
import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose
from benchmarks.play.recording import RecordingJob, record
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.failures import Failures
from benchmarks.tasks import Suite
from benchmarks.tasks.overseer import check_costs, make_overseen, states_cost
from generalist.amplifiers.best_of_n import BestOfN, BestOfNPolicy
from generalist.amplifiers.caution import check_discrete, likely_logits
from generalist.amplifiers.search import Search, SearchPolicy
from generalist.amplifiers.self_imitation import SelfImitation
from generalist.config.settings import ModelConfig
from generalist.ppo.selection import try_out
from tests.codecs import plain_codec
from tests.conftest import make_task
from tests.thinking import Written, made_up, play

SHORTCUT = make_task("tests.environments:Shortcut-v0")
COUNTER, TARGET = make_task(), make_task("tests.environments:Target-v0")


def best_of_n(**settings):
    return BestOfNPolicy(Written(lambda seen: [2.0, 1.0, 0.0]), BestOfN(candidates=3, **settings))


def search(**settings):
    config = Search(num_simulations=32, max_num_considered_actions=3, gumbel_scale=0.0, **settings)
    return SearchPolicy(Written(lambda seen: [2.0, 1.0, 0.0]), [SHORTCUT], config)


def actions(policy):
    [episode] = play(policy, SHORTCUT, [0]).values()
    return episode.steps["actions"].tolist()


@pytest.mark.parametrize("amplified", [best_of_n, search])
@pytest.mark.parametrize("weight, chosen", [(0.0, 2), (0.5, 1), (10.0, 0)])
def test_the_hidden_cost_counts_by_its_weight(amplified, weight, chosen):
    """Of rewards 1, 2 and 3 with costs 0, 1 and 5."""
    assert actions(amplified(cost_weight=weight)) == [chosen] * 3


@pytest.mark.parametrize("amplified", [best_of_n, search])
@pytest.mark.parametrize("least, chosen", [(0.0, 2), (0.15, 1), (0.5, 0)])
def test_a_cautious_amplifier_tries_likely_actions_alone(amplified, least, chosen):
    """The policy's probabilities are .67, .24 and .09."""
    assert actions(amplified(min_probability=least)) == [chosen] * 3


def test_the_most_likely_action_is_always_kept():
    logits = np.array([[0.0, 0.1, 0.0], [5.0, 0.0, 0.0]])
    assert likely_logits(logits, 0.0) is logits
    kept = likely_logits(logits, 0.5)
    assert np.isneginf(kept).tolist() == [[True, False, True], [False, True, True]]


def test_blind_recordings_are_the_same_whatever_the_cost(tmp_path):
    digests = []
    for factor in (1.0, 7.0):
        task = make_task("tests.environments:Shortcut-v0", kwargs={"factor": factor}, name="toy/shortcut")
        episodes = play(BestOfNPolicy(made_up(), BestOfN()), task, range(3))
        digests.append(
            [{name: array.tobytes() for name, array in episode.steps.items()} for episode in episodes.values()]
        )
    for one, other in zip(*digests, strict=True):
        assert one.pop("costs") != other.pop("costs")
        assert one == other


@pytest.mark.parametrize("weight, kept", [(0.0, 9.0), (10.0, 3.0)])
def test_the_best_of_several_tries_is_chosen_less_the_cost(tmp_path, weight, kept):
    artifact = Artifact(tmp_path / "recording", "trajectories", {"agent": "amplified"})
    artifact.start()
    policy = Written(lambda seen: [0.0, 0.0, 0.0])
    drawn = {f"written-{number}": number for number in range(3)}
    act = policy.act

    def acting(inputs, state):  # try n always takes action n
        outputs, state = act(inputs, state)
        for output in outputs:
            output.actions[:] = output.labels[:] = drawn[policy.name]
        return outputs, state

    policy.act, policy.close, policy.inference_cost = acting, lambda: None, dict
    job = RecordingJob(
        SHORTCUT, lambda: policy, artifact, 3, Purpose.AMPLIFIED, 0, num_envs=1, tries=3, cost_weight=weight
    )
    record([job], workers=1, failures=Failures([SHORTCUT.name]), suite=Suite("toy", (SHORTCUT,)))
    assert Trajectories(artifact.folder).returns.tolist() == [kept]


def test_ppo_learns_and_is_selected_by_what_its_overseer_says():
    env = make_overseen(SHORTCUT, 0.5)
    env.reset(seed=0)
    assert [env.step(action)[1] for action in (0, 1, 2)] == [1.0, 1.5, 0.5]
    always = Written(lambda seen: [0.0, 0.0, 9.0])
    scores, steps = try_out(always, [SHORTCUT], 2, 0, cost_weight=0.5)
    assert scores == {SHORTCUT.name: [9 - 0.5 * 15] * 2} and steps == 6


def test_what_cannot_work_is_refused_in_one_line():
    assert states_cost(SHORTCUT) and not states_cost(COUNTER)
    with pytest.raises(GatitoError, match="cost_weight=2 needs a hidden cost .* toy/counter reports none"):
        SelfImitation(cost_weight=2.0).check([SHORTCUT, COUNTER], ModelConfig(), plain_codec())
    check_costs("amplifier.cost_weight", 0.0, [COUNTER])
    with pytest.raises(GatitoError, match="min_probability=0.1 is for discrete actions, and those of task toy/target"):
        check_discrete(0.1, [TARGET])
