"""Plans: estimates from measured rates, and the rates that a command leaves behind."""

import csv

import pytest

from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.runs.engines.job import Job, Outcome
from benchmarks.runs.rates import RATES, Measurement, Rate, Rates
from gatito_plan import PlannedStage, work_of
from generalist.config.settings import DistillConfig, ModelConfig
from tests.conftest import gatito
from tests.test_gatito import TINY


def test_a_rate_is_that_of_the_task_else_of_its_family_else_of_all():
    rates = Rates(
        [
            Rate("expert", "classic/a", 100.0, 10.0, 5, 200),
            Rate("expert", "classic/b", 100.0, 30.0, 7, 400),
            Rate("expert", "atari/c", 100.0, 500.0, 9, 100),
            Rate("record", "classic/a", 100.0, 1.0),
        ]
    )
    assert rates.of("expert", "classic/a").per_unit == 0.1
    family = rates.of("expert", "classic/new")
    assert (family.kind, family.per_unit, family.peak_bytes, family.disk_bytes) == ("expert?", 0.2, 7, 3)
    assert rates.of("expert", "mujoco/new").per_unit == 0.3
    assert rates.of("film", "classic/a") is None


def test_a_resumed_job_does_not_replace_the_measurement_of_whole_ones(tmp_path):
    job = Job("expert classic/a", 1000, {}, "classic/a")
    measured = Measurement()
    measured.add(job, Outcome(seconds=20.0, peak_bytes=7))
    measured.add(job, Outcome(seconds=40.0, peak_bytes=5))
    (tmp_path / "experts/classic/a").mkdir(parents=True)
    (tmp_path / "experts/classic/a/policy").write_bytes(b"x" * 123)
    measured.write(tmp_path, [Rate("distill", "s", 2.0, 3.0)], {"expert": "experts/{name}"})
    expected = [Rate("distill", "s", 2.0, 3.0), Rate("expert", "classic/a", 2000.0, 60.0, 7, 123)]
    assert read_csv(tmp_path / RATES, Rate, "") == expected
    measured.clear()
    measured.add(Job("expert classic/a", 900, {}, "classic/a"), Outcome(seconds=0.1))
    measured.write(tmp_path, [], {})
    assert read_csv(tmp_path / RATES, Rate, "") == expected
    measured.clear()
    measured.add(Job("expert classic/a", 1000, {}, "classic/a"), Outcome(seconds=25.0))
    measured.write(tmp_path, [], {})
    assert Rates.read(tmp_path / RATES).of("expert", "classic/a").per_unit == 0.025


def test_a_stage_costs_what_its_jobs_cost():
    small, large = Rate("a", "x", 10.0, 20.0, 100, 50), Rate("a", "y", 10.0, 40.0, 300, 10)
    stage = PlannedStage("experts", [(large, 5.0), (small, 5.0), (small, 5.0)], [(small, 1.0)])
    assert stage.job_seconds == [20.0, 10.0, 10.0]
    assert stage.wall(2, 0.0) == 22.0 and stage.wall(1, 1.0) == 45.0
    assert stage.memory(2) == 400 and stage.memory(1) == 300
    assert stage.disk == pytest.approx(5 + 25 + 25 + 5)


def test_distillation_is_measured_by_its_operations():
    model, distill = ModelConfig(layers=2, width=8, feedforward=16, heads=2), DistillConfig(updates=10, batch_size=4)
    assert work_of(model, distill) == 6 * 2 * (4 * 64 + 2 * 8 * 16) * 4 * 32 * 10


def test_every_suite_can_be_planned_and_says_what_it_guesses(gatito_inside, tmp_path):
    done = gatito_inside("stages=[plan]", "suite=jat157", "workers=100", "tracking=none")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("│")}
    assert list(rows) == ["experts", "record", "distill", "controls", "ida", "evaluate", "clips", "report", "all"]
    assert "157" in rows["experts"] or "jobs have not been measured" in done.stdout
    assert "1256" in rows["record"]  # 157 tasks, two agents, four shards
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_planned_from_its_own_rates(tmp_path):
    run = [*TINY, "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=2000", "workers=1"]
    done = gatito(*run, "name=r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results/runs/r" / RATES).open() as file:
        kinds = {row["kind"] for row in csv.DictReader(file)}
    assert {
        "expert",
        "record expert",
        "record random",
        "specialist",
        "distill",
        "evaluate generalist",
        "command",
    } <= kinds
    done = gatito(*run, "stages=[plan]", "name=other", cwd=tmp_path)
    assert done.returncode == 0 and "have not been measured" not in done.stdout, done.stdout


def test_rows_of_rates_are_committed():
    from benchmarks.base.project import DATA

    path = DATA / "results" / RATES
    rows = read_csv(path, Rate, "")
    assert to_csv(rows, Rate) == path.read_text() and len(rows) > 40
