"""Resumable training of a network from its tasks' rewards, with selection of the best weights.

A training that was killed resumes from its last checkpoint with new episodes: the states of environments are not saved.

The network acts on the device on which it is trained: a step of all environments is one batch, and a network that is
too large for a CPU's training is too large for its rollouts. All is computed in fp32, since PPO compares probabilities
before and after small updates.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.base.artifacts import CHECKPOINT
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.flops import count_flops, parameter_count
from benchmarks.base.seeds import derive, stream
from benchmarks.runs.parallel import Report
from benchmarks.runs.tracking import Log
from benchmarks.tasks.overseer import make_overseen
from generalist.config.codec import CodecConfig
from generalist.config.ppo import with_critic
from generalist.config.settings import ModelConfig
from generalist.distill.distributed import found_device
from generalist.network.network import load_network, load_prompts, make_network, save_network
from generalist.network.policy import NetworkPolicy
from generalist.network.stepwise import StepwiseNetwork
from generalist.ppo.advantages import Segment, Spread
from generalist.ppo.loss import Updates, explained_variance, losses, make_minibatches
from generalist.ppo.reinforced import Reinforced
from generalist.ppo.rollouts import RolloutCollector
from generalist.ppo.selection import Trial, try_out

_WORST_EXPLAINED = -10.0  # explained variance: the critic's errors are three times as large as the returns' spread
_PATIENCE = 5  # training stops after this many such updates in a row


def reinforce(learner: Reinforced, report: Report, *, threads: int = 1) -> None:
    """Train, from the last checkpoint if there is one, and finish the artifact with the best weights.

    Trials use greedy actions on selection seeds; a task counts by its gain over the start's trial (see :class:`Trial`).
    The start is a candidate too.

    Args:
        learner: the network to train; its artifact is started.
        report: called with the number of environment steps so far.
        threads: torch threads for updates; rollouts use the current number of threads.

    Raises:
        GatitoError: if the loss becomes NaN or the critic explodes (the last good checkpoint is kept), or an
            environment raises.
    """
    training = _Training(learner, threads)
    try:
        while training.progress.iteration < learner.config.iterations:
            training.advance()
            report(training.progress.iteration * learner.per_iteration)
    finally:
        training.close()
    training.finish()


def initial(learner: Reinforced) -> StepwiseNetwork:
    """The starting network, with a critic.

    Raises:
        GatitoError: if the start cannot be read, or its task embedding lacks a task.
    """
    names = [task.name for task in learner.tasks]
    if learner.start is None:
        torch.manual_seed(derive(learner.artifact.kind, *names, learner.seed))
        return _make(learner.model, with_critic(learner.codec), names)
    start = sharpened(learner.start, learner.config.temperature)
    codec = start.codec
    unknown = set(names) - set(start.tasks)
    if codec.conditioning == "task_id" and unknown:
        raise GatitoError(
            f"the network in {learner.start} has no task embedding for {', '.join(sorted(unknown))}: distil with them "
            "in the suite, or with codec.conditioning=none."
        )
    network = _make(start.model, with_critic(codec), start.tasks)
    network.load_state_dict(start.state_dict(), strict=codec.critic > 0)
    return network


def _make(model: ModelConfig, codec: CodecConfig, tasks: Sequence[str]) -> StepwiseNetwork:
    network = make_network(model, codec, tasks)
    assert isinstance(network, StepwiseNetwork)  # others are rejected by ``config.ppo.check_learnable``
    return network


def sharpened(folder: Path, temperature: float) -> StepwiseNetwork:
    """The network of a folder with its action distributions sharpened.

    Raises:
        GatitoError: if it cannot be read.
    """
    network = load_network(folder)
    assert isinstance(network, StepwiseNetwork)
    network.heads.sharpen(temperature)
    return network


@dataclass
class _Progress:
    """The progress of a training, without the current weights.

    Attributes:
        iteration: iterations so far.
        exploded: the number of the last iterations in a row whose explained variance was below the limit.
        forwards: the number of steps that networks have computed; a backward pass counts as two.
        flops: floating-point operations per step.
        selection_steps: environment steps in trials.
        seconds: working time.
        trial: the start's trial.
        best: the weights with the highest gain so far.
        gain: the highest gain so far.
    """

    iteration: int = 0
    exploded: int = 0
    forwards: int = 0
    flops: float = 0.0
    selection_steps: int = 0
    seconds: float = 0.0
    trial: dict[str, Any] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    gain: float = 0.0


class _Training:
    """A resumable training loop.

    Attributes:
        progress: the progress so far.
    """

    def __init__(self, learner: Reinforced, threads: int) -> None:
        self._learner, self._threads = learner, threads
        self._config, self._folder = learner.config, learner.artifact.folder
        device = found_device(learner.device)
        self._network = initial(learner).eval().to(device)
        start = None if learner.start is None else sharpened(learner.start, self._config.temperature)
        self._start = None if start is None else start.to(device)
        self._prompts = {} if learner.start is None else load_prompts(learner.start, learner.tasks)
        self._discount = self._network.codec.discount
        tokens = self._network.model.context_length - 1
        contexts = {task: self._network.steps_in(task, tokens) for task in learner.tasks}
        self._collector = RolloutCollector(
            contexts,
            self._config.num_envs,
            learner.seed,
            self._discount,
            self._prompts,
            partial(make_overseen, cost_weight=self._config.cost_weight),
        )
        self._updates = Updates(self._network, self._config)
        self.progress, self._saved = _Progress(), -1
        if (self._folder / CHECKPOINT).exists():
            self._resume(load_state(self._folder / CHECKPOINT))
        self._earlier, self._started = self.progress.seconds, time.monotonic()
        self._log = Log(self._folder, keep_until=self._saved * learner.per_iteration)

    def close(self) -> None:
        self._collector.close()

    def advance(self) -> None:
        """One iteration, with a trial if one is due."""
        config, progress = self._config, self.progress
        if not progress.trial:
            self._log.write(0, self._try())
        names = ["ppo", *(task.name for task in self._learner.tasks), self._learner.seed, progress.iteration]
        policy = NetworkPolicy(self._network, "ppo", self._prompts)
        experience = self._collector.collect(policy, config.rollout_length, names)
        progress.forwards += policy.cost.forward_passes
        warming = progress.iteration < config.critic_warmup
        with _threads(self._threads):
            metrics = self._learn(experience.segments, stream(*names), warming=warming)
        metrics["explained_variance"] = explained_variance(
            experience.segments, self._collector.spreads, config, self._discount
        )
        self._check_critic(metrics["explained_variance"], warming=warming)
        progress.iteration += 1
        if progress.iteration == config.critic_warmup:
            progress.best = self._weights()  # the same policy as the start's, with a trained critic
        line = {f"ppo/{name}": value for name, value in metrics.items()}
        line |= {
            f"charts/episodic_return/{name}": float(np.mean(values)) for name, values in experience.returns.items()
        }
        if not warming and (progress.iteration % config.select_every == 0 or progress.iteration == config.iterations):
            line |= self._try()
        self._log.write(progress.iteration * self._learner.per_iteration, line)
        if progress.iteration % config.checkpoint_every == 0 and not progress.exploded:
            self._save()

    def finish(self) -> None:
        """Write the best network and the manifest."""
        progress, steps = self.progress, self.progress.iteration * self._learner.per_iteration
        self._network.load_state_dict(progress.best)
        save_network(self._folder, self._network, self._prompts)
        # As for experts, the cost of selection is part of the cost of training.
        taken, flops = steps + progress.selection_steps, progress.forwards * progress.flops
        cost = Cost(parameter_count(self._network), flops, taken, self._seconds())
        facts = {"iterations": progress.iteration, "selection_gain": progress.gain, "start": progress.trial["means"]}
        self._learner.artifact.finish(self._seconds(), steps=steps, **facts, **cost.facts())

    def _learn(self, segments: Sequence[Segment], rng: np.random.Generator, *, warming: bool) -> dict[str, float]:
        config, progress = self._config, self.progress
        minibatches = make_minibatches(self._network, segments, self._collector.spreads, config, rng)
        if not progress.flops:  # measured on the first minibatch: others differ only in padding
            first = minibatches[0]
            operations = count_flops(lambda: losses(self._network, first, config)["loss"].backward())
            progress.flops = operations / first.positions / 3
        if self._start is not None and not warming:
            minibatches = [minibatch.with_start(self._start) for minibatch in minibatches]
            progress.forwards += sum(minibatch.positions for minibatch in minibatches)
        self._updates.slow_down(progress.iteration / config.iterations)
        before = self._updates.forwards
        try:
            metrics = (self._updates.warm_up if warming else self._updates.learn)(minibatches, rng)
        except FloatingPointError as error:
            raise self._diverged(str(error)) from None
        progress.forwards += self._updates.forwards - before
        return metrics

    def _try(self) -> dict[str, float]:
        """Play on selection seeds, keep the weights if they are the best so far, and return metrics to log."""
        learner, progress = self._learner, self.progress
        policy = NetworkPolicy(self._network, "ppo", self._prompts)
        scores, steps = try_out(
            policy, learner.tasks, self._config.select_episodes, learner.seed, self._config.cost_weight
        )
        progress.selection_steps += steps
        progress.forwards += policy.cost.forward_passes
        if not progress.trial:
            progress.trial, progress.best = asdict(Trial.of(learner.tasks, scores)), self._weights()
        gain = Trial(**progress.trial).gain(scores)
        if gain > progress.gain or gain == progress.gain > 0:  # among equals the last one, except the start
            progress.gain, progress.best = gain, self._weights()
        means = {f"selection/mean/{name}": float(np.mean(values)) for name, values in scores.items()}
        return means | {"selection/gain": gain}

    def _check_critic(self, explained: float, *, warming: bool) -> None:
        self.progress.exploded = 0 if warming or explained > _WORST_EXPLAINED else self.progress.exploded + 1
        if self.progress.exploded >= _PATIENCE:
            raise self._diverged(
                f"the critic's errors have grown for {_PATIENCE} updates (explained variance {explained:.3g})"
            )

    def _diverged(self, reason: str) -> GatitoError:
        kept = "there is no checkpoint yet"
        if self._saved > 0:
            kept = f"the last good checkpoint (update {self._saved}) is kept in {self._folder}"
        return GatitoError(
            f"learning from rewards diverged at update {self.progress.iteration}: {reason}; {kept}. Lower "
            f"{self._learner.group}.learning_rate, or raise {self._learner.group}.critic_warmup, and run again."
        )

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: values.detach().clone() for name, values in self._network.state_dict().items()}

    def _seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    def _save(self) -> None:
        self._saved = self.progress.iteration
        self.progress.seconds = self._seconds()
        state = {"network": self._network.state_dict(), "optimizer": self._updates.optimizer.state_dict()}
        state |= {"episodes": self._collector.episodes, "progress": vars(self.progress)}
        state |= {"spreads": {name: vars(spread) for name, spread in self._collector.spreads.items()}}
        save_state(self._folder / CHECKPOINT, state)

    def _resume(self, saved: dict[str, Any]) -> None:
        self._network.load_state_dict(saved["network"])
        self._updates.optimizer.load_state_dict(saved["optimizer"])
        self._collector.episodes = saved["episodes"]
        self._collector.spreads |= {name: Spread(**spread) for name, spread in saved["spreads"].items()}
        self.progress = _Progress(**saved["progress"])
        self._saved = self.progress.iteration


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of torch threads within a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
