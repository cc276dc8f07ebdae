"""Cached decoding against encoding the whole context in each step; and the growth of its cost."""

import functools
from collections.abc import Callable
from dataclasses import replace

import torch

from generalist.network.transformer import Transformer
from tests.speed.cases import Case, Measurement, timed
from tests.speed.crew import Crew
from tests.speed.tasks import model_of

_CONTEXTS = (32, 256, 1024)
_NUM_ENVS = (1, 32)
_REACHES = {(32, 1): 0.9, (256, 1): 2, (1024, 1): 10, (32, 32): 5, (256, 32): 20, (1024, 32): 50}


def cases() -> list[Case]:
    """``nano`` with contexts of 32 to 1024 tokens, one environment and thirty-two."""
    found = []
    for num_envs in _NUM_ENVS:
        envs = f"{num_envs} environment{'s' if num_envs > 1 else ''}"
        for context in _CONTEXTS:
            pair = functools.partial(_pair, (_cached, context, num_envs), (_uncached, context, num_envs))
            quick = (context, num_envs) == (1024, 1)
            found.append(
                Case("decode", f"context {context}, {envs}", "uncached", _REACHES[context, num_envs], pair, quick=quick)
            )
        flat = functools.partial(_pair, (_cached, _CONTEXTS[-1], num_envs), (_cached, _CONTEXTS[0], num_envs))
        found.append(Case("decode", f"context {_CONTEXTS[-1]}, {envs}", f"context {_CONTEXTS[0]}", 0.9, flat))
    longest, shortest = _CONTEXTS[-1], _CONTEXTS[0]
    grouped = functools.partial(_pair, (_cached, longest, num_envs, 1), (_cached, shortest, num_envs))
    case = f"context {longest}, {envs}, one head of keys and values"
    return [*found, Case("decode", case, f"context {shortest}", 0.35, grouped)]


def _pair(ours: tuple, theirs: tuple) -> tuple[Measurement, Measurement]:
    return Crew(_ready, [ours]).rate, Crew(_ready, [theirs]).rate


def _ready(
    decoding: Callable[[Transformer, int], Measurement], context: int, num_envs: int, kv_heads: int | None = None
) -> Measurement:
    model = Transformer(replace(model_of("nano"), context_length=context, kv_heads=kv_heads)).eval()
    return decoding(model, num_envs)


def _cached(model: Transformer, num_envs: int, steps: int = 100) -> Measurement:
    """More steps of episodes that are longer than the context."""
    model.accelerate()
    cache = model.new_cache(num_envs)
    cache.keys.normal_()
    cache.positions += model.config.context_length
    tokens, every = torch.randn(num_envs, model.config.width), torch.arange(num_envs)
    episode_start = torch.zeros(num_envs, dtype=torch.bool)

    @torch.inference_mode()
    def work() -> int:
        for _ in range(steps):
            model.step(tokens, cache, every, episode_start)
        return steps

    return timed(work)


def _uncached(model: Transformer, num_envs: int) -> Measurement:
    tokens = torch.randn(num_envs, model.config.context_length, model.config.width)
    steps = max(1, 20_000 // (num_envs * model.config.context_length))

    @torch.inference_mode()
    def work() -> int:
        for _ in range(steps):
            model(tokens)
        return steps

    return timed(work)
