"""Comparison of several runs in one table: training seeds of one configuration are pooled, configurations labelled.

Run by ``gatito stages=[compare] runs=[A,B]``.
"""

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import digest, read_json, write_bytes, write_json, write_text
from benchmarks.base.environment import ENVIRONMENT
from benchmarks.base.errors import GatitoError, unknown
from benchmarks.base.renamed import first_old_key
from benchmarks.base.seals import check_seal, seal
from benchmarks.base.yaml_files import read_yaml
from benchmarks.play.game_records import SAMPLE_GAMES
from benchmarks.play.text_records import SAMPLE_IMAGES
from benchmarks.runs.run import CONFIG
from benchmarks.scoring.agents import ANCHORS, AgentId
from benchmarks.scoring.results import FILES, CostRow, CurveRow, Results, ScoreRow, TaskRow

ROUNDS = "rounds.csv"
"""Scores and costs of a run's rounds of amplification and distillation; see ``report.rounds``."""

_HEADING = "# "  # of a configuration's file, before its label
_EXECUTION = ("seed", "name", "stages", "runs", "runs_folder", "workers", "tracking", "clips", "engine", "hub")
_EXECUTION += ("evaluate.envs_per_task", "evaluate.max_envs", "distill.log_every", "distill.checkpoint_every")
_EXECUTION += ("distill.gradient_accumulation", "distill.device")
"""Settings, and groups of settings, of a run's execution and presentation, not of its method."""


def find_runs(names: Sequence[str], runs_folder: Path) -> list[Path]:
    """Find the folders of runs.

    Args:
        names: paths, or names or patterns (``classic-nano-seed*``) below the runs folder.
        runs_folder: the folder of all runs.

    Raises:
        GatitoError: if a run does not exist; the message lists those that do.
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
    """Name of a comparison's folder: the runs' common name without the training seed, or a digest of their names."""
    names = sorted({re.sub(r"-seed\d+", "", folder.name) for folder in folders})
    return names[0] if len(names) == 1 else f"compare-{digest(names)[:8]}"


def seeds_of_one_configuration(folders: Sequence[Path]) -> list[list[Path]]:
    """Groups of several runs that differ only in their training seed, with one run per seed."""
    groups: dict[str, dict[int, Path]] = {}
    for folder in folders:
        seed = int(read_yaml(folder / CONFIG)["seed"])
        groups.setdefault(str(sorted(_method(folder).items())), {}).setdefault(seed, folder)
    return [list(runs.values()) for runs in groups.values() if len(runs) > 1]


def compare(folders: Sequence[Path], into: Path) -> Results:
    """Merge the results of several runs into a results folder, with their configurations and clips.

    Args:
        folders: the runs' folders.
        into: the folder to write; not a run's, except that a single run may be written into its own folder.

    Raises:
        GatitoError: if a run has no results, rows do not fit together (see :meth:`Results.check`), or ``into`` is the
            folder of a run.
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
    for path in into.glob("config-[0-9]*.yaml"):  # an earlier comparison may have had more
        path.unlink()
    for number, (label, runs) in enumerate(grouped):
        heading = f"{_HEADING}{label}\n" if label else ""
        write_text(into / _config_name(number), heading + (runs[0] / CONFIG).read_text(encoding="utf-8"))
    environments = [
        read_json(folder / ENVIRONMENT, {"command": str}) for folder in folders if (folder / ENVIRONMENT).exists()
    ]
    if environments:
        commands = dict.fromkeys(environment["command"] for environment in environments)
        commits = dict.fromkeys(environment.get("git_commit") for environment in environments)
        origin = {"command": "\n".join(commands), "git_commit": ", ".join(filter(None, commits)) or None}
        write_json(into / ENVIRONMENT, environments[0] | origin)
    _copy_clips(folders, into)
    _merge_rounds(grouped, into)
    return merged


def configurations(folder: Path) -> list[tuple[str, Path]]:
    """The label and the settings of each configuration whose results a folder has, see :func:`compare`."""
    paths = list(takewhile(Path.exists, (folder / _config_name(number) for number in count())))
    lines = [path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] for path in paths]
    labels = [line.removeprefix(_HEADING) if line.startswith(_HEADING) else "" for line in lines]
    return list(zip(labels, paths, strict=True)) if len(paths) > 1 else [("", path) for path in paths]


def of_configuration(results: Results, label: str) -> Results:
    """The scores and costs of one configuration of a comparison and of what all share, as its run has them."""
    labels = ("", label)
    return Results(
        tuple(replace(row, label="") for row in results.scores if row.label in labels),
        tuple(replace(row, label="") for row in results.tasks if row.label in labels),
        tuple(replace(row, label="") for row in results.costs if row.label in labels),
    )


def _config_name(number: int) -> str:
    return CONFIG if number == 0 else f"config-{number}.yaml"


def _copy_clips(folders: Sequence[Path], into: Path) -> None:
    """Copy the clips, the recorded games and the pictures of the first run that has any."""
    for folder in folders:
        clips = [*sorted((folder / "clips").rglob("clip.*")), *folder.glob(SAMPLE_GAMES), *folder.glob(SAMPLE_IMAGES)]
        if clips and folder.resolve() != into.resolve():
            for path in clips:
                write_bytes(into / path.relative_to(folder), path.read_bytes())
            return


def _merge_rounds(grouped: Sequence[tuple[str, Sequence[Path]]], into: Path) -> None:
    """Concatenate the ``rounds.csv`` of all runs that have one, each row with its configuration's label."""
    text, writer = io.StringIO(), None
    for label, runs in grouped:
        for path in (run / ROUNDS for run in runs if (run / ROUNDS).exists()):
            check_seal(path.parent, [ROUNDS], "remove it and run with stages=[report], which writes it again.")
            reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
            if writer is None:
                writer = csv.DictWriter(text, reader.fieldnames or (), lineterminator="\n")
                writer.writeheader()
            writer.writerows(row | {"label": row["label"] or label} for row in reader)
    if writer is not None:
        write_text(into / ROUNDS, text.getvalue())
        seal(into, [ROUNDS])


def merge(groups: Sequence[tuple[str, Sequence[Results]]]) -> Results:
    """Merge results: runs of one group are pooled, agents of different groups get the group's label.

    An agent that is identical in all groups stays one agent without a label, provided that random and the experts are
    shared too.

    Args:
        groups: a label and the results of its runs (training seeds of one configuration).
    """
    pooled = [(label, _pool(results)) for label, results in groups]
    first = pooled[0][1]
    shared = {
        agent
        for agent in first.agents
        if all(_rows_of(results, agent) == _rows_of(first, agent) for _, results in pooled)
    }
    if not {AgentId(anchor) for anchor in ANCHORS} <= shared:  # agents are measured against their own run's anchors
        shared = set()
    labelled = [_with_label(results, label, shared) for label, results in pooled]
    merged = labelled[0]
    for results in labelled[1:]:
        merged = Results(
            merged.scores + tuple(row for row in results.scores if row.agent_id not in shared),
            _merge_tasks(merged.tasks, results.tasks),
            merged.costs + tuple(row for row in results.costs if row.agent_id not in shared),
            merged.curves + tuple(row for row in results.curves if row.agent_id not in shared),
            merged.moves + tuple(row for row in results.moves if row.agent_id not in shared),
            merged.texts + tuple(row for row in results.texts if row.agent_id not in shared),
        )
    return merged


def _with_label(results: Results, label: str, shared: Collection[AgentId]) -> Results:
    """The same rows with a label on agents that are not shared; rows of agents without scores are left out."""
    scored = set(results.agents)

    def label_of(agent: AgentId) -> str:
        return agent.label if agent in shared else ", ".join(filter(None, (agent.label, label)))

    return Results(
        tuple(replace(row, label=label_of(row.agent_id)) for row in results.scores),
        tuple(replace(row, label=label_of(row.expert_id)) for row in results.tasks),
        tuple(replace(row, label=label_of(row.agent_id)) for row in results.costs if row.agent_id in scored),
        tuple(replace(row, label=label_of(row.agent_id)) for row in results.curves if row.agent_id in scored),
        tuple(replace(row, label=label_of(row.agent_id)) for row in results.moves if row.agent_id in scored),
        tuple(replace(row, label=label_of(row.agent_id)) for row in results.texts if row.agent_id in scored),
    )


def _merge_tasks(first: Sequence[TaskRow], second: Sequence[TaskRow]) -> tuple[TaskRow, ...]:
    """Each task once; if runs disagree on whether a task is amplified, the merged row has None."""
    amplified: dict[TaskRow, bool | None] = {}
    for row in (*first, *second):
        key = replace(row, amplified=None)
        amplified[key] = row.amplified if amplified.get(key, row.amplified) == row.amplified else None
    return tuple(replace(key, amplified=value) for key, value in amplified.items())


def _pool(runs: Sequence[Results]) -> Results:
    return Results(*(tuple(row for run in runs for row in getattr(run, name)) for name in FILES))


def _rows_of(results: Results, agent: AgentId) -> set[ScoreRow | CostRow | CurveRow]:
    """The rows that decide whether two runs share an agent.

    Equal scores are not enough, since two agents may both solve every task: costs and learning curves must be equal
    too. Wall times may differ: runs that a launcher makes side by side each train what they have in common.
    """
    costs = (replace(row, train_seconds=0.0, play_seconds=0.0) for row in results.costs)
    return {row for row in (*results.scores, *costs, *results.curves) if row.agent_id == agent}


def _method(folder: Path) -> dict[str, Any]:
    """The settings that decide a run's results, without the training seed."""
    config = read_yaml(folder / CONFIG)
    if not isinstance(config, Mapping):
        raise GatitoError(f"{folder / CONFIG} has no settings: restore it, or run the run's stages again.")
    if renamed := first_old_key(config):
        raise GatitoError(f"{folder / CONFIG} is from an earlier version: {renamed} Run it again with name=NAME.")
    execution = tuple(f"{name}." for name in _EXECUTION)
    # A setting that was added after a run is missing from its file; new ones are off by default, so what is off is left
    # out: null, false, 0 and what is empty.
    return {key: value for key, value in _flat(config).items() if value and not f"{key}.".startswith(execution)}


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
    """The settings in which configurations differ, such as ``model=mini``, or each one's ``label``; empty for one."""
    keys = sorted({key for config in configs for key in config} - {"label"})
    given = [str(config.get("label", "")) for config in configs]
    if len(configs) > 1 and len({*given, ""}) == len(configs) + 1:  # every configuration has its own label
        return given
    differing = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    presets = [key.removesuffix(".name") for key in differing if key.endswith(".name")]
    shown = [key for key in differing if not any(key.startswith(f"{preset}.") for preset in presets)] + presets
    labels = _label_texts(configs, shown)
    return labels if len(set(labels)) == len(configs) else _label_texts(configs, differing)


def _label_texts(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    def value(config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401
        other = next((other[key] for other in configs if key in other), None)
        off = type(other)() if isinstance(other, int | float) else None  # what is off was left out
        return config.get(key, config.get(f"{key}.name", off))

    return [", ".join(f"{key}={value(config, key)}" for key in keys) for config in configs]
