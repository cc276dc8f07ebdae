import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.runs.run import command_of, run_name
from benchmarks.runs.stage import STAGES, require, run_first
from benchmarks.tasks import Suite
from tests.conftest import make_run, make_task

SUITE = Suite("toy", (make_task(name="toy/a"), make_task(name="toy/b")))


def test_failures_of_an_isolated_part_do_not_count_outside(tmp_path):
    run = make_run(tmp_path / "r", SUITE)
    run.failures.stage = "evaluate"
    part = run.isolated(SUITE.part(["toy/a"]), "ida")
    part.failures.add("toy/a", "it broke")
    assert (part.failures.stage, part.failures.line("toy/a")) == ("ida", "it broke")
    assert not part.survivors().tasks and run.survivors() == SUITE
    assert (part.folder, part.seed, part.tracker, run.failures.stage) == (run.folder, 0, run.tracker, "evaluate")


def test_missing_artifacts_are_named_with_their_stages(tmp_path):
    finished, missing = (Artifact(tmp_path / name, "generalist", {}) for name in ("finished", "missing"))
    finished.start()
    finished.finish(0.0)
    require({"": finished}, *STAGES["ida"].needs)
    with pytest.raises(GatitoError, match=r"generalist is not in .*missing as .*=\[experts,record,distill\] first"):
        require({"toy/a": finished, "": missing}, *STAGES["ida"].needs)
    with pytest.raises(GatitoError, match=r"toy/b is not in .*: run with stages=\[record\] first"):
        require({"toy/b": missing}, "record")
    with pytest.raises(GatitoError, match="unknown stage 'recrod'. Did you mean 'record'"):
        run_first("recrod")


def test_a_runs_name_lists_overrides_and_its_command_decisive_settings():
    preset = "classic-nano-seed0"
    assert run_name(preset, "", None, sweeping=False) == run_name(preset, "", None, sweeping=True) == preset
    assert run_name(preset, "tasks=[a]", None, sweeping=False) == f"{preset}-tasks=_a_"
    assert run_name(preset, "tasks=[a]", "mine", sweeping=False) == "mine"
    assert run_name(preset, "tasks=[a]", "mine", sweeping=True) == f"mine-{preset}-tasks=_a_"
    long = [run_name(preset, letter * 200, None, sweeping=False) for letter in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 100
    typed = ["suite=classic", "name=r", "+tracking.mode=offline", "tasks=[a]", "workers=2", "distill.warmup=3"]
    assert command_of(typed) == "gatito suite=classic 'tasks=[a]' distill.warmup=3"


def test_stages_that_only_read_a_run_begin_none(gatito_inside, tmp_path):
    for stage in ("export", "release"):
        done = gatito_inside(f"stages=[{stage}]", "name=nosuch", "tasks=[cartpole]", "tracking=none")
        assert done.returncode == 1 and "run with stages=[" in done.stderr
    assert list(tmp_path.iterdir()) == []
