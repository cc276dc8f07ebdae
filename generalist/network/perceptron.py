"""An MLP in the transformer's place."""

import torch
from torch import nn

from generalist.config.settings import ModelConfig


class Perceptron(nn.Module):
    """Hidden layers over each token by itself, behind the transformer's methods: what memory is worth is their gap."""

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
        """No step sees another anyhow."""
        return self.layers(tokens)

    def new_cache(self, num_envs: int) -> None:
        """It remembers nothing."""

    @staticmethod
    def fork(cache: object, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """It remembers nothing."""

    def step(
        self,
        tokens: torch.Tensor,
        cache: object,
        env_ids: torch.Tensor,
        episode_start: torch.Tensor,
        prefix: None = None,
    ) -> torch.Tensor:
        """``(rows, width)`` in and out; the rest is the transformer's."""
        return self.layers(tokens)
