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
        keys: shape ``(batch, heads, length, head width)``, not rotated.
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
        keys: by layer, ``(batch, heads, length, head width)``, not rotated: a prompt has no distance from a token.
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
    """Causal multi-head attention over a sliding window, with rotary positions (Su et al. 2021, arXiv:2104.09864)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each ``(batch, heads, length, head width)``, not rotated."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
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
            key: shape ``(batch, heads, keys, head width)``, rotated.
            value: the same shape.
            mask: shape ``(…, length, keys)``, true where a query attends to a key.
            prefix: each sequence's prompt.

        Returns:
            Shape ``(batch, length, width)``.
        """
        rotated = rotate(query, angles)
        if prefix is None:
            mixed = F.scaled_dot_product_attention(rotated, key, value, attn_mask=mask)
            return self.out(mixed.transpose(1, 2).flatten(2))
        rows, _, length, width = query.shape
        keys = torch.cat([F.pad(prefix.keys, (0, width)), F.pad(key, (width, 0))], dim=2)
        values = torch.cat([prefix.values, value], dim=2)
        prompt_mask = prefix.valid[:, None, None].expand(rows, 1, length, -1)
        mask = torch.cat([prompt_mask, mask.expand(rows, 1, length, -1)], dim=-1)
        both = torch.cat([query, rotated], dim=-1)
        mixed = F.scaled_dot_product_attention(both, keys, values, attn_mask=mask, scale=1 / math.sqrt(width))
        return self.out(mixed.transpose(1, 2).flatten(2))

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of tokens, ``(…, width)``, that attend only to themselves: the result is their own value."""
        return self.out(F.linear(x, self.qkv.weight[-x.shape[-1] :]))  # the last third projects to values


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate each pair of channels by its angle; ``x``: ``(…, length, head width)``, see :meth:`Transformer.angles`."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles[..., 0], angles[..., 1]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
