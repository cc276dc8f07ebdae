"""Causal attention with rotary positions over a window of tokens and an optional prompt."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from generalist.config.settings import ModelConfig


@dataclass(frozen=True)
class LayerPrefix:
    """The keys and values of a prompt in one layer: see :class:`Prefix`.

    Attributes:
        keys: shape ``(batch, kv heads, length, head width)``, not rotated.
        values: the same shape.
        valid: ``(batch, length)``, false where a prompt is padding.
    """

    keys: torch.Tensor
    values: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class Prefix:
    """The keys and values of a prompt, which tokens attend to in addition to their window.

    Attributes:
        keys: by layer, ``(batch, kv heads, length, head width)``, not rotated: a prompt has no distance from a token.
        values: by layer, the same shape.
        valid: ``(batch, length)``, false where a prompt is padding.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    valid: torch.Tensor

    def rows(self, index: torch.Tensor) -> "Prefix":
        """The prompts of these rows, which may repeat."""
        return Prefix(tuple(key[index] for key in self.keys), tuple(v[index] for v in self.values), self.valid[index])

    def layer(self, index: int) -> LayerPrefix:
        """The prompt's keys and values in one layer."""
        return LayerPrefix(self.keys[index], self.values[index], self.valid)


class Attention(nn.Module):
    """Causal multi-head attention over a sliding window, with rotary positions (Su et al. 2021, arXiv:2104.09864).

    A group of query heads may share a key head (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        self.group = config.heads // config.num_kv_heads
        self.widths = [config.width, *[config.num_kv_heads * self.head_width] * 2]  # of queries, keys and values
        self.qkv = nn.Linear(config.width, sum(self.widths), bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(batch, length, …)`` → queries, keys, values, ``(batch, heads or kv heads, length, head width)`` each."""
        parts = qkv.split(self.widths, dim=-1)
        query, key, value = (part.unflatten(-1, (-1, self.head_width)).transpose(1, 2) for part in parts)
        return query, key, value

    def attend(
        self,
        query: torch.Tensor,
        angles: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        prefix: LayerPrefix | None = None,
    ) -> torch.Tensor:
        """Attention to the keys where ``mask`` is true, and to an optional prompt, in one pass.

        A single product computes both kinds of scores: rotated queries meet rotated keys in one half of the channels,
        and unrotated queries meet the prompt in the other half.

        Args:
            query: shape ``(batch, heads, length, head width)``, not rotated.
            angles: the queries' rotary angles, see :meth:`.Transformer.angles`.
            key: shape ``(batch, kv heads, keys, head width)``, rotated.
            value: the same shape.
            mask: shape ``(…, length, keys)``, true where a query attends to a key.
            prefix: each sequence's prompt.

        Returns:
            Shape ``(batch, length, width)``, the heads side by side, to be multiplied by ``out``.
        """
        rotated = rotate(query, angles)
        if prefix is None:
            return self._mix(rotated, key, value, mask)
        rows, _, length, width = query.shape
        keys = torch.cat([F.pad(prefix.keys, (0, width)), F.pad(key, (width, 0))], dim=2)
        values = torch.cat([prefix.values, value], dim=2)
        prompt_mask = prefix.valid[:, None, None].expand(rows, 1, length, -1)
        mask = torch.cat([prompt_mask, mask.expand(rows, 1, length, -1)], dim=-1)
        return self._mix(torch.cat([query, rotated], dim=-1), keys, values, mask)

    def _mix(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The values that queries attend to, ``(batch, length, width)``."""
        scale, length = 1 / math.sqrt(self.head_width), query.shape[2]
        if self.group > 1:  # the queries of a group become further queries of their key head: no key is copied
            query = query.unflatten(1, (-1, self.group)).flatten(2, 3)
            mask = mask.expand(*mask.shape[:-2], length, -1).repeat(*[1] * (mask.dim() - 2), self.group, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        if self.group > 1:
            mixed = mixed.unflatten(2, (self.group, length)).flatten(1, 2)
        return mixed.transpose(1, 2).flatten(2)

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of tokens, ``(…, width)``, that attend only to themselves: the result is their own value."""
        if x.numel() // x.shape[-1] > 4 * x.shape[-1]:  # many tokens: one product less
            return F.linear(x, self.weight_alone())
        return self.out(F.linear(x, self._value_weight()))

    def weight_alone(self) -> torch.Tensor:
        """The matrix, ``(width, width)``, that :meth:`alone` multiplies by."""
        return self.out.weight @ self._value_weight()

    def _value_weight(self) -> torch.Tensor:
        """Maps tokens to the values of all heads, ``(width, width)``."""
        weight = self.qkv.weight[-self.widths[2] :]
        if self.group == 1:
            return weight
        return weight.unflatten(0, (-1, 1, self.head_width)).repeat_interleave(self.group, 1).flatten(0, 2)


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate each pair of channels by its angle; ``x``: ``(…, length, head width)``, see :meth:`Transformer.angles`.

    Channel i and channel i + half the width are a pair: (a, b) becomes (a cos - b sin, b cos + a sin).
    """
    cos, sin = angles.unbind(dim=-1)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
