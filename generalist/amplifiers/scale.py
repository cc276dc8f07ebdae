"""Scale: larger networks, or several, learn from the same recordings and teach the small one.

Its teachers are the experts still, so it is capped by them: what it can gain is what the small network failed to keep.
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
from benchmarks.play.policy import Policy, PolicyInput
from benchmarks.tasks import Task
from generalist.amplifiers.amplifier import Amplifier, AmplifierContext
from generalist.config.codec import CodecConfig
from generalist.config.networks import network_kind
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig
from generalist.network.batches import is_discrete
from generalist.network.distributions import NetworkOutput, Selector, environment_actions, greedy, sample
from generalist.network.inference_cost import InferenceCost
from generalist.network.policy import NetworkPolicy


@dataclass(frozen=True)
class Scale(Amplifier):
    """The options of ``amplifier=scale``; 0 stands for the generalist's own value."""

    layers: int = setting(0, "Layers of each network; 0: the generalist's.", at_least=0)
    heads: int = setting(0, "Attention heads; 0: the generalist's.", at_least=0)
    width: int = setting(0, "Size of a token's vector; 0: the generalist's.", at_least=0)
    feedforward: int = setting(0, "Hidden size of the feed-forward layers; 0: the generalist's.", at_least=0)
    context_length: int = setting(0, "Tokens that attention sees; 0: the generalist's.", at_least=0)
    updates: int = setting(0, "Optimiser updates of each network's distillation; 0: the generalist's.", at_least=0)
    members: int = setting(3, "Independently initialised networks, whose average plays.", at_least=1)

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        check_settings("amplifier", self)
        self._model(model).check()
        if self.members > 1 and not network_kind(codec.name).has_distribution:
            raise GatitoError(
                f"codec {codec.name} gives no distributions to be averaged: set amplifier.members=1, or codec=step."
            )

    def artifact(self, generalist: Artifact, setting: AmplifierContext) -> Artifact:
        """The larger networks."""
        settings = {
            "tasks": [task.name for task in setting.run.suite],
            "distill": decisive(self._distill(setting)),
            "model": decisive(self._model(setting.recipe.model)),
            "codec": decisive(setting.recipe.codec),
            "members": self.members,
            "seed": setting.run.seed,
        }
        inputs = {name: recording.fingerprint for name, recording in self._taught(setting).items()}
        return Artifact(setting.folder / "scaled", "scaled", settings, inputs)

    def make(self, generalist: Artifact, setting: AmplifierContext) -> None:
        """Distil them, one after another; those that are there are kept.

        Raises:
            GatitoError: as :func:`generalist.distill.train.fit`.
        """
        from generalist.distill.distill import train
        from generalist.distill.train import Learner

        whole = self.artifact(generalist, setting)
        if whole.is_complete() or whole.adopt(setting.run.runs_folder):
            return
        whole.start()
        torch.set_num_threads(setting.run.workers)
        recordings = {name: recording.folder for name, recording in self._taught(setting).items()}
        model, distill = self._model(setting.recipe.model), self._distill(setting)
        costs = []
        for member in range(self.members):
            config = dict(whole.config) | {"member": member}
            artifact = Artifact(whole.folder / f"member-{member}", "member", config, whole.inputs)
            seed = derive("member", member, setting.run.seed)
            if not artifact.is_complete():
                artifact.start()
                learner = Learner(
                    artifact, setting.run.suite.tasks, recordings, distill, model, setting.recipe.codec, seed
                )
                train(learner, setting.run, job_type="scale", label=f"scaled {member}")
            costs.append(Cost.read(artifact.folder))
        total = sum(costs[1:], costs[0])
        whole.finish(total.seconds, **replace(total, env_steps=costs[0].env_steps).facts())

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> "Ensemble":
        """The networks in the folder, as one."""
        members = sorted(folder.glob("member-*"))
        alone = len(members) == 1
        networks = [NetworkPolicy.load(each, tasks, name, deterministic=deterministic or not alone) for each in members]
        return Ensemble(networks, tasks, deterministic=deterministic)

    def _model(self, model: ModelConfig) -> ModelConfig:
        larger = {name: getattr(self, name) for name in _SIZES if getattr(self, name)}
        return replace(model, name="scaled", **larger)

    def _taught(self, setting: AmplifierContext) -> dict[str, Artifact]:
        """The recordings that they learn from: of held-out tasks there are none."""
        names = [task.name for task in setting.run.suite]
        return {name: setting.recordings[name] for name in names if name in setting.recordings}

    def _distill(self, setting: AmplifierContext) -> DistillConfig:
        distill, window = setting.recipe.distill, self._model(setting.recipe.model).context_length
        updates, length = self.updates or distill.updates, max(window, distill.length(setting.recipe.model))
        return replace(distill, updates=updates, sequence_length=length, dagger=DaggerConfig(), flops=None)


_SIZES = ("layers", "heads", "width", "feedforward", "context_length")


class Ensemble(Policy):
    """Several networks that play the action which they find most likely on average, or draw one.

    Attributes:
        name: the agent's.
        distribution_kind: of discrete actions, the logits of the mean probabilities are told.
        spent: what its decisions cost so far.
    """

    def __init__(self, members: Sequence[NetworkPolicy], tasks: Sequence[Task], *, deterministic: bool = True) -> None:
        """Args: the networks, what they play, and whether several of them draw."""
        self.name = members[0].name
        self.distribution_kind: Mapping[str, str] = {task.name: "logits" for task in tasks if is_discrete(task)}
        self.spent = InferenceCost()
        self._members = members
        self._select = greedy if deterministic else sample

    def initial_state(self, num_envs: int) -> list[Any]:
        """Each network's own memory."""
        return [member.initial_state(num_envs) for member in self._members]

    def act(self, inputs: Sequence[PolicyInput], state: list[Any]) -> tuple[list[NetworkOutput], list[Any]]:
        """Ask all of them."""
        with self.spent.timed("seconds"), self.spent.timed("network_seconds"):
            outputs = [member.act(inputs, memory)[0] for member, memory in zip(self._members, state, strict=True)]
        rows = sum(len(each.env_ids) for each in inputs)
        self.spent.decisions += rows
        self.spent.forward_passes += rows * len(self._members)
        if len(self._members) == 1:
            return outputs[0], state
        decisions = []
        for rows, answers in zip(inputs, zip(*outputs, strict=True), strict=True):
            decision = together(rows.task, answers, self._select, rows.rngs)
            for member, memory in zip(self._members, state, strict=True):
                member.replace_actions(memory, rows.task, rows.env_ids, decision.actions)
            decisions.append(decision)
        return decisions, state


def together(
    task: Task,
    outputs: Sequence[NetworkOutput],
    select: Selector = greedy,
    rngs: Sequence[np.random.Generator] = (),
) -> NetworkOutput:
    """What several networks decide by the mixture of their distributions."""
    members = [output.distribution for output in outputs if output.distribution is not None]
    mixture = type(members[0]).mixture(members)
    chosen = select(mixture, rngs)
    actions = environment_actions(task, chosen)
    return NetworkOutput(actions, actions, mixture.parameters(task), distribution=mixture, chosen=chosen)
