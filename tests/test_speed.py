import itertools

import pytest
import torch

from benchmarks.base.csv_rows import read_csv, to_csv
from tests.speed.__main__ import TABLE, all_cases, keep
from tests.speed.cases import Case, Measured, measure, timed
from tests.speed.check import check
from tests.speed.roofline import Machine, Traffic


def case(ours=(6.0,), theirs=(2.0,), name="toy", **settings):
    """A case with given measurements; the first of each is the warm-up."""
    own, other = itertools.cycle(ours), itertools.cycle(theirs)
    settings = {"quick": True} | settings
    return Case("toy", name, "a toy", 2.0, lambda: (lambda: next(own), lambda: next(other)), **settings)


def committed(ratio, name="toy"):
    return Measured("toy", name, "a toy", ratio, ratio, ratio, 2.0)


def test_ratios_are_of_pairs_that_were_measured_one_after_the_other():
    row = measure(case(ours=(0, 6, 8, 30), theirs=(1, 2, 4, 10)), 3)
    assert (row.ratio_median, row.ratio_min, row.ratio_max) == (3, 2, 3)


def test_lower_costs_are_better():
    assert measure(case(ours=(2.0,), theirs=(6.0,), cost=True), 1).ratio_median == 3


def test_a_long_case_is_repeated_less_often():
    turns = []
    long = Case(
        "toy", "long", "a toy", 1, lambda: (lambda: len(turns) or 1, lambda: turns.append(0) or 1), repetitions=2
    )
    measure(long, 5)
    assert len(turns) == 3  # one to warm up


def test_work_is_reported_as_a_rate(monkeypatch):
    clock = iter([10.0, 10.5])
    monkeypatch.setattr("tests.speed.cases.time.perf_counter", lambda: next(clock))
    assert timed(lambda: 4)() == 8


def test_a_ratio_that_fell_below_six_tenths_fails_by_name(capsys):
    slow = case(ours=(3.4,), name="slow")  # a ratio of 1.7 where 3 is committed: below 1.8
    assert check([case(), slow], [committed(3.0), committed(3.0, "slow")]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "SLOWER than 60 % of the committed ratio, 3 times: toy slow, against a toy"
    assert check([case(ours=(3.8,))], [committed(3.0)]) == 0


def test_a_disturbed_measurement_is_repeated():
    tries = iter([0.5, 2.9])
    assert check([case()], [committed(3.0)], lambda _, __: committed(next(tries))) == 0
    tries = iter([0.5, 0.5, 0.5, 2.9])
    assert check([case()], [committed(3.0)], lambda _, __: committed(next(tries))) == 1


def test_cases_without_a_reference_are_skipped(capsys):
    missing = case(needs=("no_such_package",))
    assert check([missing, case(name="new")], [committed(3.0)]) == 0
    output = capsys.readouterr().out
    assert "no_such_package not installed" in output
    assert "no committed row" in output


def test_rows_are_in_the_order_of_the_cases_and_old_ones_are_removed(tmp_path):
    cases, path = [case(name="one"), case(name="two")], tmp_path / "speed.csv"
    path.write_text(to_csv([committed(1.0, "gone"), committed(1.0, "one")], Measured))
    for row in (committed(2.0, "two"), committed(3.0, "one")):
        keep(row, cases, path)
    assert read_csv(path, Measured, "") == [committed(3.0, "one"), committed(2.0, "two")]


def test_the_committed_table_has_the_current_cases():
    cases = {case.key: case for case in all_cases()}
    assert len(cases) == len(all_cases())
    for row in read_csv(TABLE, Measured, ""):
        assert row.key in cases
        assert row.reach == pytest.approx(cases[row.key].reach)


def test_ci_measures_some_cases_of_every_stage_that_needs_no_peer():
    quick = [case for case in all_cases() if case.quick]
    stages = "decode distill evaluate grow read record start think"
    assert {case.stage for case in quick} == set(stages.split())


@pytest.mark.parametrize(
    "work, calls, flops, moved",
    [
        (lambda values: values @ values, 1, 2e6, 120_000),
        (lambda values: values.add_(1), 1, 0, 80_000),
        (lambda values: values.view(-1), 1, 0, 0),  # nothing is moved
        (lambda values: values.index_select(0, torch.arange(3)), 2, 0, 24 + 2 * 1200),  # three rows of a hundred
        (lambda values: torch.nn.functional.linear(values, values), 2, 2e6, 120_000),  # and a view
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_the_floor_counts_calls_arithmetic_and_bytes(work, calls, flops, moved, inference):
    machine = Machine(flops=1e9, bytes_moved={1 << size: 1e8 for size in range(18, 29, 2)}, call_seconds=1e-6)
    values = torch.zeros(100, 100)
    with torch.inference_mode(inference), Traffic(machine) as traffic:
        work(values)
    assert (traffic.calls, traffic.flops, traffic.moved) == (calls, flops, moved)
    assert traffic.floor == pytest.approx(max(flops / 1e9, moved / 1e8), rel=0.1)
