"""The settings of a run that concern its generalist, and checks across several of them."""

from collections.abc import Sequence
from typing import Any, Protocol

from benchmarks.base.errors import GatitoError
from generalist.amplifiers import AMPLIFIERS, make_amplifier
from generalist.config.codec import CodecConfig
from generalist.config.generalist import GeneralistConfig
from generalist.config.ida import IdaConfig
from generalist.config.networks import network_kind
from generalist.config.settings import ControlsConfig, DistillConfig, ModelConfig


class Settings(Protocol):
    """The part of a run's settings that concerns its generalist."""

    generalist: GeneralistConfig
    model: ModelConfig
    codec: CodecConfig
    distill: DistillConfig
    controls: ControlsConfig
    ida: IdaConfig
    amplifier: dict[str, Any]


def check_settings(config: Settings, tasks: Sequence[str]) -> None:
    """Reject settings that cannot work for tasks of these names, before any work is done.

    Raises:
        GatitoError: one line that names the remedy.
    """
    kind = network_kind(config.codec.name)
    config.codec.check()
    if config.model.kind == "perceptron" and config.codec.conditioning == "prompt":
        raise GatitoError("model.kind=perceptron cannot attend to a demonstration: set codec.conditioning=none.")
    if config.model.kind == "perceptron" and not kind.supports_perceptron:
        raise GatitoError(
            f"model.kind=perceptron processes single tokens, but a time step of codec {config.codec.name} has several: "
            "set codec=step."
        )
    if config.codec.conditioning == "prompt" and not config.distill.prompts:
        raise GatitoError("distill.prompts=0 uses no demonstration: raise it, or set codec.conditioning=none.")
    config.model.check()
    config.generalist.check()
    config.ida.check()
    amplifier = config.amplifier.get("name")
    if config.ida.rounds and amplifier == "none":
        raise GatitoError(f"ida.rounds={config.ida.rounds} needs an amplifier: set amplifier={'|'.join(AMPLIFIERS)}.")
    if config.generalist.amplified and amplifier == "none":
        raise GatitoError(f"generalist.amplified=true needs an amplifier: set amplifier={'|'.join(AMPLIFIERS)}.")
    if config.ida.rounds or config.generalist.amplified:
        make_amplifier(config.amplifier)
    elif amplifier in AMPLIFIERS:
        raise GatitoError(f"amplifier={amplifier} needs rounds to amplify in: set ida.rounds=3.")
    if config.ida.rounds and config.ida.start != "trained" and config.distill.start is not None:
        raise GatitoError(f"ida.start={config.ida.start} and distill.start exclude each other: leave one of them out.")
    if config.distill.search_values and amplifier != "two_player_search":
        raise GatitoError(
            f"distill.search_values={config.distill.search_values} needs the values of searches in self-play: set "
            "amplifier=two_player_search, or leave it out."
        )
    if config.distill.new_tasks and config.distill.start is None:
        raise GatitoError("distill.new_tasks=true is for networks that are continued: set distill.start=RUN.")
    if config.generalist.source == "none" and (config.ida.rounds or config.controls.agents):
        raise GatitoError(
            "generalist=none leaves nothing to amplify or to compare with controls: set controls=none and leave "
            "ida.rounds out, or distil a generalist with generalist=train."
        )
    config.distill.check(tasks, config.model)
    if config.distill.held_out and config.codec.conditioning == "task_id":
        raise GatitoError("distill.held_out: held-out tasks have no embeddings: set codec.conditioning=none or prompt.")
    if config.distill.held_out and config.codec.conditioning == "prompt" and config.ida.rounds:
        raise GatitoError("distill.held_out with codec.conditioning=prompt has no rounds: leave ida.rounds out.")
    if not config.distill.updates and (config.controls.agents or config.distill.dagger.rounds):
        raise GatitoError("distill.updates=0 trains nothing: set controls=none, and leave distill.dagger.rounds out.")
    config.controls.check()
