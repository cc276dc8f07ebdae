"""Several runs in one table: training seeds of one configuration are pooled, configurations get a label.

Run by ``gatito stages=[compare] runs=[A,B]``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.base.artifacts import digest, read_json, write_bytes, write_json, write_text
from benchmarks.base.environment import ENVIRONMENT
from benchmarks.base.errors import GatitoError, unknown
from benchmarks.base.seals import check_seal, seal
from benchmarks.scoring.results import ANCHORS, FILES, CostRow, Results, ScoreRow, TaskRow, labelled

ROUNDS = "rounds.csv"
"""What a run tells of its rounds of amplification and distillation; see ``report.rounds``."""

CONFIG = "config.yaml"
_RUNNING = ("seed", "name", "stages", "runs", "runs_folder", "workers", "tracking", "clips")
_RUNNING += ("evaluate.envs_per_task", "evaluate.max_envs", "distill.log_every", "distill.checkpoint_every")
_RUNNING += ("distill.gradient_accumulation", "distill.device")
"""Settings, and groups of settings, that say how a run is made and shown, not what its method is."""


def find_runs(names: Sequence[str], runs_folder: Path) -> list[Path]:
    """The folders of runs: paths, or names (or patterns such as ``classic-nano-seed*``) below the runs' folder.

    Raises:
        GatitoError: if one does not exist; it names those that do.
    """
    folders: list[Path] = []
    for name in names:
        found = [path for path in (Path(name), runs_folder / name) if (path / CONFIG).exists()][:1]
        if not found and name and not Path(name).is_absolute():
            found = sorted(path.parent for path in runs_folder.glob(f"{name}/{CONFIG}"))
        if not found:
            raise unknown("run", name, [path.parent.name for path in runs_folder.glob(f"*/{CONFIG}")])
        folders += found
    return folders


def pooled_name(folders: Sequence[Path]) -> str:
    """A folder for the comparison: what the runs' names begin with, training seeds left out."""
    names = sorted({re.sub(r"-seed\d+", "", folder.name) for folder in folders})
    return names[0] if len(names) == 1 else f"compare-{digest(names)[:8]}"


def seeds_of_one_configuration(folders: Sequence[Path]) -> list[list[Path]]:
    """Runs that differ in their training seed alone, where there are several of them; one for each seed."""
    groups: dict[str, dict[int, Path]] = {}
    for folder in folders:
        seed = int(yaml.safe_load((folder / CONFIG).read_text())["seed"])
        groups.setdefault(str(sorted(_method(folder).items())), {}).setdefault(seed, folder)
    return [list(runs.values()) for runs in groups.values() if len(runs) > 1]


def compare(folders: Sequence[Path], into: Path) -> Results:
    """The results of several runs as one, written into a results folder of their own, with its config and clips.

    Raises:
        GatitoError: if a run has no results, rows do not fit together (see :meth:`Results.check`), or the folder to
            write is a run's (a single run may be written into its own).
    """
    sources = [folder.resolve() for folder in folders]
    if sources != [into.resolve()] and (into.resolve() in sources or (into / "scores").is_dir()):
        raise GatitoError(f"the comparison would overwrite the run {into}: give it another folder with name=NAME.")
    groups: dict[str, tuple[dict[str, Any], list[Path]]] = {}
    for folder in folders:
        method = _method(folder)
        groups.setdefault(str(sorted(method.items())), (method, []))[1].append(folder)
    labels = _labels([method for method, _ in groups.values()])
    grouped = [(label, runs) for label, (_, runs) in zip(labels, groups.values(), strict=True)]
    merged = merge([(label, [Results.read(run) for run in runs]) for label, runs in grouped])
    merged.check(f"runs=[{','.join(folder.name for folder in folders)}]")
    merged.write(into)
    for path in into.glob("config-[0-9]*.yaml"):  # of an earlier comparison, which may have had more of them
        path.unlink()
    for number, (label, runs) in enumerate(grouped):
        name = CONFIG if number == 0 else f"config-{number}.yaml"
        write_text(into / name, (f"# {label}\n" if label else "") + (runs[0] / CONFIG).read_text())
    environments = [read_json(folder / ENVIRONMENT) for folder in folders if (folder / ENVIRONMENT).exists()]
    if environments:
        commands = dict.fromkeys(environment["command"] for environment in environments)
        commits = dict.fromkeys(environment.get("git_commit") for environment in environments)
        told = {"command": "\n".join(commands), "git_commit": ", ".join(filter(None, commits)) or None}
        write_json(into / ENVIRONMENT, environments[0] | told)
    _take_clips(folders, into)
    _take_rounds(folders, into)
    return merged


def _take_clips(folders: Sequence[Path], into: Path) -> None:
    """The films of the first run that has any."""
    for folder in folders:
        films = sorted((folder / "clips").rglob("clip.*"))
        if films and folder.resolve() != into.resolve():
            for path in films:
                write_bytes(into / path.relative_to(folder), path.read_bytes())
            return


def _take_rounds(folders: Sequence[Path], into: Path) -> None:
    """What runs tell of their rounds, one below the other."""
    told = [folder for folder in folders if (folder / ROUNDS).exists()]
    for folder in told:
        check_seal(folder, [ROUNDS], "remove it and run with stages=[report], which writes it anew.")
    texts = [(folder / ROUNDS).read_text().splitlines() for folder in told]
    if texts:
        lines = [texts[0][0], *(line for text in texts for line in text[1:])]
        write_text(into / ROUNDS, "\n".join(lines) + "\n")
        seal(into, [ROUNDS])


def merge(groups: Sequence[tuple[str, Sequence[Results]]]) -> Results:
    """Results of several runs as one: those of one group are pooled, those of several are told apart by a label.

    An agent that is the same in all groups stays one agent without a label, if random and the experts are shared too.

    Args:
        groups: a label and the results of its runs (training seeds of one configuration).
    """
    pooled = [(label, _pool(results)) for label, results in groups]
    first = pooled[0][1]
    shared = [
        agent
        for agent in first.agents
        if all(_identity(results, agent) == _identity(first, agent) for _, results in pooled)
    ]
    if not all(anchor in shared for anchor in ANCHORS):  # agents are measured against their own run's anchors
        shared = []
    merged = []
    for label, results in pooled:
        names = {agent: agent if agent in shared else labelled(agent, label) for agent in results.agents}
        merged.append(
            Results(
                tuple(replace(row, agent=names[row.agent]) for row in results.scores),
                tuple(replace(row, expert=names[row.expert]) for row in results.tasks),
                tuple(replace(row, agent=names[row.agent]) for row in results.costs if row.agent in names),
                tuple(replace(row, agent=names[row.agent]) for row in results.curves if row.agent in names),
            )
        )
    kept = merged[0]
    for results in merged[1:]:
        kept = Results(
            kept.scores + tuple(row for row in results.scores if row.agent not in shared),
            _together(kept.tasks, results.tasks),
            kept.costs + tuple(row for row in results.costs if row.agent not in shared),
            kept.curves + tuple(row for row in results.curves if row.agent not in shared),
        )
    return kept


def _together(first: Sequence[TaskRow], second: Sequence[TaskRow]) -> tuple[TaskRow, ...]:
    """Each task once; runs that amplify others than each other have no amplified tasks in common to speak of."""
    rows: dict[TaskRow, bool | None] = {}
    for row in (*first, *second):
        plain = replace(row, amplified=None)
        rows[plain] = row.amplified if rows.get(plain, row.amplified) == row.amplified else None
    return tuple(replace(plain, amplified=amplified) for plain, amplified in rows.items())


def _pool(runs: Sequence[Results]) -> Results:
    return Results(*(tuple(row for run in runs for row in getattr(run, name)) for name in FILES))


def _identity(results: Results, agent: str) -> set[ScoreRow | CostRow]:
    """What tells whether two runs have the very same agent: equal play alone may be two that solve every task.

    The times in its cost are those of one training; runs that share an agent have taken it over with them.
    """
    return {row for row in (*results.scores, *results.costs) if row.agent == agent}


def _method(folder: Path) -> dict[str, Any]:
    """The settings of a run that decide its results, but for the training seed."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text())
    except yaml.YAMLError as error:
        raise GatitoError(f"{folder / CONFIG} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, Mapping):
        raise GatitoError(f"{folder / CONFIG} has no settings: take it from the run's own stages, or run it again.")
    running = tuple(f"{name}." for name in _RUNNING)
    # An older run may lack what is not set.
    return {
        key: value for key, value in _flat(config).items() if value is not None and not f"{key}.".startswith(running)
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"width": 128}}`` → ``{"model.width": 128}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What sets each configuration apart, such as ``model=mini``, or its ``label``; empty where there is only one."""
    keys = sorted({key for config in configs for key in config} - {"label"})
    words = [str(config.get("label", "")) for config in configs]
    if len(configs) > 1 and len({*words, ""}) == len(configs) + 1:  # a word for each says it all
        return words
    differing = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    presets = [key.removesuffix(".name") for key in differing if key.endswith(".name")]
    shown = [key for key in differing if not any(key.startswith(f"{preset}.") for preset in presets)] + presets
    labels = _texts(configs, shown)
    return labels if len(set(labels)) == len(configs) else _texts(configs, differing)


def _texts(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    return [", ".join(f"{key}={config.get(key, config.get(f'{key}.name'))}" for key in keys) for config in configs]
