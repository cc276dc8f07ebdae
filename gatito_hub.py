"""The Hugging Face Hub from the command line: ``stages=[push]``, ``generalist=hub:NAME`` and ``experts=hub:NAME``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.base import console
from benchmarks.base.csv_rows import read_csv
from benchmarks.base.environment import ENVIRONMENT
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.base.files import TEMPORARY, read_json
from benchmarks.play.trajectories import Trajectories
from benchmarks.report.formats import plural
from benchmarks.runs.hub import check_push, fetch, push
from benchmarks.runs.run import CONFIG
from benchmarks.runs.stage import require
from benchmarks.scoring.agents import AgentId
from experts.minari_export import export_dataset
from experts.released import release

if TYPE_CHECKING:
    from gatito import Plan
    from gatito_configuration import Config

_TABLE, _ROWS = "table.md", "table.csv"
_NO_LIMIT = float("inf")


def use_hub(config: "Config") -> None:
    """Fetch the released generalist and experts that are named by repository, and check where a push goes.

    Raises:
        FatalError: see :func:`benchmarks.runs.hub.fetch` and :func:`benchmarks.runs.hub.check_push`.
    """
    for group, kind in ((config.generalist, "generalist"), (config.experts, "experts")):
        if group.hub is not None:
            if group.source != "released":
                raise FatalError(f"{kind}.hub={group.hub} needs {kind}=released: write {kind}=hub:{group.hub}.")
            group.hub, folder = fetch(group.hub, kind, Path(config.runs_folder))
            group.released = str(folder)
    if "push" in config.stages:
        check_push(config.hub)


def push_run(plan: "Plan") -> None:
    """Send a run's generalist, experts or recordings.

    Raises:
        GatitoError: if they are not finished, or the Hub refuses.
    """
    run, config = plan.run, plan.config
    with tempfile.TemporaryDirectory(prefix=".push-", suffix=TEMPORARY, dir=run.folder) as place:
        folder = Path(place) / "repository"
        folder.mkdir()
        round_ = _stage(plan, folder)
        facts: dict[str, Any] = {"suite": run.suite.name, "seed": run.seed}
        facts |= {"tasks": [task.name for task in run.survivors()]} | ({"round": round_} if round_ else {})
        text = card(run.folder, config.hub.what, str(config.hub.repo), facts)
        address = push(folder, text, config.hub, facts)
    use = f"use it with {config.hub.what}=hub:{config.hub.repo}"
    if config.hub.what == "recordings":
        use = "download it into MINARI_DATASETS_PATH for minari.load_dataset"
    console.note(f"{address}: {use}")


def _stage(plan: "Plan", folder: Path) -> int | None:
    """Put the files to send into a folder; the round of amplification that made them, if they are a generalist's."""
    run, config, suite = plan.run, plan.config, plan.run.survivors()
    if config.hub.what == "generalist":
        if not plan.generalist.exists:
            raise GatitoError("hub.what=generalist: this run has no generalist (generalist=none).")
        from generalist.released import release_generalist  # imports torch

        plan.generalist.adopt_released()
        round_, newest = plan.generalist.newest()
        release_generalist(newest, folder, _NO_LIMIT)
        return round_
    if config.hub.what == "experts":
        recipes = {task.name: plan.experts.recipe(task) for task in suite}
        if not release(suite, run.folder, folder, recipes, config.experts, run.seed):
            raise GatitoError("hub.what=experts: all experts of this run are released ones, so there is none to send.")
    else:
        recordings = plan.experts.recordings()
        require(recordings, "record")
        for task in suite:
            export_dataset(task, "expert", Trajectories(recordings[task.name].folder), folder)
    return None


def card(run: Path, what: str, repository: str, facts: dict[str, Any]) -> str:
    """The text of ``README.md``: tables with intervals, settings and command, and the metadata that the Hub reads.

    Args:
        run: the run's folder.
        what: the kind of content.
        repository: ``OWNER/NAME``.
        facts: ``suite``, ``seed`` and ``tasks`` of the run, and the ``round`` of amplification that made
            the generalist, if there are rounds.
    """
    from huggingface_hub import DatasetCardData, ModelCardData

    tags = ["reinforcement-learning", "gatito", f"gatito-{what}"]
    if what == "recordings":
        data = DatasetCardData(license="mit", tags=[*tags, "minari"], pretty_name=f"gatito: {facts['suite']}")
    else:
        agent = AgentId("generalist", facts.get("round")) if what == "generalist" else AgentId("expert")
        results = _metadata(run, agent)
        if not results:
            console.note(
                f"the card has no scores of {agent}: run stages=[evaluate,report] to score it "
                "(ida.score_every=1 scores every round), then push again"
            )
        data = ModelCardData(
            license="mit",
            library_name="gatito",
            tags=tags,
            model_name=repository.rpartition("/")[2] if results else None,
            eval_results=results or None,
        )
    use = {
        "generalist": f"gatito suite={facts['suite']} generalist=hub:{repository}",
        "experts": f"gatito suite={facts['suite']} experts=hub:{repository}",
        "recordings": f"hf download {repository} --repo-type dataset --local-dir minari\n"
        "MINARI_DATASETS_PATH=$PWD/minari minari list local",
    }[what]
    after = f", after round {facts['round']}" if "round" in facts else ""
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repository.rpartition('/')[2]}",
        f"The {what} of a run of gatito on the suite `{facts['suite']}` (training seed {facts['seed']}, "
        f"{len(facts['tasks'])} {plural(len(facts['tasks']), 'task')}{after}). "
        "Files are safetensors, JSON and CSV, with their sha256 in `gatito.json`.",
        f"```bash\n{use}\n```",
    ]
    if (run / _TABLE).exists():
        parts += ["## Scores", (run / _TABLE).read_text(encoding="utf-8").strip()]
    if (run / ENVIRONMENT).exists():
        command = read_json(run / ENVIRONMENT, {"command": str})["command"]
        parts += ["## How it was made", f"```bash\n{command}\n```"]
    if (run / CONFIG).exists():
        settings = (run / CONFIG).read_text(encoding="utf-8").strip()
        parts += [f"<details><summary>All settings</summary>\n\n```yaml\n{settings}\n```\n\n</details>"]
    return "\n\n".join(parts) + "\n"


def _metadata(run: Path, agent: AgentId) -> list[Any]:
    """One result per task and summary, in the Hub's format of a model index."""
    from huggingface_hub import EvalResult

    from benchmarks.report.tables import TidyScore

    if not (run / _ROWS).exists():
        return []
    results = []
    for row in read_csv(run / _ROWS, TidyScore, "run stages=[report] first."):
        if AgentId(row.agent, row.round, row.label) != agent:
            continue
        metrics = [("mean_reward", "mean score", row.raw), ("f", "fraction of the expert", row.f)]
        for metric, name, value in metrics:
            if value is None or (metric == "f" and agent.name == "expert"):
                continue
            known = metric == "f" and row.f_low is not None
            interval = f" [{row.f_low:.3f}, {row.f_high:.3f}]" if known else ""
            results.append(
                EvalResult(
                    task_type="reinforcement-learning",
                    task_name="reinforcement learning",
                    dataset_type=f"gatito-{row.suite}",
                    dataset_name=f"{row.suite}: {row.task}",
                    metric_type=metric,
                    metric_name=name + interval,
                    metric_value=round(value, 4),
                )
            )
    return results
