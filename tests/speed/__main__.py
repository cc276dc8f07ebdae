"""``python -m tests.speed [WORD …]``: measure every case, or those whose name holds one of the words.

Rows go to ``results/speed/speed.csv`` as they are measured; rows of other cases stay. A case whose package is not
installed (``pip install -e '.[speed]'`` brings them all) says so and is left out.

``--check`` measures CI's small version and writes nothing; it fails where a ratio is below 60 % of the committed one.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.base.artifacts import write_json, write_text
from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.environment import describe_environment
from tests.conftest import ROOT
from tests.speed import (
    atari,
    decoding,
    distilling,
    evaluating,
    growth,
    guard,
    learning,
    memory,
    reading,
    recording,
    self_play,
    starting,
    thinking,
    training,
)
from tests.speed.cases import Case, Measured, measure
from tests.speed.check import check

FOLDER = ROOT / "results" / "speed"
TABLE = FOLDER / "speed.csv"
MODULES = (
    evaluating,
    decoding,
    distilling,
    training,
    learning,
    atari,
    reading,
    recording,
    thinking,
    self_play,
    memory,
    growth,
    guard,
    starting,
)


def all_cases() -> list[Case]:
    """All comparisons, in the order of the table's rows."""
    return [case for module in MODULES for case in module.cases()]


def main() -> int:
    """Measure, print and keep; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="parts of the cases' names; all cases without")
    parser.add_argument("--repetitions", type=int, default=5, help="pairs of measurements a case (5)")
    parser.add_argument("--check", action="store_true", help="hold CI's small version against the committed rows")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    cases = all_cases()
    names = {f"{case.stage} {case.case}, {case.against}": case for case in cases}
    words = arguments.words or [""]
    chosen = [case for name, case in names.items() if any(word in name for word in words)]
    if not chosen:
        parser.error(f"no case holds {' or '.join(words)}; there are: {'; '.join(names)}")
    if arguments.check:
        return check([case for case in chosen if case.quick], read_csv(TABLE, Measured, "python -m tests.speed"))
    write_json(FOLDER / "machine.json", describe_environment("python -m tests.speed") | {"peers": _peers(cases)})
    for case in chosen:
        if case.missing:
            print(f"{case.stage:8} {case.case:45} is left out: {', '.join(case.missing)} not installed", flush=True)
            continue
        row = measure(case, arguments.repetitions)
        keep(row, cases, TABLE)
        print(row, flush=True)
    return 0


def keep(row: Measured, cases: Sequence[Case], path: Path) -> None:
    """Insert a row into the table in order; rows of removed cases are dropped."""
    rows = {old.key: old for old in (read_csv(path, Measured, "") if path.exists() else [])} | {row.key: row}
    write_text(path, to_csv([rows[case.key] for case in cases if case.key in rows], Measured))


def _peers(cases: Sequence[Case]) -> dict[str, str]:
    needed = {name for case in cases for name in case.needs if not case.missing}
    packages = importlib.metadata.packages_distributions()
    return {name: importlib.metadata.version(packages[name][0]) for name in sorted(needed)}


if __name__ == "__main__":
    sys.exit(main())
