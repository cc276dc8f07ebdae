"""CI's check: has any case become slower than in the committed table?"""

from collections.abc import Callable, Sequence

from tests.speed.cases import Case, Measured, measure

_LEAST = 0.6  # of the committed ratio; one commit had 0.67 and 0.47 of a product's peak on two machines of one kind
_TRIES = 3  # the best counts: other load can only make a case slower
_REPETITIONS = 3


def check(
    cases: Sequence[Case], committed: Sequence[Measured], measured: Callable[[Case, int], Measured] = measure
) -> int:
    """Measure cases and compare them with their committed rows.

    Args:
        cases: what to measure; those without a committed row, or without a package that they need, are passed over.
        committed: the table's rows.
        measured: how a case is measured.

    Returns:
        The exit code: 1 if a ratio stays below 60 % of the committed one in every try.
    """
    rows = {row.key: row for row in committed}
    slower = []
    for case in cases:
        if case.missing or case.key not in rows:
            why = f"{', '.join(case.missing)} not installed" if case.missing else "no committed row"
            print(f"{case.stage:8} {case.case:45} is left out: {why}", flush=True)
            continue
        least = _LEAST * rows[case.key].ratio_median
        for _ in range(_TRIES):
            row = measured(case, _REPETITIONS)
            print(f"{row}; committed {rows[case.key].ratio_median:.2f}", flush=True)
            if row.ratio_median >= least:
                break
        else:
            slower.append(f"{case.stage} {case.case}, against {case.against}")
    for name in slower:
        print(f"SLOWER than 60 % of the committed ratio, {_TRIES} times: {name}", flush=True)
    return 1 if slower else 0
