"""Distillation, PPO, specialists and clones train on the device of ``distill.device``, by the code of the CPU."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmarks.base.artifacts import Artifact
from generalist.config.settings import DistillConfig, ModelConfig, for_one_task
from generalist.distill.train import Learner, fit
from generalist.network.network import make_network, save_network
from generalist.ppo.reinforced import Reinforced
from generalist.ppo.training import reinforce
from tests import other_device
from tests.generalist.amplifiers.test_finetune import CODEC, COUNTER, MODEL, SHORT, TARGET, PPOConfig
from tests.generalist.distill.test_distill import SUITE, recordings  # noqa: F401
from tests.generalist.ppo.test_ppo import prompt_of

CODECS = {
    "plain": CODEC,
    "task_id": replace(CODEC, conditioning="task_id", continuous="normal"),
    "prompt": replace(CODEC, conditioning="prompt", previous_actions=True),
    "jat": replace(CODEC, name="jat"),
}
TASKS = (COUNTER, TARGET)
CLONE = ModelConfig(kind="perceptron", layers=2, width=32, context_length=1)


def finetuned(folder: Path, codec: str, device: str) -> Path:
    """A network that PPO has trained, killed once on the way."""
    torch.manual_seed(0)
    start, artifact = Artifact(folder / "start", "generalist", {}), Artifact(folder / "made", "finetuned", {})
    start.start()
    artifact.start()
    shown = {task.name: prompt_of(task) for task in TASKS} if codec == "prompt" else {}
    save_network(start.folder, make_network(MODEL, CODECS[codec], [task.name for task in TASKS]), shown)
    config = PPOConfig(**SHORT)
    learner = Reinforced(artifact, TASKS, start.folder, config, MODEL, CODECS[codec], 0, "amplifier", device)

    def kill(done: int) -> None:
        if done == 2 * learner.per_iteration:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reinforce(learner, kill)
    reinforce(learner, lambda done: None)
    return artifact.folder


def single(folder: Path, device: str, kind: str, recorded: dict[str, Path]) -> Path:
    """A specialist or a clone."""
    artifact = Artifact(folder / kind, kind, {})
    artifact.start()
    task, model = SUITE.tasks[1], CLONE if kind == "clone" else MODEL
    config = DistillConfig(updates=20, batch_size=8, sequence_length=8, warmup=5, ema=0.9, device=device)
    share = for_one_task(config, task.name, [task.name for task in SUITE])
    fit(Learner(artifact, [task], {task.name: recorded[task.name]}, share, model, CODEC, 0), lambda done: None)
    return artifact.folder


def there(train, folder, *args):
    """Train on the other device in this process, which is the stand-in's."""
    other_device.install()
    found = torch.device(other_device.NAME)
    used = []

    def find(setting: str) -> torch.device:
        used.append(setting)
        return found

    with (
        patch("generalist.distill.distributed.found_device", find),
        patch("generalist.ppo.training.found_device", find),
    ):
        made = train(folder, *args)
    assert set(used) == {"cuda"}
    return made


def assert_same(one: Path, other: Path) -> None:
    """Equal up to the last bits: attention is another kernel there."""
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert weights.keys() == others.keys()
    for name, values in weights.items():
        np.testing.assert_allclose(values, others[name], atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def elsewhere():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda *call: pool.submit(there, *call).result()


@pytest.mark.parametrize("codec", CODECS)
def test_ppo_trains_on_a_device_with_the_numbers_of_the_cpu(codec, elsewhere, tmp_path):
    one, other = finetuned(tmp_path / "cpu", codec, "cpu"), elsewhere(finetuned, tmp_path / "there", codec, "cuda")
    assert_same(one, other)


@pytest.mark.parametrize("kind", ["specialist", "clone"])
def test_single_tasks_train_on_a_device_with_the_numbers_of_the_cpu(kind, elsewhere, recordings, tmp_path):  # noqa: F811
    recorded = {name: artifact.folder for name, artifact in recordings.items()}
    one = single(tmp_path / "cpu", "cpu", kind, recorded)
    other = elsewhere(single, tmp_path / "there", "cuda", kind, recorded)
    assert_same(one, other)
