"""The settings of ``ida``: rounds of amplification and distillation."""

from dataclasses import dataclass, replace

from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import check_settings, setting
from generalist.config.settings import DaggerConfig, DistillConfig

STARTS = ("random", "trained", "weak")
MOST_SHARDS = 100
"""The most shards of all rounds: each has 10,000 episode seeds of its own, out of a million per training seed."""

_WEAK = 0.1  # share of the recordings


@dataclass
class IdaConfig:
    """Iterated distillation and amplification, with the amplifier of the group ``amplifier``."""

    rounds: int = setting(0, "Rounds of amplify, record, distil; 0: none.", at_least=0)
    start: str = setting(
        "trained",
        "The first generalist: trained as configured; weak, from a tenth of the recordings; or random, untrained.",
        choices=STARTS,
    )
    tasks: list[str] | None = setting(
        None, "Tasks that are amplified, such as [cartpole]; null: all. The others show the cost of the rounds to them."
    )
    env_steps: int = setting(8_000, "Environment steps of the amplified policy per task and round.", at_least=1)
    shards: int = setting(
        1, "Parallel parts of a task's recording in a round; each has at most 10,000 episodes.", at_least=1
    )
    num_envs: int = setting(
        16, "Parallel environments of a shard; planners search for all of them in one batch.", at_least=1
    )
    noise: float = setting(
        0.05, "Probability per step of a uniform action; labels stay the amplified policy's.", at_least=0, at_most=1
    )
    random_opening: int = setting(
        0,
        "In self-play, the most uniform moves before a game begins, both sides' together; how many are made is drawn "
        "for each game. Self-play sees more positions than its own moves lead to.",
        at_least=0,
    )
    updates: int = setting(500, "Optimiser updates of each round's distillation.", at_least=1)
    learning_rate: float = setting(1e-3, "Peak learning rate of each round's distillation.", above=0)
    fresh: bool = setting(
        False,
        "Whether each round's student starts with random weights, and not with the weights of the network before it.",
    )
    context_length: int = setting(
        0,
        "Tokens that attention sees from the first round on, such as 128; 0: unchanged. The planner may use history "
        "beyond the student's context.",
        at_least=0,
    )
    batch_size: int = setting(
        0, "Windows per update, such as 256 on a GPU; 0: as in distill, fewer where windows are longer.", at_least=0
    )
    experts_share: float = setting(
        0.0, "Share of windows from the experts' recordings; the others are from the rounds.", at_least=0, at_most=1
    )
    solved: bool = setting(True, "Whether only solved episodes are used, in tasks whose metric is success.")
    keep: int = setting(3, "How many of the newest rounds' recordings are used.", at_least=1)
    control: bool = setting(
        True, "Whether there is a control: the same environment steps and distillation without an amplifier."
    )
    control_env_steps: int = setting(200_000, "Most environment steps of the control per task and round.", at_least=1)
    episodes: int = setting(50, "Most test episodes per task of amplified policies, which are slow.", at_least=2)
    score_every: int = setting(
        1,
        "Rounds from one whose agents are scored to the next; of the round before each, only the network is. The last "
        "round is always scored.",
        at_least=1,
        decides=False,
    )

    def is_scored(self, number: int) -> bool:
        """Whether all agents of a round are scored."""
        return number % self.score_every == 0 or number == self.rounds

    def check(self) -> None:
        """Reject settings that cannot work.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("ida", self)
        if self.rounds * self.shards > MOST_SHARDS:
            raise GatitoError(
                f"ida.rounds={self.rounds} times ida.shards={self.shards} is more than {MOST_SHARDS}, the most shards "
                "with episodes of their own: lower one of the two."
            )
        if self.start == "random" and self.experts_share:
            raise GatitoError("ida.start=random uses no experts: set ida.experts_share=0.")

    def first(self, distill: DistillConfig) -> DistillConfig:
        """The distillation settings of the first generalist."""
        if not self.rounds or self.start == "trained":
            return distill
        if self.start == "weak":
            return replace(distill, data=_WEAK * distill.data)
        return replace(distill, updates=0, dagger=DaggerConfig(), flops=None)
