"""Slow: a run's generalist, experts and recordings go to the Hub by the command line, and come back elsewhere."""

import json
import shutil

import pytest
import yaml

from tests.conftest import gatito
from tests.hub_server import TOKEN, serve
from tests.test_gatito import TINY, fails_with

pytestmark = pytest.mark.slow
pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install 'gatito[hub]'")
RUN = [*TINY, "tasks=[cartpole]", "name=r", "suite.tasks.classic-cartpole.expert.env_steps=500"]


def test_a_run_is_pushed_and_fetched(tmp_path):
    with serve() as hub:
        environment = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir()
        there.mkdir()
        done = gatito(*RUN, cwd=here)
        assert done.returncode == 0, done.stderr
        push = [*RUN, "stages=[push]", "hub.repo=me/tiny"]
        fails_with(gatito(*push, cwd=here, **environment), "needs a token of the Hugging Face Hub: set HF_TOKEN")
        environment["HF_TOKEN"] = TOKEN
        done = gatito(*push, cwd=here, **environment)
        assert done.returncode == 0 and "use it with generalist=hub:me/tiny" in done.stderr, done.stderr
        done = gatito(*RUN, "stages=[push]", "hub.repo=me/experts", "hub.what=experts", cwd=here, **environment)
        assert done.returncode == 0, done.stderr

        revision, files = hub.files("me/tiny")
        _, metadata, text = files["README.md"].decode().split("---\n", 2)
        [model] = yaml.safe_load(metadata)["model-index"]
        metrics = {
            (result["dataset"]["name"], metric["type"]) for result in model["results"] for metric in result["metrics"]
        }
        assert ("classic: classic/cartpole", "mean_reward") in metrics
        assert "| classic/cartpole |" in text and "distill:" in text and "tasks=[cartpole]" in text
        assert not any(name.endswith((".pkl", ".zip", ".bin", ".pt")) for name in files)

        fetch = [*TINY, "tasks=[cartpole]", "name=f", "controls=none", "stages=[evaluate,report]"]
        fetch += ["generalist=hub:me/tiny", "experts=hub:me/experts"]
        done = gatito(*fetch, cwd=there, **environment)
        assert done.returncode == 0 and f"pin it with hub:me/tiny@{revision}" in done.stderr, done.stderr
        names = ("generalist/model.safetensors", "experts/classic/cartpole/policy.safetensors")
        for name in names:
            old, new = (folder / "results/runs" / run / name for folder, run in ((here, "r"), (there, "f")))
            assert old.read_bytes() == new.read_bytes()
        config = yaml.safe_load((there / "results/runs/f/config.yaml").read_text())
        assert config["generalist"]["hub"] == f"me/tiny@{revision}"
    shutil.rmtree(there / "results/runs/f/scores")
    done = gatito(*fetch, cwd=there, HF_ENDPOINT="http://127.0.0.1:9")  # what was fetched needs no network
    assert done.returncode == 0, done.stderr


def test_recordings_are_pushed_as_minari_datasets(tmp_path):
    minari = pytest.importorskip("minari", reason="Minari is not installed: pip install 'gatito[minari]'")
    with serve() as hub:
        environment = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        stages = ["stages=[experts,record]", "hub.repo=me/recordings", "hub.what=recordings"]
        done = gatito(*RUN, *stages, cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        done = gatito(*RUN, "stages=[push]", *stages[1:], cwd=tmp_path, HF_TOKEN=TOKEN, **environment)
        assert done.returncode == 0, done.stderr
        _, files = hub.files("me/recordings")
    root = tmp_path / "minari"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    from minari.dataset.minari_dataset import MinariDataset

    dataset = MinariDataset(root / "gatito/classic/cartpole/expert-v0/data")
    assert dataset.total_steps >= 200 and minari is not None
    assert json.loads(files["gatito.json"])["kind"] == "recordings"
