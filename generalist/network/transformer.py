"""The transformer: decoder-only, RMSNorm, rotary positions, sliding-window causal attention.

It maps tokens to hidden states and is independent of tasks: the network around it makes its input tokens and reads its
output. Training runs it over whole sequences (:meth:`Transformer.forward`). Acting runs it with a cache, one token at a
time (:meth:`Transformer.step`) or several (:meth:`Transformer.extend`). All use the same attention window, so all give
the same numbers. For tokens that attend only to themselves, no attention is computed (:meth:`Transformer.alone`). Every
token attends to the prompt (:meth:`Transformer.read`), which does not slide out of the window.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from generalist.config.settings import ModelConfig
from generalist.network.attention import Attention, LayerPrefix, Prefix, rotate
from generalist.network.norm import RMSNorm
from generalist.network.runtime import Accelerated, TransformerRuntime


@dataclass
class Cache:
    """Memory of :meth:`Transformer.step`: the keys and values of each environment's last ``window`` tokens.

    Attributes:
        keys: shape ``(layers, num_envs, kv heads, window, head width)``, a ring buffer indexed by position modulo
            window.
        values: the same shape.
        positions: shape ``(num_envs,)``, tokens seen since the environment's episode began.
    """

    keys: torch.Tensor
    values: torch.Tensor
    positions: torch.Tensor


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config)
        self.feedforward_norm = RMSNorm(config.width)
        self.feedforward = nn.Sequential(
            nn.Linear(config.width, config.feedforward, bias=False),
            nn.GELU(),
            nn.Linear(config.feedforward, config.width, bias=False),
        )

    def forward(
        self,
        x: torch.Tensor,
        angles: torch.Tensor,
        mask: torch.Tensor,
        prefix: LayerPrefix | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(batch, length, width)`` in and out; also returns the layer's unrotated keys and its values."""
        query, key, value = self.attention.split(self.enter(x))
        return self.leave(x, self.attention.attend(query, angles, rotate(key, angles), value, mask, prefix)), key, value

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values side by side; ``x``: ``(…, width)``."""
        return self.attention.qkv(self.attention_norm(x))

    def leave(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The block's output, given its input and what attention has mixed, ``(…, width)`` each."""
        x = x + self.attention.out(mixed)
        return x + self.feedforward(self.feedforward_norm(x))

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        """``(…, width)`` in and out, for tokens that attend only to themselves."""
        x = x + self.attention.alone(self.attention_norm(x))
        return x + self.feedforward(self.feedforward_norm(x))


class Transformer(Accelerated):
    """A stack of blocks and a final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)
        self._angles = torch.empty(0, config.width // config.heads, 2)
        self.apply(self._initialise)

    def forward(
        self, tokens: torch.Tensor, prefix: Prefix | None = None, windows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Hidden states of whole sequences.

        Args:
            tokens: shape ``(batch, length, width)``; each sequence begins at its first token. Padding at the end is
                harmless, since attention is causal.
            prefix: each sequence's prompt, see :meth:`read`.
            windows: shape ``(batch,)``, the number of tokens that each sequence's tokens attend to, themselves
                included; None: the model's context length.

        Returns:
            The same shape; entry t depends only on the prompt and the tokens up to t.
        """
        return self._run(tokens, prefix, windows)[0]

    def alone(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states of tokens, ``(…, width)``, each a sequence by itself: :meth:`forward` without attention."""
        if self.runtime is not None:
            return self.runtime.alone(tokens)
        for block in self.blocks:
            assert isinstance(block, Block)
            tokens = block.alone(tokens)
        return self.norm(tokens)

    def make_runtime(self) -> TransformerRuntime:
        """See :class:`.Accelerated`."""
        return TransformerRuntime(self)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer's queries, keys and values side by side; ``x``: ``(…, width)``."""
        return self.blocks[0].enter(x)  # type: ignore[operator]

    def advance(self, layer: int, x: torch.Tensor, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From a layer's attention to the next one's: the layer's output, and the next one's queries, keys and values.

        ``x`` is the layer's input and ``mixed`` what its attention has mixed, ``(…, width)`` each. After the last
        layer, the second result is the transformer's output.
        """
        x = self.blocks[layer].leave(x, mixed)  # type: ignore[operator]
        return x, self.blocks[layer + 1].enter(x) if layer + 1 < len(self.blocks) else self.norm(x)  # type: ignore[operator]

    def read(self, tokens: torch.Tensor, valid: torch.Tensor) -> Prefix:
        """Keys and values of prompts, ``(batch, length, width)``; ``valid``: ``(batch, length)``, false for padding."""
        _, keys, values = self._run(tokens, None, None)
        return Prefix(tuple(keys), tuple(values), valid)

    def _run(
        self, tokens: torch.Tensor, prefix: Prefix | None, windows: torch.Tensor | None
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        length = tokens.shape[1]
        place = torch.arange(length, device=tokens.device)
        distance = place[:, None] - place[None, :]
        reach = self.config.context_length if windows is None else windows[:, None, None, None]
        mask = (distance >= 0) & (distance < reach)
        angles = self.angles(length).to(tokens.device)
        keys, values = [], []
        for layer, block in enumerate(self.blocks):
            tokens, key, value = block(tokens, angles, mask, prefix and prefix.layer(layer))
            keys.append(key)
            values.append(value)
        return self.norm(tokens), keys, values

    def new_cache(self, num_envs: int) -> Cache:
        """An empty cache for ``num_envs`` environments."""
        config = self.config
        shape = (config.layers, num_envs, config.num_kv_heads, config.context_length, config.width // config.heads)
        weight = self.norm.weight
        keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        positions = torch.zeros(num_envs, dtype=torch.long, device=weight.device)
        return Cache(keys, torch.zeros_like(keys), positions)

    @staticmethod
    def fork(cache: Cache, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copy the memory of the environments ``sources`` to ``targets``: ``(n,)`` each, targets distinct."""
        for memory in (*cache.keys, *cache.values):  # layer by layer, in pieces that fit into the CPU's cache
            memory.index_copy_(0, targets, memory.index_select(0, sources))
        cache.positions[targets] = cache.positions[sources]

    def step(
        self,
        tokens: torch.Tensor,
        cache: Cache,
        env_ids: torch.Tensor,
        episode_start: torch.Tensor,
        prefix: Prefix | None = None,
    ) -> torch.Tensor:
        """Hidden states of one new token per environment; the cache is updated in place.

        Args:
            tokens: shape ``(rows, width)``.
            cache: from :meth:`new_cache`.
            env_ids: shape ``(rows,)``, each row's index in the cache, all different.
            episode_start: shape ``(rows,)``, true where an episode begins: the environment's memory is cleared.
            prefix: each row's prompt, see :meth:`read`.

        Returns:
            Shape ``(rows, width)``, equal to the last entry of :meth:`forward` over the whole episode so far.
        """
        size = self.config.context_length
        positions = cache.positions[env_ids].masked_fill(episode_start, 0)
        slots = positions % size
        longest = int(positions.max()) + 1
        used = min(size, longest)
        # Slots up to the position hold this episode's tokens; once the ring buffer is full, all slots do.
        mask = torch.arange(used, device=tokens.device)[None, :] <= positions[:, None]
        angles = self.angles(longest).to(tokens.device)[positions][:, None, None]
        every_env = len(env_ids) == cache.keys.shape[1] and bool(
            (env_ids == torch.arange(len(env_ids), device=env_ids.device)).all()
        )
        layers = self.runtime or self
        x = tokens[:, None]
        following = layers.enter(x)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            query, key, value = block.attention.split(following)
            keys, values = cache.keys[layer], cache.values[layer]
            keys[env_ids, :, slots] = rotate(key, angles)[:, :, 0]
            values[env_ids, :, slots] = value[:, :, 0]
            keys, values = keys[:, :, :used], values[:, :, :used]  # slots that no environment has filled are skipped
            if not every_env:  # gathering copies the memory of the environments that are still running
                keys = keys.index_select(0, env_ids)  # far faster than keys[env_ids]
                values = values.index_select(0, env_ids)
            prompt = prefix and prefix.layer(layer)
            mixed = block.attention.attend(query, angles, keys, values, mask[:, None, None], prompt)
            x, following = layers.advance(layer, x, mixed)
        cache.positions[env_ids] = positions + 1
        return following[:, 0]

    def extend(
        self,
        tokens: torch.Tensor,
        cache: Cache,
        env_ids: torch.Tensor,
        episode_start: torch.Tensor,
        counts: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states of several new tokens per environment; the cache is updated in place.

        Args:
            tokens: shape ``(rows, n, width)``.
            cache: from :meth:`new_cache`.
            env_ids: shape ``(rows,)``, each row's index in the cache, all different.
            episode_start: shape ``(rows,)``, true where an episode begins: the environment's memory is cleared.
            counts: shape ``(rows,)``, the number of tokens of each row, the rest is padding; None: all.

        Returns:
            Shape ``(rows, n, width)``, equal to the last entries of :meth:`forward` over the whole episode so far;
            entries of padding are meaningless.
        """
        rows, length, _ = tokens.shape
        size, device = self.config.context_length, tokens.device
        counts = torch.full_like(env_ids, length) if counts is None else counts
        seen = cache.positions[env_ids].masked_fill(episode_start, 0)[:, None]
        place = torch.arange(length, device=device)
        positions = seen + place
        # The latest position in each slot before these tokens; below 0 if the slot is empty.
        held = seen - 1 - (seen - 1 - torch.arange(size, device=device)) % size
        earlier = (held >= 0)[:, None] & (positions[:, :, None] - held[:, None] < size)
        distance = place[:, None] - place
        among_new = ((distance >= 0) & (distance < size)).expand(rows, length, length)
        mask = torch.cat([earlier, among_new], dim=-1)[:, None]
        # All keys are read before any is written: a later token may overwrite a slot that an earlier one attends to.
        written = (place < counts[:, None]) & (place >= counts[:, None] - size)
        row, column = written.nonzero(as_tuple=True)
        env_id, slot = env_ids[row], positions[row, column] % size
        angles = self.angles(int(positions.max()) + 1).to(device)[positions][:, None]
        layers = self.runtime or self
        x = tokens
        following = layers.enter(x)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            query, key, value = block.attention.split(following)
            key = rotate(key, angles)
            keys, values = cache.keys[layer], cache.values[layer]
            every_key, every_value = torch.cat([keys[env_ids], key], dim=2), torch.cat([values[env_ids], value], dim=2)
            mixed = block.attention.attend(query, angles, every_key, every_value, mask)
            x, following = layers.advance(layer, x, mixed)
            keys[env_id, :, slot] = key[row, :, column]
            values[env_id, :, slot] = value[row, :, column]
        cache.positions[env_ids] = seen[:, 0] + counts
        return following

    def angles(self, length: int) -> torch.Tensor:
        """Cosines and signed sines of the rotary angles, ``(length, head width, 2)``; see :func:`.rotate`.

        The angles are computed in float64: after ten thousand steps of an episode, float32 would have lost their
        third digit.
        """
        if length > len(self._angles):
            half = self._angles.shape[1] // 2
            with torch.inference_mode(False):  # else a network that has acted could not be trained any more
                frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
                angle = torch.arange(max(length, 2 * len(self._angles)), dtype=torch.float64)[:, None] * frequency
                cos, sin = angle.cos().repeat(1, 2), torch.cat([-angle.sin(), angle.sin()], dim=1)
                self._angles = torch.stack([cos, sin], dim=-1).float()
        return self._angles[:length]

    def _initialise(self, module: nn.Module) -> None:
        # GPT-2's scheme: layers that add to the residual stream start smaller in deeper stacks.
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Block):
            scale = 0.02 / math.sqrt(2 * self.config.layers)
            nn.init.normal_(module.attention.out.weight, std=scale)
            nn.init.normal_(module.feedforward[2].weight, std=scale)  # type: ignore[arg-type]
