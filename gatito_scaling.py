"""Where a run stops scaling: a simulation of all 157 tasks with five training seeds on 1 to 1000 workers.

Run as ``python -m gatito_scaling``; it writes ``results/scaling.csv`` and the chart of ``docs/clusters.md``. Durations
are those of the plan (measured rates), failures are a Poisson process on every worker, stages wait for one another.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks.base.csv_rows import to_csv
from benchmarks.base.files import write_bytes, write_text
from benchmarks.base.project import CODE, CONF
from benchmarks.runs.schedule import NodeFailures, simulate
from gatito_configuration import Config, read_config
from gatito_plan import PlannedStage, plan_run

SUITE, SEEDS, WORKERS = "jat157", 5, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
RATES = (0.0, 0.01, 0.1)  # failures of a worker per hour
_REPEATS = 5
_PARTS = 10  # jobs into which the evaluation of an agent is split
_OVERHEAD_SECONDS = 1.0  # of a job


@dataclass(frozen=True)
class ScalingRow:
    """A simulated run.

    Attributes:
        workers: the number of workers.
        failures_per_hour: failures of a worker per hour.
        hours: wall time, the mean over repetitions.
        longest_hours: the longest job, which bounds it from below.
        distill_hours: the part in which each seed's network is distilled on one worker.
        used: share of the workers' time that is work.
    """

    workers: int
    failures_per_hour: float
    hours: float
    longest_hours: float
    distill_hours: float
    used: float


def simulated(stages: Sequence[PlannedStage], seeds: int, failures: NodeFailures, workers: int) -> ScalingRow:
    """A run of several training seeds at once, stage by stage."""
    rng = np.random.default_rng(0)
    walls, alone_walls, work, longest = [], 0.0, 0.0, 0.0
    for stage in stages:
        alone = sum(rate.per_unit * units for rate, units in stage.alone)
        jobs = sorted((seconds for seconds in stage.job_seconds for _ in range(seeds)), reverse=True)
        for group in (jobs, [alone] * seeds if alone else []):
            repeated = [simulate(group, workers, failures, rng, _OVERHEAD_SECONDS) for _ in range(_REPEATS)]
            walls.append(float(np.mean(repeated)))
            work += sum(group)
            longest = max([longest, *group])
        alone_walls += walls[-1] if stage.name == "distill" else 0.0
    wall = sum(walls)
    return ScalingRow(
        workers, failures.per_hour, wall / 3600, longest / 3600, alone_walls / 3600, work / (wall * workers)
    )


def scaling() -> list[ScalingRow]:
    """The simulated runs."""
    stages = plan_run(
        _config(), _config().task_names, _config().suite.recipes(_config().task_names), _PARTS, skipped=()
    )
    return [simulated(stages, SEEDS, NodeFailures(rate), workers) for rate in RATES for workers in WORKERS]


def chart(rows: Sequence[ScalingRow]) -> dict[str, Any]:
    """Wall time against workers, with the ideal and the longest job."""
    first = rows[0]
    values = [
        {"workers": row.workers, "hours": row.hours, "line": f"{row.failures_per_hour:g} failures an hour and worker"}
        for row in rows
    ]
    values += [
        {"workers": workers, "hours": hours, "line": line}
        for workers in WORKERS
        for line, hours in (("ideal", first.hours / workers), ("longest job", first.longest_hours))
    ]
    return {
        "description": "Simulated wall time of jat157 with five training seeds, by number of workers.",
        "data": {"values": values},
        "width": 560,
        "height": 320,
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {"field": "workers", "type": "quantitative", "scale": {"type": "log"}, "title": "workers"},
            "y": {"field": "hours", "type": "quantitative", "scale": {"type": "log"}, "title": "wall time (hours)"},
            "color": {"field": "line", "type": "nominal", "title": None, "sort": None},
            "strokeDash": {"field": "line", "type": "nominal", "title": None, "sort": None},
        },
    }


def _config() -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read_config(compose("config", [f"suite={SUITE}", "runs_folder=/dev/null"]))


def main(root: Path = CODE) -> None:
    """Write rows and chart."""
    import vl_convert

    rows = scaling()
    write_text(root / "results" / "scaling.csv", to_csv(rows, ScalingRow))
    write_bytes(root / "docs" / "scaling.png", vl_convert.vegalite_to_png(json.dumps(chart(rows)), scale=2))


if __name__ == "__main__":
    main()
