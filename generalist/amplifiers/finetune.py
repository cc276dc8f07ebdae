"""``finetune``: the generalist continues to learn from its tasks' rewards.

PPO (see :mod:`generalist.ppo.loss`) on all tasks at once, with a KL penalty to the generalist (as for language models
in Ziegler et al. 2019, arXiv:1909.08593, section 2.2) and a warm-up of the critic. The resulting network decides as
fast as the generalist: the compute is spent once, in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.tasks import Task
from benchmarks.tasks.overseer import check_costs
from generalist.amplifiers.amplifier import Amplifier, AmplifierContext
from generalist.config.codec import CodecConfig
from generalist.config.ppo import PPOConfig, check_learnable, settings_of
from generalist.config.settings import ModelConfig
from generalist.network.policy import NetworkPolicy
from generalist.ppo.reinforced import Reinforced, make_reinforced


@dataclass
class Finetune(PPOConfig, Amplifier):
    """The options of ``amplifier=finetune``; see :class:`generalist.config.ppo.PPOConfig`."""

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings and tasks that cannot work; see :meth:`generalist.amplifiers.Amplifier.check`."""
        check_learnable("amplifier finetune", tasks, codec)
        self.check_training("amplifier")
        check_costs("amplifier.cost_weight", self.cost_weight, tasks)

    def artifact(self, generalist: Artifact, context: AmplifierContext) -> Artifact:
        """The fine-tuned network."""
        config = settings_of(context.run.suite.tasks, self, context.run.seed)
        return Artifact(context.folder / "finetuned", "finetuned", config, {"generalist": generalist.fingerprint})

    def make(self, generalist: Artifact, context: AmplifierContext) -> None:
        """Train it in a separate process, from the last checkpoint if there is one."""
        artifact = self.artifact(generalist, context)
        learner = Reinforced(
            artifact=artifact,
            tasks=context.run.suite.tasks,
            start=generalist.folder,
            config=self,
            model=context.recipe.model,
            codec=context.recipe.codec,
            seed=context.run.seed,
            group="amplifier",
            device=context.recipe.distill.device,
        )
        make_reinforced(learner, "finetune", context.run)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> NetworkPolicy:
        """The fine-tuned network, with one forward pass per step."""
        return NetworkPolicy.load(folder, tasks, name, deterministic=deterministic)
