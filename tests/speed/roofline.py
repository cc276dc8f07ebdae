"""How far each stage is from what the machine can do: ``python -m tests.speed.roofline``.

After Williams, Waterman and Patterson 2009 ("Roofline"): an operation takes at least as long as its arithmetic at the
machine's peak, and at least as long as moving its arguments and results once. A stage's floor is the sum over its
operations of the larger of the two; a third limit is the number of calls, each of which costs what the cheapest one
does. One thread. Rows go to ``results/speed/roofline.csv``, the chart to ``docs/roofline.png``.
"""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from benchmarks.base.artifacts import write_bytes, write_text
from benchmarks.base.csv_rows import to_csv
from benchmarks.base.flops import CPU_ATTENTION
from benchmarks.play.policy import PolicyInput
from experts.sb3.manual_gradients import use_manual_gradients
from generalist.config.settings import DistillConfig
from generalist.distill.data import Mixture, Source
from generalist.distill.sharding import make_optimizer
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from generalist.network.transformer import Transformer
from tests.conftest import ROOT
from tests.speed.tasks import HALF_CHEETAH, codec_of, model_of, record, suite_of

TABLE = ROOT / "results" / "speed" / "roofline.csv"
CHART = ROOT / "docs" / "roofline.png"
_REPETITIONS = 9
_COPIES = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28)  # bytes, read and written

_READ_ROWS = ("embedding", "gather", "index", "index_select")
_WRITTEN_ROWS = ("index_copy_", "index_put_", "_index_put_impl_")
"""Operations that touch a few rows of their first argument."""


@dataclass(frozen=True)
class Machine:
    """The peaks of one core.

    Attributes:
        flops: floating-point operations per second of a large product of matrices.
        bytes_moved: bytes per second that a copy reads and writes, by its size in bytes: those of small copies come
            from a cache, those of large ones from main memory.
        call_seconds: seconds of the cheapest call into torch.
    """

    flops: float
    bytes_moved: Mapping[int, float]
    call_seconds: float

    @staticmethod
    def measured() -> "Machine":
        """Of this machine, by torch's own operations."""
        left, right = torch.randn(2, 1024, 1024)
        product = torch.empty(1024, 1024)
        one = torch.ones(1)
        return Machine(
            flops=2 * 1024**3 / seconds_of(lambda: torch.mm(left, right, out=product)),
            bytes_moved={size: _copied(size) for size in _COPIES},
            call_seconds=seconds_of(lambda: one.add_(1)),
        )

    def rate(self, size: float) -> float:
        """Bytes per second of an operation that moves ``size`` bytes."""
        return self.bytes_moved[min((each for each in _COPIES if each >= size), default=_COPIES[-1])]


@dataclass(frozen=True)
class Row:
    """A stage in ``roofline.csv``; times in seconds of one call of the stage on one core.

    Attributes:
        stage: what is computed.
        seconds: measured, the median.
        calls: operations of torch.
        flops: floating-point operations in products, convolutions and attention.
        moved: bytes of all operations' arguments and results.
        arithmetic: least time of the arithmetic.
        floor: sum over operations of the longer of arithmetic and movement.
        call_floor: least time of the calls.
        of_peak: share of the machine's peak that the stage's arithmetic reaches.
        of_floor: ``floor`` plus ``call_floor``, as a share of ``seconds``.
    """

    stage: str
    seconds: float
    calls: int
    flops: float
    moved: float
    arithmetic: float
    floor: float
    call_floor: float
    of_peak: float
    of_floor: float


class Traffic(TorchDispatchMode):
    """Counts the operations of torch within it, their arithmetic, and the bytes that they have to move."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.calls, self.flops, self.moved, self.floor = 0, 0.0, 0.0, 0.0
        self._machine = machine
        self._formulas = flop_registry | {name: shape_wrapper(count) for name, count in CPU_ATTENTION.items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in self._formulas:
            with self:  # an operation that consists of others, as in inference mode
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self.calls += 1
        flops = self._formulas[packet](*args, **kwargs, out_val=result) if packet in self._formulas else 0
        moved = _moved(func, args, kwargs, result)
        machine = self._machine
        self.flops += flops
        self.moved += moved
        self.floor += max(flops / machine.flops, moved / machine.rate(moved))
        return result


def seconds_of(work: Callable[[], object], least: float = 0.1) -> float:
    """Median seconds of a call, over repetitions of at least ``least`` seconds."""
    work()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < least:
        work()
        count += 1
    times = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        for _ in range(count):
            work()
        times.append((time.perf_counter() - start) / count)
    return statistics.median(times)


def row(stage: str, work: Callable[[], object], machine: Machine, counted: Callable[[], object] | None = None) -> Row:
    """Measure a stage, then count what one call of it does; ``counted`` does the same by operations of torch alone."""
    seconds = seconds_of(work)
    with Traffic(machine) as traffic:
        (counted or work)()
    arithmetic, calls = traffic.flops / machine.flops, traffic.calls * machine.call_seconds
    of_floor = (traffic.floor + calls) / seconds
    shares = (round(value, 3) for value in (arithmetic / seconds, of_floor))
    times = (float(f"{value:.4g}") for value in (arithmetic, traffic.floor, calls))
    return Row(stage, float(f"{seconds:.4g}"), traffic.calls, traffic.flops, traffic.moved, *times, *shares)


def stages() -> Iterator[tuple[str, Callable[[], object], Callable[[], object] | None]]:
    """What gatito spends its time on, each ready to be called, and what counts in place of ONNX Runtime's graphs."""
    yield "distill nano, 64 windows of 32 steps", _distill("nano"), None
    yield "distill mini, 64 windows of 32 steps", _distill("mini"), None
    yield "nano decides for 50 HalfCheetahs", _decide(50, accelerated=True), _decide(50)
    yield "nano decides for 1 HalfCheetah", _decide(1, accelerated=True), _decide(1)
    yield "decode 32 environments, context 32", _decode(32, accelerated=True), _decode(32)
    yield "decode 32 environments, context 1024", _decode(1024, accelerated=True), _decode(1024)
    ppo = _update("PPO", gym.make("CartPole-v1"), n_steps=256, batch_size=256)
    yield "update PPO, CartPole, batch of 256", ppo, None
    yield "update SAC, 17 numbers, batch of 256", _update("SAC", _Numbers(), batch_size=256), None


def _copied(size: int) -> float:
    source, target = torch.zeros(2, size // 8)
    return size / seconds_of(lambda: target.copy_(source))


def _moved(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    """The bytes that an operation reads and writes."""
    if _is_view(func):
        return 0
    name = func._overloadpacket.__name__
    if name in _READ_ROWS:
        return 2 * _bytes(result)
    if name in _WRITTEN_ROWS:
        return 2 * _bytes(args[-1])
    return _bytes((args, kwargs)) + _bytes(result)


def _bytes(values: Any) -> int:
    return sum(each.numel() * each.element_size() for each in tree_leaves(values) if isinstance(each, torch.Tensor))


def _is_view(func: Any) -> bool:
    """Whether an operation only describes its argument in another way."""
    returned = func._schema.returns
    return bool(returned) and all(each.alias_info is not None and not each.alias_info.is_write for each in returned)


def _distill(model: str) -> Callable[[], object]:
    [task] = suite_of("mixed", None, HALF_CHEETAH).tasks
    network = make_network(model_of(model), codec_of()).train()
    optimizer = make_optimizer(network, DistillConfig())
    with tempfile.TemporaryDirectory() as folder:
        source = Source(task, record(task, 4000, Path(folder) / "trajectories"), 1.0)
        length = model_of(model).context_length
        batch = Mixture([source], network, batch_size=64, sequence_length=length, seed=0).batch(0)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        network.loss(batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return update


def _decide(num_envs: int, *, accelerated: bool = False) -> Callable[[], object]:
    [task] = suite_of("mixed", None, HALF_CHEETAH).tasks
    network = make_network(model_of("nano"), codec_of()).eval()
    policy = NetworkPolicy(network.accelerate() if accelerated else network)
    state = policy.initial_state(num_envs)
    observations = np.random.default_rng(0).normal(size=(num_envs, 17))
    starts, rewards = np.zeros(num_envs, dtype=bool), np.zeros(num_envs)
    inputs = [PolicyInput(task, observations, np.arange(num_envs), starts, rewards, [], [])]
    return lambda: policy.act(inputs, state)


def _decode(context: int, *, accelerated: bool = False, num_envs: int = 32) -> Callable[[], object]:
    model = Transformer(replace(model_of("nano"), context_length=context)).eval()
    if accelerated:
        model.accelerate()
    cache = model.new_cache(num_envs)
    cache.keys.normal_()
    cache.positions += context
    tokens, every = torch.randn(num_envs, model.config.width), torch.arange(num_envs)
    episode_start = torch.zeros(num_envs, dtype=torch.bool)

    @torch.inference_mode()
    def step() -> None:
        model.step(tokens, cache, every, episode_start)

    return step


class _Numbers(gym.Env):
    """As many numbers as HalfCheetah has, without its physics."""

    observation_space = gym.spaces.Box(-1, 1, (17,))
    action_space = gym.spaces.Box(-1, 1, (6,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


def _update(algorithm: str, env: gym.Env, **settings: Any) -> Callable[[], object]:
    """One update of stable-baselines3's learner, as recipes run it, with gradients by hand."""
    import stable_baselines3

    learner: Any = getattr(stable_baselines3, algorithm)("MlpPolicy", env, device="cpu", seed=0, **settings)
    use_manual_gradients(learner, lambda _: None)
    if algorithm == "PPO":
        learner.n_epochs = 1
        learner.learn(settings["n_steps"])
        return learner.train
    learner.learn(300)
    return lambda: learner.train(1, settings["batch_size"])


def chart(rows: list[Row], machine: Machine) -> dict[str, Any]:
    """Arithmetic per byte against arithmetic per second, below the roofs of cache and memory."""
    points = [
        {"stage": each.stage, "intensity": each.flops / each.moved, "gigaflops": each.flops / each.seconds / 1e9}
        for each in rows
    ]
    roofs = [
        {"roof": name, "intensity": x, "gigaflops": min(machine.flops, x * rate) / 1e9}
        for name, rate in (("cache", machine.rate(0)), ("main memory", machine.rate(math.inf)))
        for x in np.geomspace(0.05, 200, 60)
    ]
    x: dict[str, Any] = {
        "field": "intensity",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [0.05, 200]},
        "title": "floating-point operations per byte moved",
    }
    y = {
        "field": "gigaflops",
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": "billion operations per second",
    }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": 560,
        "height": 360,
        "background": "white",
        "config": {"axis": {"gridOpacity": 0.3}},
        "layer": [
            {
                "data": {"values": roofs},
                "mark": {"type": "line", "color": "#767676"},
                "encoding": {"x": x, "y": y, "strokeDash": {"field": "roof", "type": "nominal", "title": "roof"}},
            },
            {
                "data": {"values": points},
                "mark": {"type": "point", "filled": True, "size": 90},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": {"field": "stage", "type": "nominal", "sort": None, "legend": {"labelLimit": 0}},
                },
            },
        ],
    }


def main() -> int:
    """Measure every stage, and write the table and the chart; the exit code."""
    import vl_convert

    torch.set_num_threads(1)
    machine = Machine.measured()
    print(machine)
    rows = []
    for stage, work, counted in stages():
        rows.append(row(stage, work, machine, counted))
        print(rows[-1], flush=True)
    write_text(TABLE, to_csv(rows, Row))
    write_bytes(CHART, vl_convert.vegalite_to_png(json.dumps(chart(rows, machine)), scale=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
