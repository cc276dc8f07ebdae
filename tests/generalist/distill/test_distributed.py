"""``torchrun`` with two processes on one machine: one run, in which both distil."""

import os
import subprocess
import sys

import pytest
from safetensors.numpy import load_file

from benchmarks.base.errors import GatitoError
from benchmarks.runs.tracking import read_log
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig
from generalist.distill.distributed import Ranks
from tests.conftest import ROOT, gatito

SETTINGS = [
    "tasks=[cartpole,pendulum]",
    "experts=released",
    f"experts.released={ROOT / 'results' / 'experts'}",
    "stages=[experts,record,distill]",
    "record.env_steps=1000",
    "record.random_env_steps=200",
    "distill.updates=12",
    "distill.batch_size=10",
    "distill.dagger.rounds=2",
    "distill.dagger.env_steps=300",
    "distill.ema=0.9",
    "distill.log_every=1",
    "model.width=32",
    "tracking=none",
    "name=r",
]


def losses(folder, name="loss"):
    log = read_log(folder / "results" / "runs" / "r" / "generalist" / "log.jsonl")
    return [line[f"distill/{name}"] for line in log]


@pytest.mark.parametrize("sharded", ["false", "true"])
def test_two_processes_have_the_learning_curve_of_one_on_the_same_batches(sharded, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    done = gatito(*SETTINGS, cwd=alone, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [
        *torchrun,
        str(ROOT / "gatito.py"),
        *SETTINGS,
        "distill.gradient_accumulation=2",
        f"distill.sharded={sharded}",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=together, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(losses(alone)) == 12
    assert losses(together) == pytest.approx(losses(alone), rel=1e-4)
    # AdamW hardly notices a gradient of another scale, the norm does.
    assert losses(together, "gradient_norm") == pytest.approx(losses(alone, "gradient_norm"), rel=1e-3)
    one, two = (
        load_file(folder / "results" / "runs" / "r" / "generalist" / "model.safetensors")
        for folder in (alone, together)
    )
    assert one.keys() == two.keys() and all(two[name].shape == one[name].shape for name in one)


def test_a_missing_gpu_gets_one_line(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(GatitoError, match="torch finds no GPU: set distill.device=cpu"):
        Ranks.join("cuda")
    with pytest.raises(GatitoError, match="torch finds no GPU: set distill.device=cpu"):
        Ranks.alone("cuda")
    assert Ranks.join("auto").device.type == Ranks.alone("auto").device.type == "cpu"


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"device": "gpu"}, "unknown distill.device 'gpu'.*Valid: auto, cpu, cuda"),
        ({"precision": "fp16"}, "unknown distill.precision 'fp16'"),
        ({"gradient_accumulation": 65}, "distill.gradient_accumulation=65 is more than distill.batch_size=64"),
        ({"ema": 1.0}, "distill.ema must be at least 0 and below 1, not 1"),
        ({"dagger": DaggerConfig(share=1.5)}, "distill.dagger.share must be at least 0 and at most 1, not 1.5"),
        ({"dagger": DaggerConfig(rounds=1, start=1.0)}, "distill.dagger.start must be at least 0 and below 1, not 1"),
        ({"dagger": DaggerConfig(rounds=100)}, "distill.dagger.rounds must be at least 0 and at most 99, not 100"),
    ],
)
def test_invalid_settings_are_rejected(settings, words):
    with pytest.raises(GatitoError, match=words):
        DistillConfig(**settings).check(["toy/counter"], ModelConfig(context_length=4))
