"""The README's results are those committed: ``python -m tests.readme`` puts them in, a test holds the two together."""

import functools
import itertools
import re
import statistics
from dataclasses import dataclass

import yaml

from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.report.report import score_results
from benchmarks.report.rounds import CAPTION, RoundRow, round_rows
from benchmarks.scoring.results import Results
from tests.conftest import ROOT
from tests.speed.cases import Measured

END = "<!-- end -->"
_MANY = 8  # cases of one kind that are told in one line


def table(suite: str, folder: str | None = None) -> str:
    """The headline, fractions and summary of a suite, from the results' folder of that name."""
    return (
        (ROOT / "results" / (folder or suite) / "table.md").read_text().partition(f"**{suite}: mean scores")[0].strip()
    )


def summary(suite: str) -> str:
    """The headline and summaries of a suite that has too many tasks for a table of each."""
    headline, _, rest = table(suite).partition("\n")
    return f"{headline}\n\n**{suite}: summary{rest.partition(f'**{suite}: summary')[2]}"


def brief(folder: str) -> str:
    """The headline and first summary of a results' folder."""
    headline, *parts = (ROOT / "results" / folder / "table.md").read_text().split("\n\n")
    return "\n\n".join([headline, *_first_summary(parts)])


ABLATIONS = sorted(path.parent for path in (ROOT / "results" / "ablation").glob("*/tasks.csv"))
"""Sweeps over what differs from the defaults whose results are committed, by suite."""


def ablation() -> str:
    """The first summary of each such sweep."""
    parts = [_first_summary((folder / "table.md").read_text().split("\n\n")) for folder in ABLATIONS]
    return "\n\n".join(part for summary in parts for part in summary)


def _first_summary(parts: list[str]) -> list[str]:
    [first] = [at for at, part in enumerate(parts) if re.match(r"\*\*[\w-]+: summary,", part)]
    return parts[first : first + 2]


IDA = sorted(path.parent for path in (ROOT / "results" / "ida").glob("*/tasks.csv"))
"""Runs of amplification and distillation whose results are committed."""


def ida() -> str:
    """The rounds of every such run."""
    blocks = []
    for folder in IDA:
        whole = (folder / "table.md").read_text()
        [rounds] = [part for part in whole.split("\n\n") if part.startswith("| round |")]
        config = yaml.safe_load((folder / "config.yaml").read_text())
        about = f"`{config['amplifier']['name']}`, {config['suite']['name']}, start {config['ida']['start']}"
        if held_out := config["distill"].get("held_out"):
            about += f", {len(held_out)} tasks held out"
        if not config["generalist"].get("deterministic", True):
            about += ", actions drawn"
        blocks.append(f"**{about}** ([`{folder.name}`](results/ida/{folder.name}))\n\n{rounds}")
    return "\n\n".join([*blocks, CAPTION])


@dataclass(frozen=True)
class RunRow(RoundRow):
    """A row and the run's folder, which tells apart runs that differ in other settings."""

    run: str


def rounds() -> str:
    """``results/ida/rounds.csv``: every agent of every round of all of them."""
    rows: list[RunRow] = []
    for folder in IDA:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        board = score_results(Results.read(folder))
        own = round_rows(board, config["amplifier"]["name"], config["ida"]["start"])
        rows += [RunRow(**vars(row), run=folder.name) for row in own]
    return to_csv(rows, RunRow)


def speed() -> str:
    """The table of speed, cases of one kind in a line where there are many."""
    lines = ["| stage | case | against | ratio (range) | to reach | reached |", "| :-- | :-- | :-- | --: | --: | --: |"]
    rows = read_csv(ROOT / "results" / "speed" / "speed.csv", Measured, "run python -m tests.speed")
    for (stage, against, reach), kind in itertools.groupby(rows, key=lambda row: (row.stage, row.against, row.reach)):
        group = list(kind)
        told = [(row.case, row.ratio_median, row.ratio_min, row.ratio_max) for row in group]
        if len(group) >= _MANY:
            ratios = [row.ratio_median for row in group]
            told = [(f"{len(group)} tasks", statistics.median(ratios), min(ratios), max(ratios))]
        for case, ratio, low, high in told:
            own = group if len(group) >= _MANY else [row for row in group if row.case == case]
            reached = sum(row.ratio_median >= reach for row in own)
            answer = f"{reached} of {len(own)}" if len(own) > 1 else "yes" if reached else "no"
            lines.append(
                f"| {stage} | {case} | {against} | {ratio:.2f} ({low:.2f} to {high:.2f}) | {reach:.3g} | {answer} |"
            )
    return "\n".join(lines)


BLOCKS = {
    "<!-- from results/mixed/table.md, by python -m tests.readme -->": functools.partial(table, "mixed"),
    "<!-- from results/mixed-practice/table.md, by python -m tests.readme -->": functools.partial(
        brief, "mixed-practice"
    ),
    "<!-- from results/metaworld/table.md, by python -m tests.readme -->": functools.partial(summary, "metaworld"),
    "<!-- from results/babyai/table.md, by python -m tests.readme -->": functools.partial(summary, "babyai"),
    "<!-- from results/babyai-drawn/table.md, by python -m tests.readme -->": functools.partial(brief, "babyai-drawn"),
    "<!-- from results/classic/table.md, by python -m tests.readme -->": functools.partial(table, "classic"),
    "<!-- from results/classic-multitask/table.md, by python -m tests.readme -->": functools.partial(
        table, "classic", "classic-multitask"
    ),
    "<!-- from results/ablation, by python -m tests.readme -->": ablation,
    "<!-- from results/ida, by python -m tests.readme -->": ida,
    "<!-- from results/speed/speed.csv, by python -m tests.readme -->": speed,
}
"""What the README holds between each of these lines and the next end."""


def shown(begin: str) -> str:
    """What the README says there."""
    return (ROOT / "README.md").read_text().partition(begin)[2].partition(END)[0].strip()


def write() -> None:
    """Put the committed results into the README, and the rounds of all runs into one file."""
    (ROOT / "results" / "ida" / "rounds.csv").write_text(rounds())
    for begin, committed in BLOCKS.items():
        before, _, rest = (ROOT / "README.md").read_text().partition(begin)
        (ROOT / "README.md").write_text(f"{before}{begin}\n{committed()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    write()
