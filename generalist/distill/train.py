"""Fit one network to recordings: AdamW with warm-up and cosine decay, with DAgger rounds in between.

A training that is killed and resumed ends with the same weights as an uninterrupted one, on the same machine with the
same number of threads. (A different number of threads, processes or batch parts changes the last bits of sums.)
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.base.artifacts import CHECKPOINT, Artifact
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.flops import count_flops, parameter_count
from benchmarks.base.seeds import derive
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.parallel import Report
from benchmarks.runs.tracking import Log
from generalist.config.settings import DistillConfig
from generalist.distill.data import Mixture, demonstration
from generalist.distill.distributed import Ranks
from generalist.distill.learner import Learner, training_mixture, validation_loss
from generalist.distill.sharding import (
    add_up_parts,
    clip_gradients,
    cut_optimizer_state,
    is_sharded,
    make_optimizer,
    part_like,
    shard_blocks,
    whole,
)
from generalist.network.batches import Batch, moved
from generalist.network.network import Network, load_network, load_prompts, make_network, save_network

PlayRound = Callable[[int, Path], Mapping[str, Path]]
"""Plays a DAgger round: the network in a folder plays every task, and the experts label its steps. It takes the number
of the round, from 1, and the folder, and returns the recordings by task name."""


def fit(learner: Learner, report: Report, *, ranks: Ranks | None = None, play_round: PlayRound | None = None) -> None:
    """Train a network, from its checkpoint if there is one, and finish its artifact.

    In DAgger rounds (Ross et al. 2011, arXiv:1011.0686), the network plays and the experts label its states; training
    then uses these recordings together with the experts' own episodes.

    Args:
        learner: the network to train; its artifact is started.
        report: called with the number of updates so far.
        ranks: this process in a group that trains together; None for a single process.
        play_round: plays a DAgger round; needed if the learner's config has rounds.

    Raises:
        GatitoError: if the loss becomes NaN (the last good checkpoint is kept), or a recording is damaged.
    """
    ranks = ranks or Ranks.alone(learner.config.device)
    learner, per_step = within_budget(learner)
    config, folder = learner.config, learner.artifact.folder
    names = [task.name for task in learner.tasks]
    torch.manual_seed(derive(learner.artifact.kind, *names, learner.seed))
    network = _initial_network(learner).to(ranks.device)
    recordings = {name: Trajectories(recording) for name, recording in learner.recordings.items()}
    training = _Training(network, config, learner.artifact, ranks, report)
    student_recordings = _open(learner.student_recordings)
    for number, until in enumerate(config.milestones, 1):
        training.advance(training_mixture(learner, recordings, student_recordings, network), until)
        if until < config.updates:
            played, network_then = None, training.averaged()
            if ranks.leads:
                assert play_round is not None
                student = folder / f"round-{number}"
                if training.step == until:
                    save_network(student, network_then, _prompts(learner, recordings))
                played = {name: str(path) for name, path in play_round(number, student).items()}
            student_recordings += _open([{name: Path(path) for name, path in ranks.agree(played).items()}])
    finished = training.averaged()
    if not ranks.leads:
        return
    save_network(folder, finished, _prompts(learner, recordings))
    if config.validation and recordings:
        training.log({"validation/loss": validation_loss(learner, recordings, finished)})
    steps = _steps_taken(learner, recordings, student_recordings)
    cost = Cost(parameter_count(network), per_step * config.updates, steps, training.seconds)
    tokens = config.updates * config.batch_size * config.length(learner.model)
    learner.artifact.finish(training.seconds, tokens=tokens, steps=config.updates, **cost.facts())


def _initial_network(learner: Learner) -> Network:
    """A network with random weights, or the one whose training is continued, possibly with a longer context."""
    if learner.start is None or learner.fresh:
        return make_network(learner.model, learner.codec, [task.name for task in learner.tasks])
    network = load_network(learner.start)
    network.set_context_length(learner.model.context_length)
    if not learner.continues_round:
        network.tasks = list(dict.fromkeys([*network.tasks, *(task.name for task in learner.tasks)]))
    return network


def _steps_taken(
    learner: Learner, recordings: Mapping[str, Trajectories], student_recordings: Sequence[Mapping[str, Trajectories]]
) -> int:
    """Environment steps that a training uses; 0 for a continued one, where they are counted elsewhere."""
    if learner.continues_round or not learner.config.updates:
        return 0
    of_experts = [recordings[task.name] for task in learner.tasks if task.name in recordings]
    used = [recording.lengths[: learner.config.used(len(recording))] for recording in of_experts]
    student_steps = sum(recording.steps for by_task in student_recordings for recording in by_task.values())
    return int(sum(lengths.sum() for lengths in used)) + student_steps


def within_budget(learner: Learner) -> tuple[Learner, float]:
    """The learner with the number of updates that its FLOP budget allows, if it has one, and the FLOPs per update.

    The FLOPs are those of the first update: other updates differ only in padding.
    """
    network = make_network(learner.model, learner.codec, [task.name for task in learner.tasks])
    recordings = {name: Trajectories(recording) for name, recording in learner.recordings.items()}
    first = training_mixture(learner, recordings, _open(learner.student_recordings), network).batch(0)
    per_step = count_flops(lambda: network.loss(first)["loss"].backward())
    if learner.config.flops is None:
        return learner, per_step
    steps = max(1, round(learner.config.flops / per_step))
    return replace(learner, config=replace(learner.config, updates=steps, flops=None)), per_step


def learning_rate(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then cosine decay from the peak to a tenth of it."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.updates - config.warmup)
    return config.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _open(rounds: Sequence[Mapping[str, Path]]) -> list[Mapping[str, Trajectories]]:
    return [{name: Trajectories(folder) for name, folder in played.items()} for played in rounds]


def _prompts(learner: Learner, recordings: Mapping[str, Trajectories]) -> dict[str, Any]:
    if learner.codec.conditioning != "prompt":
        return {}
    if learner.continues_round:
        assert learner.start is not None
        return load_prompts(learner.start, learner.tasks)
    steps, count = learner.codec.prompt_steps, learner.config.demonstrations or 1
    only_shown = learner.config.start is not None and not learner.config.updates
    learned, shown = ((), (*learner.tasks, *learner.shown)) if only_shown else (learner.tasks, learner.shown)
    return {
        task.name: demonstration(task, recordings[task.name], steps, count=count, learned=tasks is learned)
        for tasks in (learned, shown)
        for task in tasks
    }


class _Training:
    """A resumable training loop.

    Attributes:
        step: updates so far.
        seconds: working time so far.
    """

    def __init__(
        self, network: Network, config: DistillConfig, artifact: Artifact, ranks: Ranks, report: Report
    ) -> None:
        self._network, self._config, self._artifact, self._ranks = network, config, artifact, ranks
        self._report = report
        saved = load_state(artifact.folder / CHECKPOINT) if (artifact.folder / CHECKPOINT).exists() else None
        if saved:
            network.load_state_dict(saved["network"])
        if config.sharded and ranks.size > 1:
            shard_blocks(network, ranks)
        self._optimizer = make_optimizer(network, config)
        self._parameters = list(network.parameters())
        self._parts = [values for values in self._parameters if is_sharded(values)]
        self._shared = [values for values in self._parameters if not is_sharded(values)]
        self.step, self._earlier = 0, 0.0
        self._started = time.monotonic()
        if saved:
            self._optimizer.load_state_dict(saved["optimizer"])
            cut_optimizer_state(self._optimizer)
            self.step, self._earlier = int(saved["step"]), float(saved["seconds"])
            averages = [values.to(ranks.device) for values in saved["averages"]]
            averages = [part_like(*pair) for pair in zip(averages, self._parameters, strict=False)]
        else:
            averages = [values.detach().clone() for values in self._parameters] if config.ema else []
        self._averages = averages
        self._saved = self.step if saved else -1
        self._log = Log(artifact.folder, keep_until=self._saved) if ranks.leads else None

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    def advance(self, mixture: Mixture, until: int) -> None:
        """Train until ``until`` updates in total, and write a checkpoint there."""
        self._network.train()
        whole = self._config.gradient_accumulation * self._ranks.size
        parts = range(self._ranks.rank, whole, self._ranks.size)
        num_workers = _num_workers(self._ranks.device)
        with _products(self._config.precision):
            for batches in mixture.loader(range(self.step, until), parts, whole, num_workers=num_workers):
                self._update(batches)
                self._report(self.step)
                if self.step % self._config.checkpoint_every == 0 or self.step == until < self._config.updates:
                    self._save()

    def log(self, line: Mapping[str, float]) -> None:
        """Write numbers of the last update."""
        if self._log:
            self._log.write(self.step, line)

    def averaged(self) -> Network:
        """A copy of the network, with averaged weights if ``distill.ema`` is above 0; ready to act."""
        network = self._network.copy(whole(dict(self._network.state_dict())))
        for parameter, average in zip(network.parameters(), whole(self._averages), strict=False):
            parameter.data.copy_(average)
        return network

    def _update(self, batches: Sequence[Batch]) -> None:
        """One update, with this process's parts of the batch.

        Gradients are summed over processes before they are used, so all processes have the same weights.
        """
        config, ranks = self._config, self._ranks
        rate = learning_rate(self.step, config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        whole = ranks.total(torch.tensor([float(sum(batch.weight for batch in batches))], device=ranks.device)).item()
        self._optimizer.zero_grad(set_to_none=True)
        means: dict[str, torch.Tensor] = {}
        for batch in batches:
            half = ranks.device.type == "cuda" and config.precision != "fp32"
            with torch.autocast("cuda", torch.bfloat16) if half else nullcontext():
                values = self._network.loss(moved(batch, ranks.device))
            (values["loss"] * (batch.weight / whole)).backward()
            for name, value in values.items():
                means[name] = means.get(name, 0.0) + value.detach() * (batch.weight / whole)
        ranks.add_up_gradients(self._shared)
        if self._parts:
            add_up_parts(self._parts, ranks)
            norm = clip_gradients(self._parameters, config.max_grad_norm)
        else:
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm)
        totals = ranks.total(torch.stack(list(means.values())).float())
        # Checked before the weights change, so that no checkpoint can contain a NaN.
        if not (torch.isfinite(totals).all() and torch.isfinite(norm)):
            kept = "there is no checkpoint yet"
            if self._saved > 0:
                kept = f"the last good checkpoint (step {self._saved}) is kept in {self._artifact.folder}"
            raise GatitoError(
                f"the distillation loss became NaN at step {self.step}; {kept}. Lower distill.learning_rate and run "
                "again."
            )
        self._optimizer.step()
        self.step += 1
        if self._averages:
            # Early on, the average follows quickly, so that it forgets the untrained weights. (AveragedModel would
            # start from the weights after the first update and give other numbers.)
            decay = min(config.ema, (1 + self.step) / (10 + self.step))
            for average, values in zip(self._averages, self._parameters, strict=True):
                average.lerp_(values.detach(), 1 - decay)
        if self.step % config.log_every == 0 or self.step == config.updates:
            line = {f"distill/{name}": value for name, value in zip(means, totals.tolist(), strict=True)}
            line |= {"distill/gradient_norm": norm.item(), "distill/learning_rate": rate}
            self.log(line)

    def _save(self) -> None:
        self._saved = self.step
        state: dict[str, Any] = {
            "network": whole(dict(self._network.state_dict())),
            "optimizer": whole(self._optimizer.state_dict()),
            "averages": whole(self._averages),
            "step": self.step,
            "seconds": self.seconds,
        }
        if self._ranks.leads:
            save_state(self._artifact.folder / CHECKPOINT, state)


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """Within it, a CPU multiplies in this precision. Where it has no instructions for bfloat16, that is fp32."""
    before = torch.get_float32_matmul_precision()
    if precision == "bf16_everywhere":
        torch.set_float32_matmul_precision("medium")  # factors are rounded to bfloat16, sums are fp32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _num_workers(device: torch.device) -> int:
    """Processes that sample batches while a GPU computes; on a CPU, none, since its cores are busy."""
    return torch.get_num_threads() if device.type == "cuda" else 0
