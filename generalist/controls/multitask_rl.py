"""``multitask-rl``: the generalist's network, trained by PPO on all tasks at once, without demonstrations.

What distillation is worth is the gap between the generalist and this control, which may take as many environment steps
as the generalist's experts took together.

Run by ``gatito stages=[controls]``.
"""

from dataclasses import replace
from functools import partial

from benchmarks.base.artifacts import Artifact
from benchmarks.base.settings import decisive
from benchmarks.runs.run import Run
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite
from generalist.config.codec import CodecConfig
from generalist.config.ppo import MultitaskConfig, PPOConfig, check_learnable, settings_of
from generalist.config.settings import ModelConfig
from generalist.controls.control import Control
from generalist.network.policy import NetworkPolicy
from generalist.ppo.reinforced import Reinforced, make_reinforced

AGENT = "multitask-rl"
_GROUP = "controls.multitask"


class MultitaskRl(Control):
    """One network for all tasks that learns from rewards alone."""

    def learner(self) -> Reinforced | None:
        """The network and how it is trained; None: there is no task to learn.

        Raises:
            GatitoError: if it cannot be trained.
        """
        context, suite = self.context, self.context.run.survivors("distill")
        if not suite.tasks:
            return None
        model, codec = context.recipe.model, context.recipe.codec
        ppo = multitask_ppo(context.config.multitask, suite, codec, context.expert_env_steps)
        return multitask_learner(context.run, ppo, model, codec)

    def check(self) -> None:
        """Refuse settings and tasks that cannot work.

        Raises:
            GatitoError: in one line, with the way out.
        """
        self.learner()

    def train(self) -> None:
        """Train the network, unless it is there."""
        learner = self.learner()
        if learner is not None:
            train_multitask(self.context.run, learner)

    def agent(self) -> Agent | None:
        """The network."""
        learner, tasks = self.learner(), self.context.run.survivors("evaluate").tasks
        if learner is None:
            return None
        artifact = learner.artifact
        load = partial(NetworkPolicy.load, artifact.folder, tasks, deterministic=self.context.deterministic)
        return Agent(AgentId(AGENT), load, {"": artifact}, how=self.context.policy_settings)


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
