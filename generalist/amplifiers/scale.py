"""Scale: larger networks, or an ensemble, learn from the same recordings and teach the small network.

The experts remain the teachers and the upper bound: the possible gain is the part that the small network failed to
keep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import derive
from benchmarks.base.settings import check_settings, decisive, setting
from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import Task
from generalist.amplifiers.amplifier import Amplifier, AmplifierContext
from generalist.config.codec import CodecConfig
from generalist.config.networks import network_kind
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig
from generalist.network.batches import is_discrete
from generalist.network.distributions import NetworkOutput, Selector, environment_actions, greedy, sample
from generalist.network.inference_cost import CountingPolicy, InferenceCost
from generalist.network.policy import NetworkPolicy


@dataclass(frozen=True)
class Scale(Amplifier):
    """The options of ``amplifier=scale``; 0 stands for the generalist's value."""

    layers: int = setting(0, "Layers of each network; 0: the generalist's.", at_least=0)
    heads: int = setting(0, "Attention heads; 0: the generalist's.", at_least=0)
    width: int = setting(0, "Size of a token's vector; 0: the generalist's.", at_least=0)
    feedforward: int = setting(0, "Hidden size of the feed-forward layers; 0: the generalist's.", at_least=0)
    context_length: int = setting(0, "Tokens that attention sees; 0: the generalist's.", at_least=0)
    updates: int = setting(0, "Optimiser updates of each network's distillation; 0: the generalist's.", at_least=0)
    members: int = setting(3, "Independently initialised networks, whose average plays.", at_least=1)

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings that cannot work.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("amplifier", self)
        self._model(model).check()
        if self.members > 1 and not network_kind(codec.name).has_distribution:
            raise GatitoError(
                f"codec {codec.name} gives no distributions to be averaged: set amplifier.members=1, or codec=step."
            )

    def artifact(self, generalist: Artifact, context: AmplifierContext) -> Artifact:
        """The larger networks."""
        settings = {
            "tasks": [task.name for task in context.run.suite],
            "distill": decisive(self._distill(context)),
            "model": decisive(self._model(context.recipe.model)),
            "codec": decisive(context.recipe.codec),
            "members": self.members,
            "seed": context.run.seed,
        }
        inputs = {name: recording.fingerprint for name, recording in self._taught(context).items()}
        return Artifact(context.folder / "scaled", "scaled", settings, inputs)

    def make(self, generalist: Artifact, context: AmplifierContext) -> None:
        """Distil them one after another; finished ones are kept.

        Raises:
            GatitoError: as :func:`generalist.distill.train.fit`.
        """
        from generalist.distill.distill import train
        from generalist.distill.learner import Learner

        whole = self.artifact(generalist, context)
        if whole.is_complete() or whole.adopt(context.run.runs_folder):
            return
        whole.start()
        torch.set_num_threads(context.run.threads)
        recordings = {name: recording.folder for name, recording in self._taught(context).items()}
        model, distill = self._model(context.recipe.model), self._distill(context)
        costs = []
        for member in range(self.members):
            config = dict(whole.config) | {"member": member}
            artifact = Artifact(whole.folder / f"member-{member}", "member", config, whole.inputs)
            seed = derive("member", member, context.run.seed)
            if not artifact.is_complete():
                artifact.start()
                learner = Learner(
                    artifact, context.run.suite.tasks, recordings, distill, model, context.recipe.codec, seed
                )
                train(learner, context.run, job_type="scale", label=f"scaled {member}")
            costs.append(Cost.read(artifact.folder))
        total = sum(costs[1:], costs[0])
        whole.finish(total.seconds, **replace(total, env_steps=costs[0].env_steps).facts())

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "Ensemble":
        """The ensemble of the networks in this folder."""
        members = sorted(folder.glob("member-*"))
        # In an ensemble of several networks, the mixture samples, not its members.
        greedy_members = deterministic or len(members) > 1
        networks = [NetworkPolicy.load(member, tasks, name, deterministic=greedy_members) for member in members]
        return Ensemble(networks, tasks, deterministic=deterministic)

    def _model(self, model: ModelConfig) -> ModelConfig:
        larger = {name: getattr(self, name) for name in _SIZES if getattr(self, name)}
        return replace(model, name="scaled", **larger)

    def _taught(self, context: AmplifierContext) -> dict[str, Artifact]:
        """The recordings that they learn from; held-out tasks have none."""
        names = [task.name for task in context.run.suite]
        return {name: context.recordings[name] for name in names if name in context.recordings}

    def _distill(self, context: AmplifierContext) -> DistillConfig:
        distill, window = context.recipe.distill, self._model(context.recipe.model).context_length
        updates, length = self.updates or distill.updates, max(window, distill.length(context.recipe.model))
        return replace(distill, updates=updates, sequence_length=length, dagger=DaggerConfig(), flops=None)


_SIZES = ("layers", "heads", "width", "feedforward", "context_length")


class Ensemble(CountingPolicy):
    """Several networks that take the most likely action of their mixture, or sample one.

    Attributes:
        name: the agent's name.
        distribution_kind: ``logits`` (of the mean probabilities) for tasks with discrete actions.
        cost: the compute of its decisions so far.
    """

    def __init__(self, members: Sequence[NetworkPolicy], tasks: Sequence[Task], *, deterministic: bool = True) -> None:
        """Args: the networks, the tasks, and whether the mixture is greedy or samples."""
        self.name = members[0].name
        self.distribution_kind: Mapping[str, str] = {task.name: "logits" for task in tasks if is_discrete(task)}
        self.cost = InferenceCost()
        self._members = members
        self._select = greedy if deterministic else sample

    def initial_state(self, num_envs: int) -> list[Any]:
        """Each network's memory."""
        return [member.initial_state(num_envs) for member in self._members]

    def act(self, inputs: Sequence[PolicyInput], state: list[Any]) -> tuple[list[NetworkOutput], list[Any]]:
        """Decide by the mixture of all members' distributions."""
        with self.cost.timed("seconds"), self.cost.timed("network_seconds"):
            outputs = [member.act(inputs, memory)[0] for member, memory in zip(self._members, state, strict=True)]
        rows = sum(len(rows_of_task.env_ids) for rows_of_task in inputs)
        self.cost.decisions += rows
        self.cost.forward_passes += rows * len(self._members)
        if len(self._members) == 1:
            return outputs[0], state
        decisions = []
        for rows, of_members in zip(inputs, zip(*outputs, strict=True), strict=True):
            decision = decide_by_mixture(rows.task, of_members, self._select, rows.rngs)
            for member, memory in zip(self._members, state, strict=True):
                member.replace_actions(memory, rows.task, rows.env_ids, decision.actions)
            decisions.append(decision)
        return decisions, state


def decide_by_mixture(
    task: Task,
    outputs: Sequence[NetworkOutput],
    select: Selector = greedy,
    rngs: Sequence[np.random.Generator] = (),
) -> NetworkOutput:
    """The decision of several networks by the mixture of their distributions."""
    members = [output.distribution for output in outputs if output.distribution is not None]
    mixture = type(members[0]).mixture(members)
    chosen = select(mixture, rngs)
    actions = environment_actions(task, chosen)
    return NetworkOutput(actions, actions, mixture.parameters(task), distribution=mixture, chosen=chosen)
