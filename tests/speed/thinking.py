"""The overhead of planning beyond its forward passes and the steps of its clones.

Both are told by the same play, so nothing else that the machine does tells them apart. The network is untrained: it
costs the same, and doubts its own choices more often, so that more futures are played.
"""

import itertools

from benchmarks.play.rollout import rollout
from generalist.amplifiers.best_of_n import BestOfN, BestOfNPolicy
from generalist.amplifiers.search import Search, SearchPolicy
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from tests.speed.cases import Case, Measurement
from tests.speed.tasks import HALF_CHEETAH, Environments, codec_of, model_of, suite_of

_HORIZON = 50
_NUM_ENVS = 16  # as in recordings
_REACH = 1 / 1.3
_TASKS = ("classic/cartpole", "classic/lunarlander", HALF_CHEETAH, "babyai/synth-loc", "atari/pong")


def cases() -> list[Case]:
    """``search`` in environments cheap and dear, ``best_of_n`` in the cheapest, both as by default."""
    pairs = [*(("search", task) for task in _TASKS), ("best_of_n", _TASKS[0])]
    return [
        Case(
            "think",
            f"{task}, {amplifier}",
            "its forward passes and environment steps",
            _REACH,
            lambda amplifier=amplifier, task=task: _pair(amplifier, task),
            cost=True,
            quick=(amplifier, task) == ("search", _TASKS[0]),
        )
        for amplifier, task in pairs
    ]


def _pair(name: str, task: str) -> tuple[Measurement, Measurement]:
    """Seconds of planning, and those spent in networks and environments."""
    suite = suite_of("mixed", _HORIZON, task)
    plain = NetworkPolicy(make_network(model_of("nano"), codec_of(critic=0.5), [task]).eval().accelerate())
    policy = SearchPolicy(plain, suite.tasks, Search()) if name == "search" else BestOfNPolicy(plain, BestOfN())
    starts, environments = itertools.count(), Environments()  # clones are reused as well

    def thought() -> float:
        before = policy.cost.seconds, policy.cost.network_seconds + policy.cost.simulator_seconds
        seeds = {each: starts for each in suite}
        enough = _NUM_ENVS * _HORIZON // 2
        list(rollout(policy, seeds, envs_per_task=_NUM_ENVS, enough_steps=enough, make=environments.take))
        needed.append(policy.cost.network_seconds + policy.cost.simulator_seconds - before[1])
        return policy.cost.seconds - before[0]

    needed: list[float] = []
    return thought, lambda: needed[-1]
