"""Weights & Biases beyond the curves that :mod:`.tracking` mirrors: report, lineage, workspace.

:func:`log_report` and :func:`log_lineage` are passed to a tracker as ``log_more``, so that their failures do not affect
the gatito run. :func:`workspace` defines the project's dashboard in code; it is saved once per suite.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.base.artifacts import MANIFEST, Artifact, read_manifest
from benchmarks.base.errors import GatitoError
from benchmarks.runs.stage import JOB_TYPES

if TYPE_CHECKING:
    import wandb
    from wandb_workspaces.reports.v2 import CustomChart
    from wandb_workspaces.workspaces import Workspace

TableData = tuple[Sequence[str], Sequence[Sequence[object]]]
"""Column names, and one sequence of as many values per row."""

UPLOAD_LIMIT = 32 * 2**20  # bytes; the nano and mini models and classic recordings fit

TASK_TABLE = "report/tasks"
SUITE_TABLE = "report/suite"
THRESHOLDS = "report/thresholds"
FRACTIONS = "report/fractions"  # followed by /AGENT
PAGE = "report/page"
CLIPS = "clips"  # followed by /TASK

_ALIAS = 12  # characters of a fingerprint that are its alias in W&B
_LINES = ("wandb/lineseries/v0", {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"})  # as in wandb.plot
_BARS = ("wandb/bar/v0", {"label": "task", "value": "fraction"})
_THRESHOLD_TITLES = ("share of tasks at or above a fraction", "fraction of the expert")  # of the chart, of its x axis


def log_report(
    run: "wandb.Run",
    *,
    task_table: TableData,
    suite_table: TableData,
    thresholds: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    fractions: Mapping[str, Mapping[str, float]],
    clips: Mapping[str, Path],
    page: Path | None = None,
) -> None:
    """Log tables, charts, clips and the HTML page of a finished report, in one step.

    Args:
        run: an open W&B run, online or offline.
        task_table: scores per task; None for missing numbers.
        suite_table: the suite's summary, likewise.
        thresholds: by agent, fractions of the expert and the share of tasks (0 to 1) at or above each, ``(points,)``.
        fractions: f by agent and task, without unscored tasks.
        clips: an ``.mp4`` file by task name.
        page: the report as one self-contained HTML file.

    Raises:
        OSError: if a clip or the page is missing.
        TypeError: if a column of a table mixes text and numbers.
        ValueError: if a clip is not a video file.
    """
    import wandb

    def table(data: TableData) -> wandb.Table:
        columns, rows = data
        return wandb.Table(columns=list(columns), data=[list(row) for row in rows])

    media: dict[str, Any] = {TASK_TABLE: table(task_table), SUITE_TABLE: table(suite_table)}
    if thresholds:
        xs, ys = ([list(curve[axis]) for curve in thresholds.values()] for axis in (0, 1))
        media[THRESHOLDS] = wandb.plot.line_series(xs, ys, list(thresholds), *_THRESHOLD_TITLES)
    for agent, values in fractions.items():
        bars = table((("task", "fraction"), list(values.items())))
        media[f"{FRACTIONS}/{agent}"] = wandb.plot.bar(bars, "task", "fraction", title=agent)
    for task, path in clips.items():
        media[f"{CLIPS}/{task}"] = wandb.Video(str(path), caption=task, format="mp4")
    if page is not None:
        media[PAGE] = wandb.Html(page.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)
    run.log(media)


def log_lineage(run: "wandb.Run", made: Sequence[Artifact], folder: Path, *, upload_limit: int = UPLOAD_LIMIT) -> None:
    """Log the artifacts that a stage made as the W&B run's outputs, and the artifacts' inputs as its inputs.

    The inputs are found in the gatito run's folder by their fingerprints. W&B records the inputs of online runs only;
    the metadata of every output names them, so nothing is lost offline. Unfinished artifacts are left out.

    Args:
        run: the stage's open W&B run.
        made: the artifacts that the stage made.
        folder: the gatito run's folder.
        upload_limit: bytes; of a larger artifact, only the manifest with the checksums of its files is uploaded.

    Raises:
        GatitoError: if a manifest in the folder is damaged.
    """
    finished = _finished(folder)
    draft = functools.partial(_draft, finished=finished, folder=folder, upload_limit=upload_limit)
    outputs = [artifact for artifact in made if artifact.fingerprint in finished]
    if not run.offline:
        for fingerprint in dict.fromkeys(value for artifact in outputs for value in artifact.inputs.values()):
            if fingerprint in finished:  # in W&B, a draft with the same files is the same version
                run.use_artifact(draft(fingerprint))
    for artifact in outputs:
        run.log_artifact(draft(artifact.fingerprint), aliases=[artifact.fingerprint[:_ALIAS]])


_Finished = Mapping[str, tuple[Path, Mapping[str, Any]]]  # folder and manifest by fingerprint


def _finished(folder: Path) -> _Finished:
    """Every finished artifact in a gatito run's folder."""
    found = {path.parent: read_manifest(path.parent) for path in sorted(folder.rglob(MANIFEST))}
    return {manifest["fingerprint"]: (where, manifest) for where, manifest in found.items() if manifest}


def _draft(fingerprint: str, *, finished: _Finished, folder: Path, upload_limit: int) -> "wandb.Artifact":
    """W&B's artifact, not logged yet: the manifest and, if they are small together, all files; facts as metadata."""
    import wandb

    where, manifest = finished[fingerprint]
    size = sum(file["bytes"] for file in manifest["files"].values())
    metadata = {key: value for key, value in manifest.items() if key not in ("kind", "files", "inputs", "complete")}
    metadata |= {"run": folder.name, "bytes": size, "files": len(manifest["files"]), "uploaded": size <= upload_limit}
    metadata["inputs"] = {
        name: {"fingerprint": key, "artifact": _name(finished[key][0], folder) if key in finished else None}
        for name, key in manifest["inputs"].items()
    }
    draft = wandb.Artifact(_name(where, folder), type=manifest["kind"], metadata=metadata)
    for name in [MANIFEST, *(manifest["files"] if size <= upload_limit else ())]:
        # Immutable: not copied to a staging folder. Absolute: an offline run may be synced from anywhere.
        draft.add_file(str((where / name).resolve()), name=name, policy="immutable", skip_cache=True)
    return draft


def _name(where: Path, folder: Path) -> str:
    """``experts/classic/cartpole`` → ``experts-classic-cartpole``, with the characters and length that W&B allows."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", where.relative_to(folder).as_posix())[-128:]


def workspace(entity: str, project: str, suite: str, agents: Sequence[str], tasks: Sequence[str]) -> "Workspace":
    """The dashboard of a suite in a W&B project: runs grouped by gatito run and stage, panels by section.

    Args:
        entity: the W&B team or user.
        project: the W&B project.
        suite: the suite's name; other suites' runs are filtered out.
        agents: agents whose fractions are shown, in this order.
        tasks: the suite's task names, in this order.

    Returns:
        The workspace, not saved yet; nothing has been sent.

    Raises:
        GatitoError: if the package ``wandb-workspaces`` is missing.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ImportError:
        raise GatitoError("workspaces need one more package: pip install wandb-workspaces") from None

    def chart(key: str, kind: tuple[str, dict[str, str]], texts: dict[str, str]) -> "CustomChart":
        query = {"id": None, "name": None, "summaryTable": {"tableKey": f"{key}_table"}}  # as in wandb.plot
        return wr.CustomChart(query=query, chart_name=kind[0], chart_fields=kind[1], chart_strings=texts)

    def mean_of_tasks(metric: str) -> wr.LinePlot:
        return wr.LinePlot(
            title=metric,
            x="global_step",
            y=[metric],
            title_x="environment steps",
            groupby=wr.Config("env_id"),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )

    def curve(metric: str) -> wr.LinePlot:
        return wr.LinePlot(title=metric, x="global_step", y=[metric], title_x="updates")

    def section(name: str, panels: list[Any], columns: int = 2) -> ws.Section:
        layout = ws.SectionLayoutSettings(columns=columns, rows=-(-len(panels) // columns) or 1)
        return ws.Section(name=name, panels=panels, is_open=True, layout_settings=layout)

    headline = [wr.WeavePanelSummaryTable(table_name=key) for key in (SUITE_TABLE, TASK_TABLE)]
    headline += [chart(THRESHOLDS, _LINES, dict(zip(("title", "xname"), _THRESHOLD_TITLES, strict=True)))]
    headline += [chart(f"{FRACTIONS}/{agent}", _BARS, {"title": agent}) for agent in agents]
    headline += [wr.MediaBrowser(title="report", media_keys=[PAGE], num_columns=1)]
    kept = [wr.BarPlot(title=agent, metrics=[f"f/{task}/{agent}" for task in tasks]) for agent in agents]
    learning = [mean_of_tasks(metric) for metric in ("charts/episodic_return", "selection/mean")]
    distilling = [curve(f"distill/{name}") for name in ("loss", "accuracy", "learning_rate")]
    returns = [wr.BarPlot(title=task, metrics=[f"evaluate/{task}/{agent}" for agent in agents]) for task in tasks]
    clips = [wr.MediaBrowser(title=task, media_keys=[f"{CLIPS}/{task}"], num_columns=1) for task in tasks]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"gatito {suite}",
        sections=[
            section("headline", headline),
            section("fraction of the expert", kept),
            section("expert learning curves", learning),
            section("distillation", distilling, columns=3),
            section("evaluation: mean scores", returns, columns=3),
            section("clips", clips, columns=3),
        ],
        settings=ws.WorkspaceSettings(x_axis="global_step", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Config("suite") == suite, expr.Metric("JobType").isin(list(JOB_TYPES))),
            groupby=[expr.Metric("Group"), expr.Metric("JobType")],
        ),
    )


def save_workspace(view: "Workspace") -> str:
    """Save a workspace as a new view of its project.

    Returns:
        Its URL.

    Raises:
        GatitoError: without key, network or project.
    """
    try:
        view.save()
        return view.url
    except Exception as error:  # W&B's errors share no base class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = f"log in with `wandb login`, and check the network and that {view.entity}/{view.project} exists."
        raise GatitoError(f"the workspace was not saved ({reason}): {remedy}") from None
