"""Fit one network to recordings: AdamW, warm-up and cosine; and rounds of practice in between.

A training that was killed ends with the weights of one that was not, on the same machine with the same threads (another
number of threads, processes or parts of a batch moves the last bits of a sum).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
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
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.data import Mixture, Source, demonstration
from generalist.distill.distributed import Ranks
from generalist.network.batches import Batch, moved
from generalist.network.network import Network, load_network, load_prompts, make_network, save_network

Practice = Callable[[int, Path], Mapping[str, Path]]
"""A round of practice: the network in a folder plays every task, its experts say what they would have done. Given the
round's number, from 1, and the folder; the recordings by task name."""


@dataclass(frozen=True)
class Learner:
    """A network to be made.

    Attributes:
        artifact: where it goes.
        tasks: what it learns.
        recordings: folders of the experts' recordings by task name; one may be missing where ``met`` has others.
        config: how it is trained.
        model: its size; of one that goes on from another, how far it looks back.
        codec: its inputs and outputs.
        seed: the training seed.
        start: folder of a network that it goes on from; None: it begins with random weights.
        met: further recordings by task name, such as rounds of practice, that it learns from from the first step on.
        solved: whether of those only solved episodes are learnt from.
    """

    artifact: Artifact
    tasks: Sequence[Task]
    recordings: Mapping[str, Path]
    config: DistillConfig
    model: ModelConfig
    codec: CodecConfig
    seed: int
    start: Path | None = None
    met: Sequence[Mapping[str, Path]] = ()
    solved: bool = False


def fit(learner: Learner, report: Report, *, ranks: Ranks | None = None, practice: Practice | None = None) -> None:
    """Train a network, from its checkpoint if there is one, and finish its artifact.

    On-policy rounds are DAgger's (Ross et al. 2011, arXiv:1011.0686): what the network met by itself, labelled by the
    experts, is learnt from beside the experts' own episodes.

    Args:
        learner: what to make; its artifact is started.
        report: told the optimiser steps so far.
        ranks: this process among those that train it together; None: it is alone.
        practice: plays a round; needed where the learner's config asks for rounds.

    Raises:
        GatitoError: if the loss becomes NaN (the last good checkpoint is kept), or a recording is damaged.
    """
    ranks = ranks or Ranks.alone(learner.config.device)
    learner, per_step = within_budget(learner)
    config, folder = learner.config, learner.artifact.folder
    names = [task.name for task in learner.tasks]
    torch.manual_seed(derive(learner.artifact.kind, *names, learner.seed))
    network = _at_first(learner).to(ranks.device)
    recordings = {name: Trajectories(recording) for name, recording in learner.recordings.items()}
    training = _Training(network, config, learner.artifact, ranks, report)
    practised = _open(learner.met)
    for number, until in enumerate(config.milestones, 1):
        training.advance(_mixture(learner, recordings, practised, network), until)
        if until < config.updates:
            played = None
            if ranks.leads:
                assert practice is not None
                student = folder / f"round-{number}"
                if training.step == until:
                    save_network(student, training.averaged(), _prompts(learner, recordings))
                played = {name: str(path) for name, path in practice(number, student).items()}
            practised += _open([{name: Path(path) for name, path in ranks.agree(played).items()}])
    if not ranks.leads:
        return
    save_network(folder, training.averaged(), _prompts(learner, recordings))
    steps = _steps_taken(learner, recordings, practised)
    cost = Cost(parameter_count(network), per_step * config.updates, steps, training.seconds)
    tokens = config.updates * config.batch_size * config.length(learner.model)
    learner.artifact.finish(training.seconds, tokens=tokens, steps=config.updates, **cost.facts())


def _at_first(learner: Learner) -> Network:
    """Random weights, or what it goes on from, which may look back further from now on: positions are relative."""
    if learner.start is None:
        return make_network(learner.model, learner.codec, [task.name for task in learner.tasks])
    network = load_network(learner.start)
    network.set_context_length(learner.model.context_length)
    return network


def _steps_taken(
    learner: Learner, recordings: Mapping[str, Trajectories], practised: Sequence[Mapping[str, Trajectories]]
) -> int:
    """Environment steps that a training learns from; one that goes on has them counted by what it goes on from."""
    if learner.start is not None or not learner.config.updates:
        return 0
    read = [recording.lengths[: math.ceil(learner.config.data * len(recording))] for recording in recordings.values()]
    practice = sum(recording.steps for by_task in practised for recording in by_task.values())
    return int(sum(lengths.sum() for lengths in read)) + practice


def within_budget(learner: Learner) -> tuple[Learner, float]:
    """The learner with as many steps as its budget of operations allows, where it has one; and those of a step.

    The operations of the first step stand for all: they differ by padding alone.
    """
    network = make_network(learner.model, learner.codec, [task.name for task in learner.tasks])
    recordings = {name: Trajectories(recording) for name, recording in learner.recordings.items()}
    first = _mixture(learner, recordings, _open(learner.met), network).batch(0)
    per_step = count_flops(lambda: network.loss(first)["loss"].backward())
    if learner.config.flops is None:
        return learner, per_step
    steps = max(1, round(learner.config.flops / per_step))
    return replace(learner, config=replace(learner.config, updates=steps, flops=None)), per_step


def learning_rate(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then half a cosine from the peak down to a tenth of it."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.updates - config.warmup)
    return config.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _open(rounds: Sequence[Mapping[str, Path]]) -> list[Mapping[str, Trajectories]]:
    return [{name: Trajectories(folder) for name, folder in played.items()} for played in rounds]


def _mixture(
    learner: Learner,
    own_recordings: Mapping[str, Trajectories],
    practised: Sequence[Mapping[str, Trajectories]],
    network: Network,
) -> Mixture:
    """Of the experts' recordings, and of what the network met in its rounds of practice so far."""
    config, sources = learner.config, []
    for task in learner.tasks:
        weight = config.weights.get(task.name, 1.0)
        practice = [recordings[task.name] for recordings in practised if task.name in recordings]
        share = config.dagger.share if practice else 0.0
        if share < 1 and task.name in own_recordings:
            sources.append(Source(task, own_recordings[task.name], weight * (1 - share), share=config.data))
        steps = sum(recording.steps for recording in practice)
        shown = own_recordings.get(task.name)
        for recording in practice if share else ():
            part = weight * share * recording.steps / steps
            sources.append(Source(task, recording, part, shown, solved=learner.solved))
    return Mixture(
        sources,
        network,
        batch_size=config.batch_size,
        sequence_length=config.length(learner.model),
        seed=learner.seed,
        soft=config.loss == "kl",
        temperature=config.temperature,
        prompts=config.prompts if learner.codec.conditioning == "prompt" else 0.0,
    )


def _prompts(learner: Learner, recordings: Mapping[str, Trajectories]) -> dict[str, Any]:
    if learner.codec.conditioning != "prompt":
        return {}
    if learner.start is not None:
        return load_prompts(learner.start, learner.tasks)
    steps = learner.codec.prompt_steps
    return {task.name: demonstration(task, recordings[task.name], steps) for task in learner.tasks}


class _Training:
    """An optimiser's steps, which can be put down and taken up again.

    Attributes:
        step: optimiser steps taken.
        seconds: of work so far.
    """

    def __init__(
        self, network: Network, config: DistillConfig, artifact: Artifact, ranks: Ranks, report: Report
    ) -> None:
        self._network, self._config, self._artifact, self._ranks = network, config, artifact, ranks
        self._report = report
        self._optimizer = _make_optimizer(network, config)
        self._parameters = list(network.parameters())
        self.step, self._earlier = 0, 0.0
        self._started = time.monotonic()
        checkpoint = artifact.folder / CHECKPOINT
        found = checkpoint.exists()
        if found:
            saved = load_state(checkpoint)
            network.load_state_dict(saved["network"])
            self._optimizer.load_state_dict(saved["optimizer"])
            self.step, self._earlier = int(saved["step"]), float(saved["seconds"])
            averages = [values.to(ranks.device) for values in saved["averages"]]
        else:
            averages = [values.detach().clone() for values in self._parameters] if config.ema else []
        self._averages = averages
        self._saved = self.step if found else -1
        self._log = Log(artifact.folder, keep_until=self._saved) if ranks.leads else None

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    def advance(self, mixture: Mixture, until: int) -> None:
        """Train up to so many steps in all, and leave a checkpoint there."""
        self._network.train()
        whole = self._config.gradient_accumulation * self._ranks.size
        parts = range(self._ranks.rank, whole, self._ranks.size)
        for batches in mixture.drawn(range(self.step, until), parts, whole, helpers=_helpers(self._ranks.device)):
            self._take(batches)
            self._report(self.step)
            if self.step % self._config.checkpoint_every == 0 or self.step == until < self._config.updates:
                self._save()

    def averaged(self) -> Network:
        """The network with its averaged weights, where they are kept; ready to act."""
        network = self._network.copy()
        for parameter, average in zip(network.parameters(), self._averages, strict=False):
            parameter.data.copy_(average)
        return network

    def _take(self, batches: Sequence[Batch]) -> None:
        """One step, with this process's parts of its batch.

        All processes come to the same weights: they add their gradients up before they use them.
        """
        config, ranks = self._config, self._ranks
        rate = learning_rate(self.step, config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        whole = ranks.total(torch.tensor([float(sum(batch.weight for batch in batches))], device=ranks.device)).item()
        self._optimizer.zero_grad(set_to_none=True)
        means: dict[str, torch.Tensor] = {}
        for batch in batches:
            half = ranks.device.type == "cuda" and config.precision == "bf16"
            with torch.autocast("cuda", torch.bfloat16) if half else nullcontext():
                values = self._network.loss(moved(batch, ranks.device))
            (values["loss"] * (batch.weight / whole)).backward()
            for name, value in values.items():
                means[name] = means.get(name, 0.0) + value.detach() * (batch.weight / whole)
        ranks.add_up_gradients(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm)
        totals = ranks.total(torch.stack(list(means.values())).float())
        # Looked at before the weights are touched, so that no checkpoint can hold a NaN.
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
            # Early on the average follows quickly: it must not remember the untrained weights. (AveragedModel begins
            # with a copy of the weights after the first update, and ends with other numbers.)
            decay = min(config.ema, (1 + self.step) / (10 + self.step))
            for average, values in zip(self._averages, self._parameters, strict=True):
                average.lerp_(values.detach(), 1 - decay)
        if self._log and (self.step % config.log_every == 0 or self.step == config.updates):
            line = {f"distill/{name}": value for name, value in zip(means, totals.tolist(), strict=True)}
            line |= {"distill/gradient_norm": norm.item(), "distill/learning_rate": rate}
            self._log.write(self.step, line)

    def _save(self) -> None:
        self._saved = self.step
        if self._ranks.leads:
            state = {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}
            state |= {"averages": self._averages, "step": self.step, "seconds": self.seconds}
            save_state(self._artifact.folder / CHECKPOINT, state)


def _helpers(device: torch.device) -> int:
    """Processes that draw batches while a GPU computes; a processor has nobody to spare."""
    return torch.get_num_threads() if device.type == "cuda" else 0


def _make_optimizer(network: Network, config: DistillConfig) -> torch.optim.AdamW:
    matrices = [parameter for parameter in network.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in network.parameters() if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))
