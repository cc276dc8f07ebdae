"""``python -m tests.speed [WORD …]``: measure every case, or those whose name holds one of the words.

Rows go to ``results/speed/speed.csv`` as they are measured; rows of other cases stay.
"""

import argparse
import sys

from benchmarks.artifacts import write_json, write_text
from benchmarks.environment import describe_environment
from benchmarks.tidy import read_csv, to_csv
from tests.conftest import ROOT
from tests.speed import atari, memory, recording
from tests.speed.cases import Measured, measure

FOLDER = ROOT / "results" / "speed"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="parts of the cases' names; all cases without")
    parser.add_argument("--repetitions", type=int, default=5, help="pairs of measurements a case (5)")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    cases = [case for module in (atari, recording, memory) for case in module.cases()]
    names = {f"{case.stage} {case.case}": case for case in cases}
    words = arguments.words or [""]
    chosen = [case for name, case in names.items() if any(word in name for word in words)]
    if not chosen:
        parser.error(f"no case holds {' or '.join(words)}; there are: {'; '.join(names)}")
    path = FOLDER / "speed.csv"
    rows = {(row.stage, row.case, row.against): row for row in (read_csv(path, Measured, "") if path.exists() else [])}
    write_json(FOLDER / "machine.json", describe_environment("python -m tests.speed"))
    for case in chosen:
        row = measure(case, arguments.repetitions)
        rows[row.stage, row.case, row.against] = row
        order = {(case.stage, case.case, case.against): place for place, case in enumerate(cases)}
        kept = sorted(
            (row for key, row in rows.items() if key in order), key=lambda row: order[row.stage, row.case, row.against]
        )
        write_text(path, to_csv(kept, Measured))
        print(
            f"{row.stage:8} {row.case:45} {row.ratio_median:6.2f} ({row.ratio_min:.2f} to {row.ratio_max:.2f}) "
            f"of {row.against}, to reach {row.reach:g}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
