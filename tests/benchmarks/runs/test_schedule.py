"""Wall times of schedules that can be computed by hand, and what failures cost on average."""

import numpy as np
import pytest

from benchmarks.runs.schedule import NodeFailures, simulate, wall_seconds, with_failures


@pytest.mark.parametrize(
    "jobs, workers, overhead, wall",
    [
        ([], 4, 0.0, 0.0),
        ([5.0], 4, 1.0, 6.0),
        ([4.0, 3.0, 2.0, 1.0], 2, 0.0, 5.0),  # 4 and 1, 3 and 2
        ([1.0, 1.0, 4.0], 2, 0.0, 5.0),  # the longest last
        ([4.0, 1.0, 1.0], 2, 0.0, 4.0),
        ([1.0] * 10, 3, 0.5, 6.0),
        ([7.0] + [1.0] * 100, 1000, 0.0, 7.0),
    ],
)
def test_workers_take_jobs_in_their_order(jobs, workers, overhead, wall):
    assert wall_seconds(jobs, workers, overhead) == pytest.approx(wall)


def test_a_job_without_checkpoints_lasts_as_long_as_theory_says():
    """The mean time to finish work of s under failures at rate r, if all is lost, is (exp(r s) - 1) / r."""
    rng = np.random.default_rng(0)
    failures = NodeFailures(per_hour=3600.0 / 100.0, checkpoint_seconds=1e9, restart_seconds=0.0)
    mean = np.mean([with_failures(100.0, failures, rng) for _ in range(20_000)])
    assert mean == pytest.approx(100.0 * (np.e - 1), rel=0.03)


def test_checkpoints_keep_work_and_restarts_cost_time():
    rng = np.random.default_rng(0)
    often = NodeFailures(per_hour=36.0, checkpoint_seconds=1.0, restart_seconds=10.0)  # every 100 s
    mean = np.mean([with_failures(1000.0, often, rng) for _ in range(500)])
    assert mean == pytest.approx(1000.0 + 10 * (10.0 + 0.5), rel=0.03)  # ten failures, each with half a checkpoint
    assert with_failures(1000.0, NodeFailures(), rng) == 1000.0
    jobs = [1000.0] * 20
    assert simulate(jobs, 5, often, rng) > wall_seconds(jobs, 5)
