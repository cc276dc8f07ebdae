"""Renamed configuration keys: an error line for an old key names its successor."""

from collections.abc import Mapping
from typing import Any

KEYS = {
    "amplifier.clip": "amplifier.clip_range",
    "amplifier.considered": "amplifier.max_num_considered_actions",
    "amplifier.entropy": "amplifier.entropy_weight",
    "amplifier.give_up": "amplifier.abandon_after",
    "amplifier.gradient_norm": "amplifier.max_grad_norm",
    "amplifier.lanes": "amplifier.num_envs",
    "amplifier.noise": "amplifier.gumbel_scale",
    "amplifier.proofs": "amplifier.confirmation_rollouts",
    "amplifier.rollout": "amplifier.rollout_length",
    "amplifier.scale": "amplifier.value_scale",
    "amplifier.simulations": "amplifier.num_simulations",
    "amplifier.steps": "amplifier.env_steps with amplifier=finetune, amplifier.updates with amplifier=scale",
    "amplifier.window": "amplifier.context_length",
    "codec.least_deviation": "codec.min_std",
    "codec.waves": "codec.fourier_features",
    "controls.clone.window": "controls.clone.context_length",
    "controls.multitask.clip": "controls.multitask.clip_range",
    "controls.multitask.entropy": "controls.multitask.entropy_weight",
    "controls.multitask.gradient_norm": "controls.multitask.max_grad_norm",
    "controls.multitask.lanes": "controls.multitask.num_envs",
    "controls.multitask.rollout": "controls.multitask.rollout_length",
    "distill.accumulate": "distill.gradient_accumulation",
    "distill.clip": "distill.max_grad_norm",
    "distill.length": "distill.sequence_length",
    "distill.practice_from": "distill.dagger.start",
    "distill.practice_share": "distill.dagger.share",
    "distill.practice_steps": "distill.dagger.env_steps",
    "distill.rounds": "distill.dagger.rounds",
    "distill.steps": "distill.updates",
    "distill.windows": "distill.batch_size",
    "evaluate.environments": "evaluate.max_envs",
    "evaluate.lanes": "evaluate.envs_per_task",
    "ida.control_steps": "ida.control_env_steps",
    "ida.steps": "ida.env_steps",
    "ida.window": "ida.context_length",
    "ida.windows": "ida.batch_size",
    "model.window": "model.context_length",
    "record.random_steps": "record.random_env_steps",
    "record.steps": "record.env_steps",
    "suite.tasks.*.expert.envs": "suite.tasks.*.expert.num_envs",
    "suite.tasks.*.expert.steps": "suite.tasks.*.expert.env_steps",
}
"""New keys by old ones; ``*`` stands for a task's key."""

INVERTED = {
    "amplifier.draws": "amplifier.deterministic",
    "generalist.draws": "generalist.deterministic",
}
"""Booleans whose values mean the opposite under their new name."""

OPTIONS = {
    "variant=practice": "variant=dagger",
    "variant=practice_prompt": "variant=dagger_prompt",
}
"""Options of configuration groups."""


def explain(key: str) -> str | None:
    """The line for an old key, such as ``distill.windows``, or an old option, such as ``variant=practice``.

    Returns:
        None if the key was not renamed.
    """
    if key in OPTIONS:
        return f"{key} is now {OPTIONS[key]}."
    task = key.split(".")[2] if key.startswith("suite.tasks.") and key.count(".") >= 3 else None
    general = key.replace(f".{task}.", ".*.", 1) if task else key
    if general in INVERTED:
        return f"{key} is now {INVERTED[general]}, which means the opposite: write false for true, and true for false."
    if general in KEYS:
        return f"{key} is now {KEYS[general].replace('*', task or '*')}."
    return None


def first_old_key(settings: Mapping[str, Any], group: str = "") -> str | None:
    """The line for the first old key in nested settings.

    Args:
        settings: keys and values; values may be mappings of the same form.
        group: their config group, such as ``model``; ``""`` for the top level.
    """
    for name, value in settings.items():
        key = f"{group}.{name}" if group else str(name)
        line = explain(key) or (first_old_key(value, key) if isinstance(value, Mapping) else None)
        if line:
            return line
    return None
