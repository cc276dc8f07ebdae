"""``multitask-rl``: the generalist's network, trained by PPO on all tasks at once, without demonstrations.

The gap between the generalist and this control is the value of distillation. The control may take as many environment
steps as the generalist's experts took together.

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
from benchmarks.tasks.overseer import check_costs
from generalist.config.codec import CodecConfig
from generalist.config.ppo import MultitaskConfig, PPOConfig, check_learnable, settings_of
from generalist.config.settings import ModelConfig
from generalist.controls.control import Control
from generalist.network.policy import NetworkPolicy
from generalist.ppo.reinforced import Reinforced, make_reinforced

AGENT = "multitask-rl"
_GROUP = "controls.multitask"


class MultitaskRl(Control):
    """One network for all tasks that learns from rewards only."""

    def learner(self) -> Reinforced | None:
        """The network and the settings of its training; None without tasks.

        Raises:
            GatitoError: if it cannot be trained.
        """
        context, suite = self.context, self.context.run.survivors("distill")
        if not suite.tasks:
            return None
        model, codec = context.recipe.model, context.recipe.codec
        ppo = multitask_ppo(context.config.multitask, suite, codec, context.expert_env_steps)
        return multitask_learner(context.run, ppo, model, codec, context.recipe.distill.device)

    def check(self) -> None:
        """Reject settings and tasks that cannot work.

        Raises:
            GatitoError: one line that names the remedy.
        """
        self.learner()

    def train(self) -> None:
        """Train the network, unless it exists."""
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
    """The PPO settings for a suite; by default with ``env_steps`` environment steps on all tasks together.

    Raises:
        GatitoError: if settings or tasks cannot work; one line that names the remedy.
    """
    check_learnable(f"control {AGENT}", suite.tasks, codec)
    config = replace(config, env_steps=config.env_steps or env_steps // len(suite.tasks))
    config.check_training(_GROUP)
    check_costs(f"{_GROUP}.cost_weight", config.cost_weight, suite.tasks)
    return config


def multitask_learner(run: Run, ppo: PPOConfig, model: ModelConfig, codec: CodecConfig, device: str) -> Reinforced:
    """A run's network for all tasks that have reached distillation, the settings of its training, and its device."""
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
        device=device,
    )


def train_multitask(run: Run, learner: Reinforced) -> None:
    """Train the network, unless it exists; an interrupted training resumes from its last checkpoint.

    Raises:
        GatitoError: if the training fails; the last good checkpoint is kept.
    """
    make_reinforced(learner, AGENT, run)
