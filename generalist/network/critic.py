"""The critic: the discounted return that is expected from a state, of whatever size a task's rewards are.

A categorical distribution over returns that lie evenly on a symmetric logarithmic axis, taught as two-hot vectors: the
loss does not depend on a task's scale, and the mean is not biased by the axis (Hafner et al. 2023, arXiv:2301.04104,
equations 8 to 10).
"""

import torch
from torch import nn

_LARGEST = 10.0  # on the logarithmic axis: returns up to 22,000
_POINTS = 161


class Critic(nn.Module):
    """Hidden states as expected returns."""

    points: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, _POINTS)
        nn.init.zeros_(self.output.weight)  # it begins by expecting nothing, anywhere
        nn.init.zeros_(self.output.bias)
        axis = torch.linspace(-_LARGEST, _LARGEST, _POINTS, dtype=torch.float64)
        points = axis.sign() * axis.abs().expm1()
        self.register_buffer("points", points.float(), persistent=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``(…, width)`` → expected returns, ``(…)``."""
        # Points are paired with their opposites, so that a symmetric distribution's mean is 0 and no rounding error.
        chances = self.output(hidden).float().softmax(dim=-1)
        half = _POINTS // 2
        pairs = chances[..., half + 1 :] - chances[..., :half].flip(-1)
        return (pairs * self.points[half + 1 :]).sum(dim=-1)

    def losses(self, hidden: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
        """Cross-entropies in nats, ``(n,)``, of ``(n, width)`` hidden states with returns, ``(n,)``."""
        wanted = self.two_hot(returns)
        return -(wanted * self.output(hidden).float().log_softmax(dim=-1)).sum(dim=-1)

    def two_hot(self, returns: torch.Tensor) -> torch.Tensor:
        """Weights on the two points around each return whose mean it is, ``(n, points)``; clipped at the ends."""
        held = returns.clamp(float(self.points[0]), float(self.points[-1]))
        above = torch.searchsorted(self.points, held).clamp(1, _POINTS - 1)
        low, high = self.points[above - 1], self.points[above]
        weight = (held - low) / (high - low)
        rows = torch.arange(len(held), device=held.device)
        wanted = torch.zeros(len(held), _POINTS, device=held.device)
        wanted[rows, above - 1] = 1 - weight
        wanted[rows, above] = weight
        return wanted
