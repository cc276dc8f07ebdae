"""``finetune``: the generalist goes on learning by itself, from what its tasks reward.

PPO (see :mod:`generalist.ppo.loss`) on all tasks at once, held to what the generalist was by a KL penalty (as
Ziegler et al. 2019, arXiv:1909.08593, section 2.2, hold a language model), its critic warmed up first. The network that
comes of it plays at the generalist's own speed: the compute is spent once, before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.tasks import Task
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
        """Refuse settings and tasks that cannot work; see :meth:`generalist.amplifiers.Amplifier.check`."""
        check_learnable("amplifier finetune", tasks, codec)
        self.check_training("amplifier")

    def artifact(self, generalist: Artifact, setting: AmplifierContext) -> Artifact:
        """The network that comes of it."""
        config = settings_of(setting.run.suite.tasks, self, setting.run.seed)
        return Artifact(setting.folder / "finetuned", "finetuned", config, {"generalist": generalist.fingerprint})

    def make(self, generalist: Artifact, setting: AmplifierContext) -> None:
        """Train it in a process of its own, from the last checkpoint if there is one."""
        artifact = self.artifact(generalist, setting)
        learner = Reinforced(
            artifact=artifact,
            tasks=setting.run.suite.tasks,
            start=generalist.folder,
            config=self,
            model=setting.recipe.model,
            codec=setting.recipe.codec,
            seed=setting.run.seed,
            group="amplifier",
        )
        make_reinforced(learner, "finetune", setting.run)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> NetworkPolicy:
        """The network of the artifact's folder, which looks once at each step."""
        return NetworkPolicy.load(folder, tasks, name, deterministic=deterministic)
