"""Generated tables of the README and of docs/, from the committed results.

Run by ``python -m benchmarks.report.docs``, from the repository's root. A page holds pairs of comments::

    <!-- generated: summary mixed -->
    …
    <!-- end -->

and everything between them is replaced by the block of that name (see :data:`BLOCKS`). A test fails if a page is stale.
The same command writes ``results/ida/rounds.csv``, the rounds of all committed runs.
"""

import argparse
import csv
import itertools
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

from benchmarks.base.artifacts import write_text
from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.report.formats import magnitude
from benchmarks.report.report import round_rows_by_seed
from benchmarks.report.rounds import CAPTION, RoundRow
from benchmarks.report.tables import TidyScore
from benchmarks.scoring.agents import ANCHORS, AgentId, last_rounds
from benchmarks.scoring.results import CostRow, Results

HEADLINE = ("mixed", "mixed-dagger", "metaworld", "babyai", "babyai-stochastic", "classic")
"""Results folders in the README's headline table."""

_MARKER = re.compile(r"(<!-- generated: (\w+)((?: [\w.-]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
_REMEDY = "take it from the repository."
_SEEDS = 5  # of trained learners
_GROUP_FROM = 8  # speed measurements of one kind share a line from this number on


@dataclass(frozen=True)
class RunRow(RoundRow):
    """A row of ``results/ida/rounds.csv``: a :class:`RoundRow` with the name of the run's folder."""

    run: str


def pages(root: Path) -> list[Path]:
    """The pages that may have generated parts."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def refreshed(text: str, results: Path) -> str:
    """A page's text with every generated part refreshed.

    Raises:
        KeyError: if a marker names an unknown block.
    """

    def draw(match: re.Match[str]) -> str:
        begin, name, arguments, end = match.groups()
        return f"{begin}{BLOCKS[name](results, *arguments.split())}\n{end}"

    return _MARKER.sub(draw, text)


def headline(results: Path) -> str:
    """One line per suite: tasks, parameters, IQM with its interval, training seeds, and a link to the folder."""
    lines = [
        "| results | suite | tasks | parameters | IQM of f | training seeds |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for name in HEADLINE:
        folder = results / name
        rows = [row for row in read_csv(folder / "table.csv", TidyScore, _REMEDY) if row.agent == "generalist"]
        [iqm] = [row for row in rows if row.task == "IQM"]
        scored = sum(row.f is not None and row.raw is not None for row in rows)
        costs = read_csv(folder / "costs.csv", CostRow, _REMEDY)
        parameters = max(row.parameters for row in costs if row.agent == "generalist")
        value = f"{iqm.f:.3f} [{iqm.f_low:.3f}, {iqm.f_high:.3f}]"
        cells = [
            f"[`{name}`](results/{name})",
            iqm.suite,
            str(scored),
            magnitude(parameters),
            value,
            str(iqm.train_seeds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def scores(results: Path, folder: str) -> str:
    """A folder's headline, fractions per task and summaries."""
    return _parts(results / folder, "fraction of the expert", "summary", "summary by return in place of success")


def summary(results: Path, folder: str) -> str:
    """A folder's headline and summaries."""
    return _parts(results / folder, "summary", "summary by return in place of success")


def ablation(results: Path) -> str:
    """The summary of every sweep over the variants of distillation."""
    folders = sorted(path.parent for path in (results / "ablation").glob("*/tasks.csv"))
    return "\n\n".join(_parts(folder, "summary", with_headline=False) for folder in folders)


def ida(results: Path) -> str:
    """The rounds of every committed run of amplification and distillation."""
    blocks = []
    for folder in ida_folders(results):
        text = (folder / "table.md").read_text(encoding="utf-8")
        [rounds] = [part for part in text.split("\n\n") if part.startswith("| round |")]
        blocks.append(f"**{_run_title(folder)}** (`results/ida/{folder.name}`)\n\n{rounds}")
    return "\n\n".join([*blocks, CAPTION])


def leaderboard(results: Path) -> str:
    """Every suite's agents by their IQM, best first, from the score files of all folders right below ``results``.

    Of rounds, the last is shown: the best would be chosen on test episodes.
    """
    entries: dict[str, list[tuple[float, list[str]]]] = {}
    for folder in sorted(path.parent for path in results.glob("*/table.csv")):
        parameters = {
            (row.agent, row.round, row.label): row.parameters
            for row in read_csv(folder / "costs.csv", CostRow, _REMEDY)
        }
        rows = _table_rows(folder)
        scored = {row["task"] for row in rows if row["raw"] and row["f"]}
        means = {_agent_of(row): row for row in rows if row["task"] == "mean"}
        agents = {
            AgentId(row["agent"], int(row["round"]) if row["round"] else None, row["label"]): row
            for row in rows
            if row["task"] == "IQM" and row["agent"] not in ANCHORS
        }
        for agent in last_rounds(agents):
            row = agents[agent]
            mean = means[_agent_of(row)]
            size = parameters.get((agent.name, agent.round, agent.label))
            cells = [
                str(agent),
                f"[`{folder.name}`](../results/{folder.name})",
                f"{float(row['f']):.3f} [{float(row['f_low']):.3f}, {float(row['f_high']):.3f}]",
                f"{float(mean['f']):.3f}",
                str(len(scored)),
                "" if size is None else magnitude(size),
                f"{row['train_seeds']}{' (preliminary)' if row['preliminary'] == '1' else ''}",
            ]
            entries.setdefault(row["suite"], []).append((float(row["f"]), cells))
    parts = []
    for suite, found in sorted(entries.items()):
        lines = ["| agent | results | IQM of f | mean of f | tasks | parameters | training seeds |"]
        lines.append("| :-- | :-- | --: | --: | --: | --: | --: |")
        best_first = sorted(found, key=lambda entry: -entry[0])
        lines += [f"| {' | '.join(cells)} |" for _, cells in best_first]
        parts.append(f"**{suite}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _table_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _agent_of(row: dict[str, str]) -> tuple[str, str, str]:
    return row["agent"], row["round"], row["label"]


def speed(results: Path) -> str:
    """Speed ratios against other packages; many cases of one kind share a line."""
    with (results / "speed" / "speed.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = ["| stage | case | against | ratio (range) | target | reached |", "| :-- | :-- | :-- | --: | --: | --: |"]
    for (stage, against, target), kind in itertools.groupby(
        rows, lambda row: (row["stage"], row["against"], row["reach"])
    ):
        group = list(kind)
        grouped = len(group) >= _GROUP_FROM
        for members in [group] if grouped else [[row] for row in group]:
            medians = [float(row["ratio_median"]) for row in members]
            low = min(medians) if grouped else float(members[0]["ratio_min"])
            high = max(medians) if grouped else float(members[0]["ratio_max"])
            reached = sum(median >= float(target) for median in medians)
            answer = f"{reached} of {len(medians)}" if grouped else "yes" if reached else "no"
            case = f"{len(members)} tasks" if grouped else members[0]["case"]
            ratio = f"{statistics.median(medians):.2f} ({low:.2f} to {high:.2f})"
            lines.append(f"| {stage} | {case} | {against} | {ratio} | {float(target):.3g} | {answer} |")
    return "\n".join(lines)


def roofline(results: Path) -> str:
    """How far stages are from the machine's limits."""
    with (results / "speed" / "roofline.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| stage | time | arithmetic at peak | with what is moved | calls | time at the limits |",
        "| :-- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        seconds, arithmetic, floor, calls = (
            f"{1000 * float(row[name]):#.2g} ms".replace(". ", " ")
            if float(row[name]) < 0.1
            else f"{float(row[name]):.2f} s"
            for name in ("seconds", "arithmetic", "floor", "call_floor")
        )
        times, calls = f"{seconds} | {arithmetic} | {floor}", f"{row['calls']}: {calls}"
        lines.append(f"| {row['stage']} | {times} | {calls} | {100 * float(row['of_floor']):.0f} % |")
    return "\n".join(lines)


def returns(results: Path) -> str:
    """What experts reach with gradients by hand and with stable-baselines3's updates, where all seeds are there."""
    with (results / "speed" / "returns.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = ["| task | algorithm | by hand | stable-baselines3's updates |", "| :-- | :-- | --: | --: |"]
    for (task, algorithm), group in itertools.groupby(rows, lambda row: (row["task"], row["algorithm"])):
        scores: dict[str, list[float]] = {}
        for row in group:
            scores.setdefault(row["gradients"], []).append(float(row["mean_return"]))
        if all(len(values) == _SEEDS for values in scores.values()) and len(scores) == 2:
            cells = [_mean_with_interval(values) for _, values in sorted(scores.items())]
            lines.append(f"| {task} | {algorithm.upper()} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_with_interval(values: Sequence[float]) -> str:
    """The mean, and its 95 % interval by Student's t."""
    mean, count = statistics.fmean(values), len(values)
    half = float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(values) / count**0.5
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]"


BLOCKS: dict[str, Callable[..., str]] = {
    "headline": headline,
    "scores": scores,
    "summary": summary,
    "ablation": ablation,
    "ida": ida,
    "speed": speed,
    "roofline": roofline,
    "returns": returns,
    "leaderboard": leaderboard,
}
"""Generated parts by the name in their marker; further words of the marker are arguments."""


def ida_folders(results: Path) -> list[Path]:
    """Committed runs of amplification and distillation."""
    return sorted(path.parent for path in (results / "ida").glob("*/tasks.csv"))


def all_rounds(results: Path) -> str:
    """Content of ``results/ida/rounds.csv``: every agent of every round of all committed runs."""
    rows: list[RunRow] = []
    for folder in ida_folders(results):
        config = _config(folder)
        found = round_rows_by_seed(Results.read(folder), config["amplifier"]["name"], config["ida"]["start"])
        rows += [RunRow(**vars(row), run=folder.name) for row in found]
    return to_csv(rows, RunRow)


def _parts(folder: Path, *titles: str, with_headline: bool = True) -> str:
    """The headline and the tables with these titles from a folder's ``table.md``."""
    parts = (folder / "table.md").read_text(encoding="utf-8").strip().split("\n\n")
    kept = parts[:1] if with_headline else []
    for place, part in enumerate(parts):
        title = re.fullmatch(r"\*\*[\w-]+: (.*?), (?:preliminary: )?\w+ training seeds?\*\*", part)
        if title and title.group(1) in titles:
            kept += parts[place : place + 3]  # title, table, caption
    return "\n\n".join(kept)


def _run_title(folder: Path) -> str:
    config = _config(folder)
    title = f"`{config['amplifier']['name']}`, {config['suite']['name']}, start {config['ida']['start']}"
    if held_out := config["distill"].get("held_out"):
        title += f", {len(held_out)} tasks held out"
    if config["generalist"].get("deterministic") is False:
        title += ", actions sampled"
    return title


def _config(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def main() -> None:
    """Refresh every page, and ``results/ida/rounds.csv``."""
    parser = argparse.ArgumentParser(description="Refresh the generated tables of README.md and docs/.")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    parser.add_argument("--results", type=Path, help="results to draw from; default: ROOT/results")
    options = parser.parse_args()
    results = options.results or options.root / "results"
    write_text(results / "ida" / "rounds.csv", all_rounds(results))
    for page in pages(options.root):
        write_text(page, refreshed(page.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
