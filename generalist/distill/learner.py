"""A network to train, and the mixtures of recordings that it learns from and is validated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.data import Mixture, Source
from generalist.network.batches import moved
from generalist.network.network import Network

_VALIDATION_BATCHES = 32


@dataclass(frozen=True)
class Learner:
    """A network to train.

    Attributes:
        artifact: the artifact that it is written to.
        tasks: the tasks that it learns.
        recordings: folders of the experts' recordings by task name; a task may be missing if ``student_recordings``
            has it.
        config: the settings of the training.
        model: its sizes; with ``start``, only the context length is used.
        codec: the settings of its inputs and outputs.
        seed: the training seed.
        start: folder of a network whose training is continued; None for random weights.
        fresh: whether the weights are random although there is a ``start``, whose demonstrations are kept.
        student_recordings: recordings of networks by task name, such as DAgger rounds, used from the first step on.
        solved: whether only the solved episodes of ``student_recordings`` are used.
        shown: tasks that it does not learn, but keeps demonstrations of; ``recordings`` has them too.
    """

    artifact: Artifact
    tasks: Sequence[Task]
    recordings: Mapping[str, Path]
    config: DistillConfig
    model: ModelConfig
    codec: CodecConfig
    seed: int
    start: Path | None = None
    fresh: bool = False
    student_recordings: Sequence[Mapping[str, Path]] = ()
    solved: bool = False
    shown: Sequence[Task] = ()

    @property
    def continues_round(self) -> bool:
        """Whether ``start`` is the generalist of an earlier round, which has learned the same recordings before."""
        return self.start is not None and self.config.start is None


def training_mixture(
    learner: Learner,
    expert_recordings: Mapping[str, Trajectories],
    student_recordings: Sequence[Mapping[str, Trajectories]],
    network: Network,
) -> Mixture:
    """The mixture of the experts' recordings and of those of networks so far."""
    config, sources = learner.config, []
    for task in learner.tasks:
        weight = config.weights.get(task.name, 1.0)
        of_students = [recordings[task.name] for recordings in student_recordings if task.name in recordings]
        share = config.dagger.share if of_students else 0.0
        if share < 1 and task.name in expert_recordings:
            recording, own = expert_recordings[task.name], weight * (1 - share)
            apart = config.validated(len(recording))
            source = Source(task, recording, own, share=config.data, most=config.episodes, apart=apart)
            sources.append(replace(source, mirror=config.mirror))
        steps = sum(recording.steps for recording in of_students)
        demonstrations = expert_recordings.get(task.name)
        for recording in of_students if share else ():
            recording_weight = weight * share * recording.steps / steps
            source = Source(task, recording, recording_weight, demonstrations, solved=learner.solved)
            sources.append(replace(source, mirror=config.mirror, search_values=config.search_values))
    return _mixture(learner, sources, network)


@torch.inference_mode()
def validation_loss(learner: Learner, recordings: Mapping[str, Trajectories], network: Network) -> float:
    """The loss per action, in nats, of a trained network on the last episodes of the recordings.

    Networks of the same recordings see the same windows, whatever their training seed.
    """
    config, sources = learner.config, []
    for task in learner.tasks:
        if task.name in recordings:
            recording, weight = recordings[task.name], config.weights.get(task.name, 1.0)
            apart = config.validated(len(recording))
            sources.append(Source(task, recording, weight, apart=apart, validates=True))
    mixture = _mixture(replace(learner, seed=0), sources, network)
    total = weight = 0.0
    for step in range(_VALIDATION_BATCHES):
        batch = moved(mixture.batch(step), next(network.parameters()).device)
        total += network.loss(batch)["loss"].item() * batch.weight
        weight += batch.weight
    return total / weight


def _mixture(learner: Learner, sources: Sequence[Source], network: Network) -> Mixture:
    config = learner.config
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
