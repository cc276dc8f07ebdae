"""The critic: the expected discounted return of a state, for rewards of any scale.

It predicts a categorical distribution over returns that are evenly spaced on a symlog axis, trained with two-hot
targets: the loss does not depend on a task's scale, and the axis does not bias the mean (Hafner et al. 2023,
arXiv:2301.04104, equations 8 to 10).
"""

import torch
from torch import nn

_LARGEST = 10.0  # on the logarithmic axis: returns up to 22,000
_POINTS = 161


class Critic(nn.Module):
    """Maps hidden states to expected returns."""

    points: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, _POINTS)
        nn.init.zeros_(self.output.weight)  # at first, every expected return is 0
        nn.init.zeros_(self.output.bias)
        axis = torch.linspace(-_LARGEST, _LARGEST, _POINTS, dtype=torch.float64)
        points = axis.sign() * axis.abs().expm1()
        self.register_buffer("points", points.float(), persistent=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``(…, width)`` → expected returns, ``(…)``."""
        # Each point is paired with its opposite, so that the mean of a symmetric distribution is exactly 0.
        probabilities = self.output(hidden).float().softmax(dim=-1)
        half = _POINTS // 2
        pairs = probabilities[..., half + 1 :] - probabilities[..., :half].flip(-1)
        return (pairs * self.points[half + 1 :]).sum(dim=-1)

    def losses(self, hidden: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
        """Cross-entropies in nats, ``(n,)``, of ``(n, width)`` hidden states with returns, ``(n,)``."""
        wanted = self.two_hot(returns)
        return -(wanted * self.output(hidden).float().log_softmax(dim=-1)).sum(dim=-1)

    def two_hot(self, returns: torch.Tensor) -> torch.Tensor:
        """Weights on the two points around each return, with the return as their mean, ``(n, points)``; clipped."""
        clipped = returns.clamp(float(self.points[0]), float(self.points[-1]))
        above = torch.searchsorted(self.points, clipped).clamp(1, _POINTS - 1)
        low, high = self.points[above - 1], self.points[above]
        weight = (clipped - low) / (high - low)
        rows = torch.arange(len(clipped), device=clipped.device)
        wanted = torch.zeros(len(clipped), _POINTS, device=clipped.device)
        wanted[rows, above - 1] = 1 - weight
        wanted[rows, above] = weight
        return wanted
