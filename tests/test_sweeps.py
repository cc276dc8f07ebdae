"""Sweeps: several runs of one command, which share artifacts and end with pooled reports."""

import json

from benchmarks.base.csv_rows import read_csv
from benchmarks.scoring.results import ScoreRow
from tests.conftest import gatito
from tests.test_gatito import NO_BAR, TINY, fails_with


def test_other_settings_make_another_run_that_shares_artifacts(tmp_path):
    command = [*TINY, "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=500", *NO_BAR]
    done = gatito("-m", "distill.learning_rate=1e-3,2e-3", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = sorted(path for path in (tmp_path / "results" / "runs").iterdir() if not path.name.startswith("."))
    beside = [path for path in runs if path.name.startswith("compare-")]
    runs = [path for path in runs if path not in beside]
    assert len(runs) == 2 and all(path.name.startswith("classic-nano-seed0-") for path in runs)
    assert len(beside) == 1
    assert "f generalist (distill.learning_rate=0.002)" in (beside[0] / "table.md").read_text()
    policies = [path / "experts" / "classic" / "cartpole" / "policy.safetensors" for path in runs]
    assert policies[0].samefile(policies[1])
    models = [path / "generalist" / "model.safetensors" for path in runs]
    assert models[0].read_bytes() != models[1].read_bytes()


def test_the_training_seeds_of_a_sweep_are_pooled_and_runs_are_compared(tmp_path):
    command = [*TINY, "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=500", *NO_BAR]
    done = gatito("-m", "seed=0,1", "distill.warmup=5,6", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "results" / "runs"
    pooled = [path for path in runs.glob("classic-nano-*") if "seed" not in path.name]
    assert len(pooled) == 2
    for folder in pooled:
        assert "2 training seeds" in (folder / "table.md").read_text()
        assert len(read_csv(folder / "scores.csv", ScoreRow, "")) == 2 * 6 * 3
        assert json.loads((folder / "environment.json").read_text())["command"].count("gatito ") == 2
    done = gatito("stages=[compare]", "runs=[classic-nano-seed*]", "name=both", "tracking=none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    agents = {str(row.agent_id) for row in read_csv(runs / "both" / "scores.csv", ScoreRow, "")}
    labels = {"generalist (distill.warmup=5)", "generalist (distill.warmup=6)"}
    assert labels <= agents and {"random", "expert", "retrieval"} <= agents and "generalist" not in agents
    scores = runs / "both" / "scores.csv"
    good = scores.read_text()
    first = good.splitlines()[1]
    scores.write_text(good.replace(first, first.replace(first.split(",")[7], "999.0"), 1))
    done = gatito("stages=[compare]", "runs=[both]", "tracking=none", cwd=tmp_path)
    fails_with(done, "both/scores.csv was changed after gatito wrote it", "stages=[evaluate,report]")
    scores.write_text(good)
    again = gatito("stages=[compare]", f"runs=[{runs}/both]", "name=both", "tracking=none", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_a_sweep_goes_on_after_a_run_that_fails(gatito_inside):
    done = gatito_inside("-m", "seed=0,1", "stages=[report]", "tracking=none")
    assert done.returncode == 1
    assert done.stderr.count("error:") == 2


def test_an_experiment_is_a_sweep_with_its_variants_in_one_table(tmp_path):
    command = [*TINY, "tasks=[cartpole]", "suite.tasks.classic-cartpole.expert.env_steps=500", *NO_BAR]
    sweep = ["experiment=ablation", "variant=default,jat", "seed=0", "distill.flops=1e8"]
    done = gatito(*command, *sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "results" / "runs" / "ablation-classic" / "table.md").read_text()
    assert "f generalist (default)" in table and "f generalist (jat)" in table


def test_a_sweep_of_plans_leaves_nothing(tmp_path):
    done = gatito("-m", "seed=0,1", "stages=[plan]", "tasks=[cartpole]", "runs_folder=here", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("plan of classic") == 2, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name != "here"]
