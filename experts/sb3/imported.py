"""Import experts that stable-baselines3 trained elsewhere, from the zips that it saves.

The names of weights and settings identify the algorithm, and the weights' shapes the networks. The result is a recipe
and a state like those of an expert that gatito trained.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.base.flops import parameter_count
from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe
from experts.sb3.algorithms import word_of
from experts.sb3.model_files import SavedModel, model_path, normalizer_path, read_model
from experts.sb3.native import Between, Native, spaces_of
from experts.sb3.normalizer import statistics_fit
from experts.sb3.player import ExpertPolicy, acting_weights
from experts.sb3.vecnormalize import read_normalizer

_LAYER = re.compile(r"(\d+)\.weight")
_CLASS = re.compile(r"<class '([\w.]+)'>")
_OWN_POLICIES = ("stable_baselines3.", "sb3_contrib.")
_ACTOR_CRITICS = {"clip_range": "ppo", "cg_max_steps": "trpo"}
"""Algorithms with A2C's policy class, by a setting that only they have."""
_REFUSED = {
    "lstm_actor.": "it has a memory (RecurrentPPO)",
    "mlp_extractor.shared_net.": "actor and critic share layers, which stable-baselines3 has given up in 1.8",
    "actor.latent_pi.0.running_mean": "it normalises batches (CrossQ)",
}


@dataclass(frozen=True)
class Imported:
    """A model as an expert.

    Attributes:
        recipe: the recipe, which defines the networks.
        state: weights and statistics, as from :func:`experts.sb3.player.policy_state`.
        steps: environment steps of the training, as stated in the file.
        parameters: the number of parameters of the acting networks.
        policy: the policy.
    """

    recipe: ExpertRecipe
    state: dict[str, Any]
    steps: int
    parameters: int
    policy: ExpertPolicy


def import_model(task: Task, recipe: ExpertRecipe) -> Imported:
    """Read the zip of a task's expert, and the statistics of its observations.

    Args:
        task: the task.
        recipe: names the files.

    Raises:
        GatitoError: if a file is missing, damaged, of another task, or of an unsupported algorithm.
    """
    path = model_path(task, recipe)
    model = read_model(path)
    between = spaces_of(task, model.settings, path)
    own, weights = _recipe(model, isinstance(between.observation_space, gym.spaces.Dict), path)
    state: dict[str, Any] = {"policy": acting_weights(weights), "normalizer": _normalizer(task, recipe, between)}
    if isinstance(between, Native):
        state["native"] = True
    steps = model.settings.get("num_timesteps")
    try:
        policy = ExpertPolicy(task, own, state)
    except RuntimeError as error:  # torch's, about keys or shapes
        raise GatitoError(
            f"{path}: the weights are not of the networks that stable-baselines3 has for task {task.name} "
            f"({' '.join(str(error).split())[:160]}): only its own policies can be taken."
        ) from None
    steps = steps if isinstance(steps, int) and steps > 0 else 0
    return Imported(own, state, steps, parameter_count(policy.network), policy)


def _normalizer(task: Task, recipe: ExpertRecipe, between: Between) -> dict[str, Any] | None:
    path = normalizer_path(task, recipe)
    found = None if path is None else read_normalizer(path)
    if found is not None and not statistics_fit(found, between.observation_space):
        raise GatitoError(
            f"{path} has statistics of other observations than {between.observation_space}: name those of this model "
            f"with +experts.normalizers.{task.name.partition('/')[2]}=PATH, or move the file away."
        )
    return found


def _recipe(model: SavedModel, dictionary: bool, path: object) -> tuple[ExpertRecipe, dict[str, torch.Tensor]]:
    """The recipe of a model's networks, and its weights by their current names.

    Args:
        model: the content of the file.
        dictionary: whether observations are dictionaries.
        path: the file, for errors.
    """
    weights = dict(model.weights)
    for beginning, reason in _REFUSED.items():
        if any(name.startswith(beginning) for name in weights):
            raise _refused(path, reason)
    settings = model.settings
    policy_class = settings.get("policy_class")
    module = policy_class.get("__module__", "") if isinstance(policy_class, Mapping) else ""
    if not str(module).startswith(_OWN_POLICIES):
        raise _refused(path, f"its policy is a class of {module or 'unknown origin'}")
    algorithm = _algorithm(settings, weights, str(module))
    if algorithm is None:
        raise _refused(path, "its weights are of no algorithm that gatito knows")
    given = settings.get("policy_kwargs")
    kwargs = _networks(algorithm, weights, given if isinstance(given, Mapping) else {}, dictionary, path)
    hyperparameters: dict[str, Any] = {"policy_kwargs": kwargs}
    if settings.get("use_sde") is True:
        hyperparameters["use_sde"] = True
    if algorithm not in ("ppo", "a2c", "trpo", "maskable_ppo"):
        hyperparameters["buffer_size"] = 1  # it is not trained further
    return ExpertRecipe(algorithm=algorithm, num_envs=1, hyperparameters=hyperparameters), weights


def _algorithm(settings: Mapping[str, Any], weights: Mapping[str, torch.Tensor], module: str) -> str | None:
    """The algorithm of this policy; None if unknown."""
    begins = {name.partition(".")[0] for name in weights}
    if "q_net" in begins:
        return "dqn"
    if "quantile_net" in begins:
        return "qrdqn"
    if "actor.log_std" in weights or "actor.log_std.weight" in weights:
        return "tqc" if "top_quantiles_to_drop_per_net" in settings else "sac"
    if any(name.startswith("actor.mu.") for name in weights):
        return "td3" if any(name.startswith("critic.qf1.") for name in weights) else "ddpg"
    if "action_net.weight" in weights and "value_net.weight" in weights:
        if ".maskable." in module:
            return "maskable_ppo"
        return next((name for key, name in _ACTOR_CRITICS.items() if key in settings), "a2c")
    return None


def _networks(
    algorithm: str, weights: dict[str, torch.Tensor], given: Mapping[str, Any], dictionary: bool, path: object
) -> dict[str, Any]:
    """The policy's arguments, from its weights' shapes, and otherwise from the texts of its saved arguments."""
    kwargs: dict[str, Any] = {}
    if algorithm in ("dqn", "qrdqn"):
        name = "q_net" if algorithm == "dqn" else "quantile_net"
        extractor = f"{name}.features_extractor."
        kwargs["net_arch"] = _widths(weights, f"{name}.{name}.", path)[:-1]
        if algorithm == "qrdqn":
            kwargs["n_quantiles"] = given.get("n_quantiles", 200)
    elif algorithm in ("sac", "tqc", "td3", "ddpg"):
        extractor = "actor.features_extractor."
        latent = _widths(weights, "actor.latent_pi.", path) or _widths(weights, "actor.mu.", path)[:-1]
        kwargs["net_arch"] = {"pi": latent, "qf": _widths(weights, "critic.qf0.", path)[:-1] or latent}
        if algorithm in ("sac", "tqc") and "actor.mu.weight" in weights and "actor.log_std" in weights:
            kwargs["clip_mean"] = 0.0
    else:
        extractor = "pi_features_extractor."
        if not any(name.startswith(extractor) for name in weights):  # before version 1.7 they shared one name
            old = {name: values for name, values in weights.items() if name.startswith("features_extractor.")}
            weights |= {f"{part}_{name}": values for name, values in old.items() for part in ("pi", "vf")}
        nets = {part: f"mlp_extractor.{name}_net." for part, name in (("pi", "policy"), ("vf", "value"))}
        kwargs["net_arch"] = {part: _widths(weights, prefix, path) for part, prefix in nets.items()}
        kwargs["share_features_extractor"] = False  # loads the weights of both kinds
        if weights.get("log_std", torch.zeros(0)).dim() == 2 and given.get("full_std") is False:
            kwargs["full_std"] = False
    kwargs |= {name: given[name] for name in ("use_expln", "squash_output") if given.get(name) is True}
    if given.get("normalize_images") is False:
        kwargs["normalize_images"] = False
    if "activation_fn" in given:
        kwargs["activation_fn"] = _word("activation_fn", given, path)
    return kwargs | _extractor(weights, extractor, given, dictionary, path)


def _extractor(
    weights: Mapping[str, torch.Tensor], prefix: str, given: Mapping[str, Any], dictionary: bool, path: object
) -> dict[str, Any]:
    """The features extractor and its width; ``dictionary``: whether observations are dictionaries."""
    if "features_extractor_class" in given:
        word: str | None = _word("features_extractor_class", given, path)
    elif any(name.startswith(f"{prefix}extractors.") for name in weights):
        word = "combined"
    else:
        word = "nature_cnn" if f"{prefix}cnn.0.weight" in weights else None
    if word is None:  # no weights: vectors unchanged, those of dictionaries concatenated
        word = "combined" if dictionary else "flatten"
    last = {"nature_cnn": "linear.0.weight", "small_cnn": "layers.7.weight"}.get(word)
    width = weights.get(f"{prefix}{last}") if last else None
    kwargs: dict[str, Any] = {"features_extractor_class": word}
    if width is not None:
        kwargs["features_extractor_kwargs"] = {"features_dim": int(width.shape[0])}
    of_images = re.compile(rf"{re.escape(prefix)}extractors\..*\.linear\.0\.weight")
    images = [values for name, values in weights.items() if of_images.fullmatch(name)]
    if word == "combined" and images:
        kwargs["features_extractor_kwargs"] = {"cnn_output_dim": int(images[0].shape[0])}
    return kwargs


def _widths(weights: Mapping[str, torch.Tensor], prefix: str, path: object) -> list[int]:
    """The width of each linear layer of a multilayer perceptron, in order."""
    layers: dict[int, torch.Tensor] = {}
    for name, values in weights.items():
        rest = name.removeprefix(prefix)
        if rest != name and (layer := _LAYER.fullmatch(rest)):
            if values.dim() != 2:
                raise _refused(path, f"{name} is of no linear layer")
            layers[int(layer[1])] = values
    return [int(layers[index].shape[0]) for index in sorted(layers)]


def _word(argument: str, given: Mapping[str, Any], path: object) -> str:
    """Gatito's name of a class among a policy's arguments, which are saved as texts."""
    text = str(given[argument])
    found = _CLASS.fullmatch(text)
    word = word_of(argument, found[1] if found else text)
    if word is None:
        raise _refused(path, f"its {argument} is {text[:80]}")
    return word


def _refused(path: object, reason: str) -> GatitoError:
    return GatitoError(
        f"the model {path} cannot be taken: {reason}. PPO, A2C, DQN, SAC, TD3 and DDPG with stable-baselines3's own "
        "policies can, and QR-DQN, TQC, TRPO and MaskablePPO of sb3-contrib."
    )
