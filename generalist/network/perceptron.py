"""An MLP with the transformer's interface."""

import torch
from torch import nn

from generalist.config.settings import ModelConfig


class Perceptron(nn.Module):
    """Hidden layers applied to each token separately: a baseline that shows the value of memory."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        layers = [(nn.Linear(config.width, config.width), nn.GELU()) for _ in range(config.layers)]
        self.layers = nn.Sequential(nn.GELU(), *(part for layer in layers for part in layer))

    def forward(self, tokens: torch.Tensor, prefix: None = None) -> torch.Tensor:
        """``(…, width)`` in and out."""
        return self.layers(tokens)

    def alone(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same as :meth:`forward`: no token attends to another."""
        return self.layers(tokens)

    def new_cache(self, num_envs: int) -> None:
        """No cache: there is no memory."""

    @staticmethod
    def fork(cache: object, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Nothing to copy: there is no memory."""

    def step(
        self,
        tokens: torch.Tensor,
        cache: object,
        env_ids: torch.Tensor,
        episode_start: torch.Tensor,
        prefix: None = None,
    ) -> torch.Tensor:
        """``(rows, width)`` in and out; the other arguments are only used by the transformer."""
        return self.layers(tokens)
