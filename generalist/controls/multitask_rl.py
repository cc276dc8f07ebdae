"""``multitask-rl``: the generalist's network, trained by PPO on all tasks at once, without demonstrations.

What distillation is worth is the gap between the generalist and this control, which may take as many environment steps
as the generalist's experts took together.

Run by ``gatito stages=[controls]``.
"""

from dataclasses import replace

from benchmarks.base.artifacts import Artifact
from benchmarks.base.settings import decisive
from benchmarks.runs.run import Run
from benchmarks.tasks import Suite
from generalist.config.codec import CodecConfig
from generalist.config.ppo import MultitaskConfig, PPOConfig, check_learnable, settings_of
from generalist.config.settings import ModelConfig
from generalist.ppo.reinforced import Reinforced, make_reinforced

AGENT = "multitask-rl"
_GROUP = "controls.multitask"


def multitask_ppo(config: MultitaskConfig, suite: Suite, codec: CodecConfig, env_steps: int) -> PPOConfig:
    """PPO on a suite; by default of so many environment steps on all tasks together.

    Raises:
        GatitoError: if settings or tasks cannot work: in one line, with the way out.
    """
    check_learnable(f"control {AGENT}", suite.tasks, codec)
    config = replace(config, env_steps=config.env_steps or env_steps // len(suite.tasks))
    config.check_training(_GROUP)
    return config


def multitask_learner(run: Run, ppo: PPOConfig, model: ModelConfig, codec: CodecConfig) -> Reinforced:
    """A run's network of all tasks that have got as far as distillation, and how it is trained."""
    tasks = run.survivors("distill").tasks
    settings = settings_of(tasks, ppo, run.seed) | {"model": decisive(model), "codec": decisive(codec)}
    artifact = Artifact(run.folder / "controls" / AGENT, AGENT, settings)
    return Reinforced(
        artifact=artifact,
        tasks=tasks,
        start=None,
        config=ppo,
        model=model,
        codec=codec,
        seed=run.seed,
        group=_GROUP,
    )


def train_multitask(run: Run, learner: Reinforced) -> None:
    """Train that network, unless it is there; an interrupted training goes on from its last checkpoint.

    Raises:
        GatitoError: if learning comes to nothing; the last good checkpoint is kept.
    """
    make_reinforced(learner, AGENT, run)
