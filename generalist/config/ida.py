"""The schema of ``conf/ida/*.yaml``; importing it costs no torch."""

from dataclasses import dataclass, replace

from benchmarks.base.errors import GatitoError, check_at_least, unknown
from generalist.config.settings import DaggerConfig, DistillConfig

STARTS = ("random", "trained", "weak")
MOST_SHARDS = 100
"""Of all rounds: each has 10 000 episodes of its own, of the million that a training seed has."""

_WEAK = 0.1  # of the recordings


@dataclass
class IdaConfig:
    """``conf/ida/*.yaml``.

    Attributes:
        rounds: of amplify, record, distil; 0: none.
        start: the generalist that is amplified first: ``trained`` as the run's settings say, ``weak``, from a tenth of
            the recordings, or ``random``, untrained.
        tasks: that are amplified; None: all. The others show what the rounds cost them.
        env_steps: environment steps of the amplified policy per task and round, at least.
        shards: parts that a task's play of a round is made in, side by side where there are processes for them; each
            has 10 000 episodes at most, and its last ones are finished.
        noise: probability per step that a uniform action is played in place of the amplified policy's.
        updates: optimiser steps of each round's distillation.
        learning_rate: their peak.
        context_length: tokens that attention sees from the first round on; 0: as many as before. The planner may use
            history beyond the student's context.
        batch_size: windows per update of a round's distillation; 0: as many as in ``distill``, fewer where they are
            longer.
        experts_share: share of windows from the experts' recordings; the others are from the rounds' play.
        solved: whether, of tasks whose metric is success, only solved episodes are learnt from.
        keep: rounds whose play is learnt from, the newest ones.
        control: whether there is a control.
        control_env_steps: environment steps that the control plays per task and round, at most.
        episodes: test episodes per task of amplified policies, at most, for thought takes time.
    """

    rounds: int = 0
    start: str = "trained"
    tasks: list[str] | None = None
    env_steps: int = 8_000
    shards: int = 1
    noise: float = 0.05
    updates: int = 500
    learning_rate: float = 1e-3
    context_length: int = 0
    batch_size: int = 0
    experts_share: float = 0.0
    solved: bool = True
    keep: int = 3
    control: bool = True
    control_env_steps: int = 200_000
    episodes: int = 50

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        if self.start not in STARTS:
            raise unknown("ida.start", self.start, STARTS)
        least = {"env_steps": 1, "shards": 1, "updates": 1, "keep": 1, "control_env_steps": 1, "episodes": 2}
        check_at_least("ida", self, rounds=0, noise=0, experts_share=0, context_length=0, batch_size=0, **least)
        if self.rounds * self.shards > MOST_SHARDS:
            raise GatitoError(
                f"ida.rounds={self.rounds} of ida.shards={self.shards} each: at most {MOST_SHARDS} shards in all have "
                "episodes of their own; lower one of the two."
            )
        if self.experts_share > 1 or self.noise > 1:
            raise GatitoError("ida.experts_share and ida.noise are shares: from 0 to 1.")
        if self.start == "random" and self.experts_share:
            raise GatitoError("ida.start=random learns from no expert: set ida.experts_share=0.")

    def first(self, distill: DistillConfig) -> DistillConfig:
        """How the generalist is distilled that the rounds begin with."""
        if not self.rounds or self.start == "trained":
            return distill
        if self.start == "weak":
            return replace(distill, data=_WEAK * distill.data)
        return replace(distill, updates=0, dagger=DaggerConfig(), flops=None)
