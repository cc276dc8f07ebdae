"""Attention: causal, with rotary positions, over a window of tokens and, where there is one, a prompt."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from generalist.config.settings import ModelConfig


@dataclass(frozen=True)
class LayerPrefix:
    """What one layer sees of a prompt: see :class:`Prefix`.

    Attributes:
        keys: shape ``(batch, heads, length, head width)``, not rotated.
        values: the same shape.
        there: ``(batch, length)``, false where a prompt is padding.
    """

    keys: torch.Tensor
    values: torch.Tensor
    there: torch.Tensor


@dataclass(frozen=True)
class Prefix:
    """What tokens see of a prompt besides their window.

    Attributes:
        keys: by layer, ``(batch, heads, length, head width)``, not rotated: a prompt is equally far from every token.
        values: by layer, the same shape.
        there: ``(batch, length)``, false where a prompt is padding.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    there: torch.Tensor

    def rows(self, index: torch.Tensor) -> "Prefix":
        """The prompts of these rows, which may repeat."""
        return Prefix(tuple(key[index] for key in self.keys), tuple(v[index] for v in self.values), self.there[index])

    def layer(self, index: int) -> LayerPrefix:
        """What a layer sees."""
        return LayerPrefix(self.keys[index], self.values[index], self.there)


class Attention(nn.Module):
    """Causal multi-head attention over a sliding window, with rotary positions (Su et al. 2021, arXiv:2104.09864)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each ``(batch, heads, length, head width)``; none is rotated yet."""
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
        """Attention where ``mask`` is true, and to a prompt, if there is one, at once.

        One product gives both kinds of scores: rotated queries meet rotated keys in one half of the channels, unrotated
        ones meet the prompt in the other.

        Args:
            query: shape ``(batch, heads, length, head width)``, not rotated.
            angles: by which queries are rotated, see :meth:`.Transformer.angles`.
            key: shape ``(batch, heads, keys, head width)``, rotated.
            value: the same shape.
            mask: shape ``(…, length, keys)``, true where a query sees a key.
            prefix: of each sequence's prompt.

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
        seen = prefix.there[:, None, None].expand(rows, 1, length, -1)
        mask = torch.cat([seen, mask.expand(rows, 1, length, -1)], dim=-1)
        both = torch.cat([query, rotated], dim=-1)
        mixed = F.scaled_dot_product_attention(both, keys, values, attn_mask=mask, scale=1 / math.sqrt(width))
        return self.out(mixed.transpose(1, 2).flatten(2))

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of tokens, ``(…, width)``, that see themselves alone: each takes its own value, whole."""
        return self.out(F.linear(x, self.qkv.weight[-x.shape[-1] :]))  # the last third makes the values


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Turn each pair of channels by its angle; ``x``: ``(…, length, head width)``, see :meth:`Transformer.angles`."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles[..., 0], angles[..., 1]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
