"""A sweep's results are collected from its runs' folders, for every launcher."""

import importlib.util
import pickle
from contextlib import nullcontext

import cloudpickle
import pytest
from omegaconf import OmegaConf

from benchmarks.base.errors import GatitoError, TasksFailedError
from benchmarks.report.sweep import Sweep, SweepFolder, SweepRun
from benchmarks.runs.tracking import TrackingConfig
from tests.benchmarks.runs.engines.clusters import slurm_cluster
from tests.conftest import gatito
from tests.test_gatito import NO_BAR, TINY


def test_results_of_runs_are_collected_in_order(tmp_path, capsys):
    for job in range(11):
        sweep = Sweep()
        if job == 2:
            with sweep.one_line_errors():
                raise TasksFailedError("1 of 2 tasks failed:", ["toy/a: the rope broke"])
        elif job == 10:
            with sweep.one_line_errors():
                raise GatitoError("no such thing")
        else:
            run = SweepRun(tmp_path / f"run{job}", None, ["toy", "toy/a"], TrackingConfig("none", mode="offline"))
            sweep.reported.append(run)
        sweep.write_outcome(tmp_path / "sweep" / str(job))
        assert sweep == Sweep()  # the next run in this process starts empty
    (tmp_path / "sweep" / "11").mkdir()
    (tmp_path / "sweep" / ".submitit").mkdir()
    gathered = Sweep()
    gathered.gather(tmp_path / "sweep")
    assert gathered.failures[:2] == ["1 of 2 tasks failed: toy/a: the rope broke", "no such thing"]
    assert "run 11 of the sweep ended early" in gathered.failures[2] and len(gathered.failures) == 3
    assert [run.folder.name for run in gathered.reported] == [f"run{job}" for job in (0, 1, *range(3, 10))]
    assert gathered.reported[0].tracking == TrackingConfig("none", mode="offline")


def test_folders_of_runs_may_have_any_names(tmp_path):
    """``hydra.sweep.subdir`` is the user's to set, and may hold slashes."""
    for name in ("seed=0", "a/b"):
        sweep = Sweep(failures=[f"{name} broke"])
        sweep.write_outcome(tmp_path / name)
    gathered = Sweep()
    gathered.gather(tmp_path)
    assert gathered.failures == ["a/b broke", "seed=0 broke"]


def test_what_an_earlier_sweep_left_in_the_same_folder_is_not_gathered(tmp_path):
    for job in range(3):
        Sweep(failures=["earlier"]).write_outcome(tmp_path / str(job))
    SweepFolder().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    try:
        assert SweepFolder.current == tmp_path
        Sweep().write_outcome(tmp_path / "0")
        gathered = Sweep()
        gathered.gather(tmp_path)
        assert gathered.failures == []
    finally:
        SweepFolder.current = None


def test_a_launcher_can_send_a_run_to_another_process():
    import gatito as entry

    task = entry._run.__wrapped__
    assert b"run_one" in cloudpickle.dumps(task)
    assert callable(pickle.loads(cloudpickle.dumps(task)))  # noqa: S301


@pytest.mark.slow
@pytest.mark.xdist_group("engines")
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local", "submitit_slurm", "ray"])
def test_every_launcher_gives_the_same_exit_code_list_and_pooled_report(tmp_path, launcher):
    if launcher != "basic" and not importlib.util.find_spec(
        f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    ):
        pytest.skip(f"the launcher {launcher} is not installed")
    tiny = [*TINY, *NO_BAR, "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=500", "controls=none"]
    rates = "distill.learning_rate=1e-3,2e-3,-1"
    with slurm_cluster(tmp_path / "slurm") if launcher == "submitit_slurm" else nullcontext():
        done = gatito("-m", f"hydra/launcher={launcher}", rates, *tiny, cwd=tmp_path, timeout=600)
    assert done.returncode == 1, done.stderr
    assert "warning: 1 of the sweep's runs failed" in done.stderr
    assert done.stderr.count("warning: distill.learning_rate must be above 0, not -1.") == 1
    [together] = (tmp_path / "results" / "runs").glob("compare-*")
    columns = ["task", "random", "expert", *(f"f generalist (distill.learning_rate={rate})" for rate in (0.001, 0.002))]
    assert f"| {' | '.join(columns)} |" in (together / "table.md").read_text()
