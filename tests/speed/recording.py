"""Recording scripted experts, against random actions in the same episodes of the same environments."""

import functools
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf

from benchmarks.policy import Noisy
from benchmarks.rollout import Episode, rollout
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Task, make_env, spaces
from benchmarks.tasks.task import TaskConfig
from benchmarks.trajectories import write_shard
from experts.recipe import ExpertRecipe
from experts.scripted import make_player
from tests.conftest import ROOT
from tests.speed.cases import Case, Measurement

_PLAYERS = {"babyai": "bot", "metaworld": "script"}
_STEPS = 5000
_QUICK = ("babyai/go-to-local", "metaworld/reach")


def cases() -> list[Case]:
    """Every task of ``babyai`` and ``metaworld``."""
    found = []
    for family, player in _PLAYERS.items():
        suite = OmegaConf.load(ROOT / "conf" / "suite" / f"{family}.yaml")
        for key, settings in suite.tasks.items():
            known = {name: value for name, value in settings.items() if name in TaskConfig.__annotations__}
            task = Task.resolve(str(key).replace("-", "/", 1), TaskConfig(**known))
            recipe = ExpertRecipe(algorithm=player)
            quick = task.name in _QUICK
            prepare = functools.partial(_prepare, task, recipe)
            found.append(Case("record", task.name, "random actions", 0.8, prepare, quick=quick))
    return found


def _prepare(task: Task, recipe: ExpertRecipe) -> tuple[Measurement, Measurement]:
    """Both make an environment and play the same layouts for as long; only ours thinks, labels and writes."""
    policy = Noisy(make_player(task, recipe), 0.1)
    seeds = iter([episode_seed(Purpose.RECORDING, index, 0) for index in range(100_000)])
    lengths: dict[int, int] = {}

    def played() -> Iterator[Episode]:
        lengths.clear()
        for episode in rollout(policy, {task: seeds}, lanes_per_task=1, keep_steps=True, enough_steps=_STEPS):
            lengths[episode.seed] = episode.length
            yield episode

    def record() -> float:
        folder = Path(tempfile.mkdtemp())
        start = time.perf_counter()
        steps = write_shard(folder / "shard-000", played(), spaces(task)[0])
        seconds = time.perf_counter() - start
        shutil.rmtree(folder)
        return steps / seconds

    def act_at_random() -> float:
        space = spaces(task)[1]
        actions = iter([space.sample() for _ in range(sum(lengths.values()))])
        steps = 0
        start = time.perf_counter()
        env = make_env(task)
        for seed, length in lengths.items():
            env.reset(seed=seed)
            over = False
            until = steps + length
            while steps < until and not over:
                _, _, terminated, truncated, _ = env.step(next(actions))
                over = terminated or truncated
                steps += 1
        env.close()
        return steps / (time.perf_counter() - start)

    return record, act_at_random
