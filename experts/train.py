"""Train one expert per task, in parallel, resumably, and gate each against its reference.

Run by ``gatito stages=[experts]``.
"""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base import artifacts, console
from benchmarks.base.artifacts import CHECKPOINT, Artifact
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import removal
from benchmarks.base.seeds import Purpose, derive, episode_seed
from benchmarks.base.settings import decisive
from benchmarks.play.policy import Policy
from benchmarks.play.rollout import rollout
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.tracking import Log, Mirror, pump
from benchmarks.runs.wandb import log_lineage
from benchmarks.scoring.scores import metric_value
from benchmarks.tasks import Task
from benchmarks.tasks.metrics import METRICS
from experts.datasets import dataset_digest, dataset_episodes
from experts.programs.scripted import check_program, make_program
from experts.recipe import (
    ALGORITHMS,
    DATASET,
    IMPORTED,
    POLICY,
    PROGRAMS,
    RECIPE,
    RELEASED,
    ExpertRecipe,
    ExpertsConfig,
)
from experts.released import adopt_released_expert, released_digest, resume_released_training
from experts.sb3.model_files import model_digests
from experts.selection import is_best, is_trained, judge

CURVE = "curve.json"
GATE = "gate.json"
EXPERTS, REWARD_ONLY = "experts", "reward-only"
"""Folders in a run: the experts, and the reward-only experts of tasks with a hidden cost."""
_LABELS = {EXPERTS: "expert", REWARD_ONLY: "reward-only expert"}
_MAX_WARNINGS = 8  # one per weak expert; more weak experts share a single warning


def expert_artifact(
    run: Run, task: Task, recipe: ExpertRecipe, config: ExpertsConfig, folder: str = EXPERTS
) -> Artifact:
    """The artifact of a task's expert in a folder of the run, with the settings that determine its content."""
    settings: dict[str, Any] = {"task": task.digest, "metric": task.metric, "recipe": decisive(recipe)}
    settings |= {"reference": task.reference} | METRICS.code(task.metric)
    if recipe.algorithm == RELEASED:
        settings |= {"released": released_digest(task, Path(config.released))}
    elif recipe.algorithm == DATASET:
        settings |= {"dataset": dataset_digest(task, str(recipe.dataset))}
    else:
        settings |= {"seed": run.seed, "gate_episodes": config.gate_episodes}
    if recipe.algorithm == IMPORTED:
        settings |= {"model": model_digests(task, recipe)}
    if recipe.algorithm in PROGRAMS:
        settings |= PROGRAMS.load(recipe.algorithm).made_from(task, recipe)
    settings |= PROGRAMS.code(recipe.algorithm) | ALGORITHMS.code(recipe.algorithm)
    if recipe.trained:
        settings |= {"checkpoints": config.checkpoints, "selection_episodes": config.selection_episodes}
    return Artifact(run.folder / folder / task.name, "expert", settings)


def rate_kind(recipe: ExpertRecipe) -> str:
    """The kind of a job that makes an expert, for its rate: training is measured per environment step."""
    return "expert" if recipe.trained else f"expert {recipe.algorithm}"


def train_experts(
    run: Run, recipes: Mapping[str, ExpertRecipe], config: ExpertsConfig, folder: str = EXPERTS
) -> dict[str, Artifact]:
    """Make every task's missing expert, the longest training first; tasks that fail are left out.

    Args:
        run: the run.
        recipes: the experts' recipes, by task name; tasks without a recipe are skipped.
        config: settings of all experts.
        folder: the folder of the experts in the run.

    Returns:
        The finished artifacts by task name; each folder holds the policy, its recipe, learning curve and gate.

    Raises:
        GatitoError: if a recipe is invalid, or a finished expert's files are damaged.
    """
    suite = run.survivors("experts").part(recipes)
    experts = {task.name: expert_artifact(run, task, recipes[task.name], config, folder) for task in suite}
    missing = [
        task for task in suite if not experts[task.name].is_complete() and not experts[task.name].adopt(run.runs_folder)
    ]
    for task in missing:
        _check(task, recipes[task.name])
    missing.sort(key=lambda task: -recipes[task.name].env_steps if recipes[task.name].trained else 0)
    mirrors: list[Mirror] = []
    jobs = []
    for task in missing:
        artifact, recipe = experts[task.name], recipes[task.name]
        artifact.start()
        if recipe.trained:
            resume_released_training(task, Path(config.released), artifact)
        arguments = {"task": task, "recipe": recipe, "config": config, "seed": run.seed, "artifact": artifact}
        total = recipe.env_steps if recipe.trained else 1
        jobs.append(Job(f"{_LABELS[folder]} {task.name}", total, arguments, task.name, (rate_kind(recipe), task.name)))
        mirrors.append(run.tracker.mirror(artifact.folder, "experts", env_id=task.env_id, **asdict(recipe)))

    try:
        run_jobs(_make, jobs, workers=run.workers, failures=run.failures, on_poll=partial(pump, mirrors))
    finally:
        for task, mirror in zip(missing, mirrors, strict=True):
            lineage = partial(log_lineage, made=[experts[task.name]], folder=run.folder)
            summary: dict[str, float] | None = None
            if (experts[task.name].folder / GATE).exists():
                with run.failures.of(task.name):
                    summary = {"gate/mean": read_gate(experts[task.name])["mean"]}
            mirror.finish(summary, lineage)
    gates: dict[str, dict[str, Any]] = {}
    for task in run.survivors("experts").part(recipes):
        with run.failures.of(task.name):
            gates[task.name] = read_gate(experts[task.name])
    experts = {name: experts[name] for name in gates}
    weak = {name: gate for name, gate in gates.items() if not gate["passed"] and folder == EXPERTS}
    for name, gate in weak.items() if len(weak) <= _MAX_WARNINGS else ():
        console.warn(
            f"expert {name} is weak: {gate['mean']:.4g} over {gate['episodes']} episodes, its reference is "
            f"{gate['reference']:g}; its task will be listed as unscored."
        )
    if len(weak) > _MAX_WARNINGS:
        console.warn(
            f"{len(weak)} of {len(gates)} experts are weak, their tasks will be listed as unscored: {', '.join(weak)}."
        )
    return experts


def read_gate(artifact: Artifact) -> dict[str, Any]:
    """``mean``, ``std``, ``episodes``, ``reference`` and ``passed`` of a finished expert.

    Raises:
        GatitoError: if the file is damaged, or its mean is not a finite number.
    """
    path = artifact.folder / GATE
    gate = artifacts.read_json(path, {"mean": (int, float), "std": (int, float), "episodes": int, "passed": bool})
    if not math.isfinite(gate["mean"]) or not math.isfinite(gate["std"]):
        raise GatitoError(
            f"{path}: the expert's mean {gate['mean']} is not a finite number. {removal(artifact.folder)}"
        )
    return gate


def _check(task: Task, recipe: ExpertRecipe) -> None:
    if recipe.algorithm in PROGRAMS:
        check_program(task, recipe)
    if not recipe.trained:
        return
    # Imported here: stable-baselines3 takes seconds to import, and runs without trainings do not need it.
    from experts.sb3.algorithms import check_recipe

    check_recipe(task, recipe)


def _make(*, recipe: ExpertRecipe, **arguments: Any) -> None:  # noqa: ANN401
    makers = {RELEASED: _adopt_released, DATASET: _gate_dataset, IMPORTED: _import}
    (_train if recipe.trained else makers.get(recipe.algorithm, _gate_program))(recipe=recipe, **arguments)


def _adopt_released(*, task: Task, config: ExpertsConfig, artifact: Artifact, report: Report, **_: Any) -> None:  # noqa: ANN401
    adopt_released_expert(task, Path(config.released), artifact)
    report(1)


def _gate_dataset(
    *,
    task: Task,
    recipe: ExpertRecipe,
    seed: int,
    artifact: Artifact,
    report: Report,
    **_: Any,  # noqa: ANN401
) -> None:
    """Make an expert from a dataset: the dataset's episodes are the gate's."""
    start = time.monotonic()
    values = [metric_value(task.metric, episode) for episode in dataset_episodes(task, str(recipe.dataset), warn=True)]
    gate = judge(task, values)
    artifacts.write_json(artifact.folder / CURVE, [])
    artifacts.write_json(artifact.folder / GATE, gate)
    artifacts.write_json(artifact.folder / RECIPE, {"task": task.name, "recipe": asdict(recipe), "seed": seed})
    report(1)
    seconds = time.monotonic() - start
    artifact.finish(seconds, steps=0, gate=gate, **Cost(0, 0.0, 0, seconds).facts())


def _import(
    *, task: Task, recipe: ExpertRecipe, config: ExpertsConfig, seed: int, artifact: Artifact, report: Report
) -> None:
    """Make an expert from a model that was trained elsewhere: it plays the gate's episodes."""
    from experts.sb3.imported import import_model

    start = time.monotonic()
    imported = import_model(task, recipe)
    values, _ = _scores(imported.policy, task, Purpose.GATE, config.gate_episodes, seed)
    gate = judge(task, values)
    save_state(artifact.folder / POLICY, imported.state)
    artifacts.write_json(artifact.folder / CURVE, [])
    artifacts.write_json(artifact.folder / GATE, gate)
    artifacts.write_json(artifact.folder / RECIPE, {"task": task.name, "recipe": asdict(imported.recipe), "seed": seed})
    report(1)
    # The file does not state the operations and seconds of its training.
    cost = Cost(imported.parameters, 0.0, imported.steps, 0.0)
    artifact.finish(time.monotonic() - start, steps=imported.steps, gate=gate, **cost.facts())


def _gate_program(
    *, task: Task, recipe: ExpertRecipe, config: ExpertsConfig, seed: int, artifact: Artifact, report: Report
) -> None:
    """Make an expert from a program: it plays the gate's episodes without training."""
    start = time.monotonic()
    policy = make_program(task, recipe)
    if recipe.cost_weight:
        _scores(policy, task, Purpose.SELECTION, 1, seed, cost_weight=recipe.cost_weight)  # is there a cost?
    values, _ = _scores(policy, task, Purpose.GATE, config.gate_episodes, seed, num_envs=8)
    gate = judge(task, values)
    seconds = time.monotonic() - start
    artifacts.write_json(artifact.folder / CURVE, [])
    artifacts.write_json(artifact.folder / GATE, gate)
    artifacts.write_json(artifact.folder / RECIPE, {"task": task.name, "recipe": asdict(recipe), "seed": seed})
    report(1)
    artifact.finish(seconds, steps=0, gate=gate, **Cost(0, 0.0, 0, seconds).facts())


def _train(
    *, task: Task, recipe: ExpertRecipe, config: ExpertsConfig, seed: int, artifact: Artifact, report: Report
) -> None:
    from experts.sb3.player import policy_state
    from experts.sb3.training import Training

    checkpoint = artifact.folder / CHECKPOINT
    saved = load_state(checkpoint) if checkpoint.exists() else None
    training = Training(task, recipe, derive("expert", task.name, seed), saved and saved["training"])
    curve: list[dict[str, float]] = saved["curve"] if saved else []
    best: dict[str, Any] | None = saved and saved["best"]
    seconds = float(saved["seconds"]) if saved else 0.0
    selection = (int(saved["selection_steps"]), float(saved["selection_flops"])) if saved else (0, 0.0)
    log = Log(artifact.folder, keep_until=training.steps if saved else -1)
    selection_episodes = recipe.selection_episodes or config.selection_episodes
    while not is_trained(recipe, curve):
        start = time.monotonic()
        training.advance(
            max(training.steps + 1, recipe.env_steps * (len(curve) + 1) // config.checkpoints),
            on_progress=lambda steps: report(min(steps, recipe.env_steps)),
            on_metrics=log.write,
        )
        state = training.state()
        values, steps, flops = _play(task, recipe, policy_state(state), Purpose.SELECTION, selection_episodes, seed)
        selection = (selection[0] + steps, selection[1] + flops)
        seconds += time.monotonic() - start
        point = {"mean": float(np.mean(values)), "std": float(np.std(values))}
        log.write(training.steps, {f"selection/{name}": value for name, value in point.items()})
        if is_best(point["mean"], curve):
            best = copy.deepcopy(policy_state(state))
        curve.append({"steps": training.steps, "seconds": round(seconds, 1), **point})
        progress = {"seconds": seconds, "selection_steps": selection[0], "selection_flops": selection[1]}
        save_state(checkpoint, {"training": state, "curve": curve, "best": best, **progress})
    training.close()
    report(recipe.env_steps)
    assert best is not None  # set after the first segment
    values, _, _ = _play(task, recipe, best, Purpose.GATE, config.gate_episodes, seed)
    gate = judge(task, values)
    save_state(artifact.folder / POLICY, best)
    artifacts.write_json(artifact.folder / CURVE, curve)
    artifacts.write_json(artifact.folder / GATE, gate)
    artifacts.write_json(artifact.folder / RECIPE, {"task": task.name, "recipe": asdict(recipe), "seed": seed})
    # The expert's cost includes the selection of a checkpoint, but not the gate, which only measures it.
    cost = Cost(training.parameters, training.flops + selection[1], training.steps + selection[0], seconds)
    artifact.finish(seconds, steps=training.steps, gate=gate, **cost.facts())


def _play(
    task: Task, recipe: ExpertRecipe, acting: Mapping[str, Any], purpose: Purpose, episodes: int, seed: int
) -> tuple[list[float], int, float]:
    """The episodes' scores, their environment steps, and their floating-point operations."""
    from benchmarks.base.flops import FlopMeter
    from experts.sb3.player import ExpertPolicy

    policy = ExpertPolicy(task, recipe, acting)
    meter = FlopMeter(policy.network)
    # Checkpoints are selected by the training objective (without scaling), which includes the cost; scores never do.
    weight = recipe.cost_weight if purpose is Purpose.SELECTION else 0.0
    values, steps = _scores(policy, task, purpose, episodes, seed, cost_weight=weight)
    return values, steps, meter.flops


def _scores(
    policy: Policy,
    task: Task,
    purpose: Purpose,
    episodes: int,
    seed: int,
    num_envs: int = 50,
    cost_weight: float = 0.0,
) -> tuple[list[float], int]:
    """The episodes' scores minus their weighted cost, and their environment steps.

    Many parallel environments speed up a batched network, but not a program.
    """
    seeds = [episode_seed(purpose, index, seed) for index in range(episodes)]
    # In the order of the seeds, not of the episodes' ends: floating-point sums depend on the order.
    played = sorted(rollout(policy, {task: seeds}, envs_per_task=num_envs), key=lambda episode: episode.seed)
    if cost_weight and played[0].cost is None:
        raise GatitoError(
            f"task {task.name}: its expert weighs a hidden cost, but the environment reports none: report it in every "
            "step as info['cost'], or set expert.cost_weight to 0.",
            task.name,
        )
    values = [metric_value(task.metric, episode) - cost_weight * (episode.cost or 0.0) for episode in played]
    return values, sum(episode.length for episode in played)
