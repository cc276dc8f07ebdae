"""How speed scales with tasks, processes and data."""

import functools
import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.play.policy import RandomPolicy
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.evaluate import EvaluateConfig, evaluate
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import make_env
from generalist.config.settings import ModelConfig
from generalist.distill.data import Mixture, Source
from generalist.network.network import make_network
from tests.conftest import make_run
from tests.speed import evaluating
from tests.speed.cases import Case, Measurement, timed
from tests.speed.crew import Crew
from tests.speed.tasks import HALF_CHEETAH, codec_of, record, suite_of

_OVERHEAD = 0.5  # seconds a task, at most
_EPISODES = 2
_HORIZON = 12
_STEPS = 8_000  # recorded, an episode in each of eight environments; and ten times as many


def cases() -> list[Case]:
    """Processes 1 to 2, data once to ten times (for memory, see :mod:`tests.speed.memory`), tasks 1 to 157."""
    alone = functools.partial(Crew, evaluating.batched, [(HALF_CHEETAH, 0)])
    return [
        Case(
            "grow",
            f"evaluate {HALF_CHEETAH}, two processes",
            "one process",
            1.8,
            lambda: (Crew(evaluating.batched, evaluating.parts(HALF_CHEETAH, 2)).rate, alone().rate),
        ),
        Case("grow", f"record {HALF_CHEETAH}", "a tenth of the steps", 0.9, _recordings),
        Case("grow", f"distill {HALF_CHEETAH}, making batches", "a tenth of the data", 0.9, _batches, quick=True),
        Case(
            "grow",
            "evaluate random play of 157 tasks, overhead a task",
            f"{_OVERHEAD:g} seconds",
            1,
            lambda: (_overhead, lambda: _OVERHEAD),
            cost=True,
            repetitions=2,
        ),
    ]


def _recordings() -> tuple[Measurement, Measurement]:
    task = suite_of("mixed", None, HALF_CHEETAH).tasks[0]

    def recorded(steps: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            return record(task, steps, Path(folder) / "trajectories").steps

    long, short = (timed(functools.partial(recorded, steps)) for steps in (10 * _STEPS, _STEPS))
    return long, short


def _batches() -> tuple[Measurement, Measurement]:
    task = suite_of("mixed", None, HALF_CHEETAH).tasks[0]

    def drawn(steps: int) -> Measurement:
        folder = tempfile.TemporaryDirectory()
        recorded = record(task, steps, Path(folder.name) / "trajectories")
        network = make_network(ModelConfig(), codec_of())
        mixture = Mixture([Source(task, recorded, 1.0)], network, batch_size=64, sequence_length=32, seed=0)
        numbers = itertools.count()

        def work() -> int:
            assert folder.name
            for _ in range(20):
                mixture.batch(next(numbers))
            return 20

        return timed(work)

    return drawn(10 * _STEPS), drawn(_STEPS)


def _overhead() -> float:
    """Seconds a task that scoring a suite takes beside its environments, which are made and stepped by hand as well.

    In one process each, so that the two can be compared.
    """
    suite = suite_of("jat157", _HORIZON)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", suite)
        config = EvaluateConfig(episodes=_EPISODES, envs_per_task=_EPISODES, max_envs=_EPISODES * len(suite.tasks))
        start = time.perf_counter()
        evaluate(run, [Agent(AgentId("random"), RandomPolicy)], {task.name: 0.0 for task in suite}, config)
        ours = time.perf_counter() - start
    bare = 1 / Crew(_bare, [()]).rate()
    return (ours - bare) / len(suite.tasks)


def _bare() -> Measurement:
    """The same environments, made, stepped and closed by hand, once."""
    suite = suite_of("jat157", _HORIZON)

    def work() -> float:
        envs = [make_env(task) for task in suite for _ in range(_EPISODES)]
        for seed, env in enumerate(envs):
            env.reset(seed=seed)
            for _ in range(_HORIZON):
                _, _, terminated, truncated, _ = env.step(env.action_space.sample())
                if terminated or truncated:
                    break
        for env in envs:
            env.close()
        return 1.0

    return timed(work)
