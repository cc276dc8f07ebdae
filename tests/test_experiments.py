"""Experiments: each composes, and the sweep over sizes and data runs in miniature."""

import csv

import pytest
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT, gatito

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    import gatito  # noqa: F401 - registers the schema

    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", overrides=[f"experiment={experiment}"])
    assert config.suite.tasks


@pytest.mark.slow
def test_sizes_and_amounts_of_data_get_scaling_laws(tmp_path):
    done = gatito(
        "experiment=scaling",
        "tasks=[go-to-local,open-door]",
        "model=atto,femto,pico",
        "distill.data=0.5,1",
        "seed=0",
        "distill.flops=4e9",
        "distill.batch_size=2",
        "model.context_length=4",
        "record.env_steps=400",
        "record.random_env_steps=100",
        "record.shards=1",
        "experts.gate_episodes=5",
        "evaluate.episodes=5",
        "tracking=none",
        "workers=1",
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    [report] = (tmp_path / "results" / "runs").glob("scaling-babyai*/scaling.csv")
    rows = list(csv.DictReader(report.open()))
    assert {(row["measured"], row["varied"]) for row in rows} >= {("loss", "parameters"), ("best size", "flops")}
