"""Distillation: against a Hugging Face GPT-2 and its Trainer on the same sequences, and against the machine's peak.

The peer has the same blocks (0.66 M parameters of ``nano``) and fewer beside them, and its windows lie in memory. Its
loss is a squared error, and its steps see those before them; ours do so in one of two cases, in the other all is as by
default.
"""

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.flops import count_flops
from benchmarks.base.memory import keep_freed_memory
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.settings import DistillConfig
from generalist.distill.data import Mixture, Source
from generalist.distill.learner import Learner
from generalist.distill.train import fit
from generalist.network.network import make_network
from tests.speed.cases import Case, Measurement, timed
from tests.speed.crew import Crew
from tests.speed.tasks import HALF_CHEETAH, codec_of, model_of, record, suite_of

_RECORDED = 4000  # steps
_UPDATES = 20  # the first, which allocates memory, is not timed
_PEERS = codec_of(memory="all", continuous="regression")  # the peer's settings
_MATRIX, _PRODUCTS = 2048, 8  # the probe's: rows and columns, and how often


def cases() -> list[Case]:
    """``nano`` against its peer; ``mini`` and Gato's smallest, whose windows are as long as theirs, against the peak.

    And products in bfloat16 against those in fp32, where the processor has them.
    """
    found = [
        Case(
            "distill",
            f"{HALF_CHEETAH}, nano, {how}",
            "JAT's way: a Hugging Face GPT-2 and its Trainer",
            3.5,
            functools.partial(_crews, (_distilled, "nano", 64, _UPDATES, codec), (_trained, "nano", 64, _UPDATES)),
            needs=("transformers", "accelerate"),
        )
        for how, codec in (("as by default", codec_of()), ("memory=all, regression", _PEERS))
    ]
    for model, windows, updates, most in (("nano", 64, _UPDATES, None), ("mini", 64, 6, None), ("gato_79m", 1, 3, 3)):
        found.append(
            Case(
                "distill",
                f"{HALF_CHEETAH}, {model}, FLOP/s",
                "the peak of a product of matrices",
                0.5 if model == "nano" else 0.6,
                functools.partial(_crews, (_flops, model, windows, updates), (_peak,)),
                repetitions=most,
                quick=model == "mini",
            )
        )
    for model, updates, reach in (("nano", _UPDATES, 1.2), ("mini", 6, 1.5)):
        arms = [(_distilled, model, 64, updates, codec_of(), precision) for precision in ("bf16_everywhere", "fp32")]
        case = f"{HALF_CHEETAH}, {model}, products in bf16"
        found.append(Case("distill", case, "products in fp32", reach, functools.partial(_crews, *arms)))
    return found


def _task() -> Task:
    return suite_of("mixed", None, HALF_CHEETAH).tasks[0]


def _crews(ours: tuple, theirs: tuple) -> tuple[Measurement, Measurement]:
    """With as many threads as this process would use: one a core, as ``gatito`` distils."""
    made = [Crew(ready, [tuple(arguments)], threads=torch.get_num_threads()) for ready, *arguments in (ours, theirs)]
    return made[0].rate, made[1].rate


def _distilled(model: str, windows: int, updates: int, codec: CodecConfig, precision: str = "bf16") -> Measurement:
    """Time steps a second of a training as ``gatito stages=[distill]`` makes it, without what stands around it."""
    keep_freed_memory()
    config = model_of(model)
    settings = DistillConfig(
        updates=updates,
        device="cpu",
        precision=precision,
        batch_size=windows,
        sequence_length=config.context_length,
        checkpoint_every=10 * updates,
    )
    folder = tempfile.TemporaryDirectory()
    recorded = record(_task(), _RECORDED, Path(folder.name) / "trajectories")

    def rate() -> float:
        artifact = Artifact(Path(folder.name) / "network", "network", {})
        artifact.start()
        recordings = {HALF_CHEETAH: recorded.folder}
        learner = Learner(artifact, [_task()], recordings, settings, config, codec, seed=0)
        times: list[float] = []
        fit(learner, lambda _: times.append(time.perf_counter()))
        return (updates - 1) * windows * config.context_length / (times[-1] - times[0])

    return rate


def _flops(model: str, windows: int, updates: int) -> Measurement:
    """Floating-point operations a second of the same training: those of products, convolutions and attention."""
    steps = _distilled(model, windows, updates, _PEERS)
    each = _flops_of(model, windows)
    return lambda: steps() * each


def _flops_of(model: str, windows: int) -> float:
    """Of a time step, forward and backward."""
    config = model_of(model)
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(_task(), _RECORDED, Path(folder) / "trajectories")
        network = make_network(config, _PEERS)
        source = Source(_task(), recorded, 1.0)
        batch = Mixture([source], network, batch_size=windows, sequence_length=config.context_length, seed=0).batch(0)
        return count_flops(lambda: network.loss(batch)["loss"].backward()) / (windows * config.context_length)


def _peak() -> Measurement:
    left, right = torch.randn(2, _MATRIX, _MATRIX)
    out = torch.empty(_MATRIX, _MATRIX)

    def work() -> float:
        for _ in range(_PRODUCTS):
            torch.mm(left, right, out=out)
        return _PRODUCTS * 2 * _MATRIX**3

    return timed(work)


def _trained(model: str, windows: int, updates: int) -> Measurement:
    """The peer: the same number and length of sequences, from memory, with its Trainer's loop and settings."""
    import transformers

    from tests.speed.gpt2 import Imitator

    config = model_of(model)
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(_task(), _RECORDED, Path(folder) / "trajectories")
        drawn = [_window(recorded, config.context_length, number) for number in range(windows * updates)]
    observation, action = (len(drawn[0][name][0]) for name in ("observations", "actions"))
    imitator = Imitator(config, observation, action, 2 * config.context_length)
    output = tempfile.TemporaryDirectory()
    settings = transformers.TrainingArguments(
        output.name,
        per_device_train_batch_size=windows,
        max_steps=updates,
        learning_rate=1e-4,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    times: list[float] = []

    class Watch(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    def rate() -> float:
        times.clear()
        trainer = transformers.Trainer(imitator, settings, train_dataset=drawn, callbacks=[Watch()])  # type: ignore[arg-type]
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        assert output.name
        return (updates - 1) * windows * config.context_length / (times[-1] - times[0])

    return rate


def _window(recorded: Trajectories, length: int, number: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(number)
    episode = int(rng.integers(len(recorded)))
    start = int(rng.integers(recorded.lengths[episode] - length + 1))
    rows = recorded.window(episode, start, length, ["observations", "actions"])
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in rows.items()}
