"""JAT's approach (arXiv:2402.09844), with its library: a token for each observation and each action.

None of its code is here: the network is Hugging Face's GPT-2 as it comes, between linear layers, with a squared error.
"""

from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2Model

from generalist.config.settings import ModelConfig


class Imitator(nn.Module):
    """Continuous observations in, continuous actions out."""

    def __init__(self, model: ModelConfig, observation: int, action: int, tokens: int) -> None:
        """Args: the sizes of the network, of an observation and of an action, and the longest sequence."""
        super().__init__()
        config = GPT2Config(
            vocab_size=1,
            bos_token_id=None,
            eos_token_id=None,
            n_positions=tokens,
            n_embd=model.width,
            n_layer=model.layers,
            n_head=model.heads,
            n_inner=model.feedforward,
        )
        self.observation = nn.Linear(observation, model.width)
        self.action = nn.Linear(action, model.width)
        self.model = GPT2Model(config)
        self.answer = nn.Linear(model.width, action)

    def forward(self, observations: torch.Tensor, actions: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of windows, ``(B, L, size)`` each, as Hugging Face's Trainer wants it."""
        tokens = torch.stack([self.observation(observations), self.action(actions)], dim=2).flatten(1, 2)
        hidden = self.model(inputs_embeds=tokens, use_cache=False).last_hidden_state[:, ::2]
        return {"loss": (self.answer(hidden) - actions).square().mean()}

    def act(
        self,
        observation: torch.Tensor,
        action: torch.Tensor | None,
        cache: Any,
    ) -> tuple[torch.Tensor, Any]:
        """The next action, ``(B, 1, size)``, given the last one and what is remembered."""
        tokens = self.observation(observation)
        if action is not None:
            tokens = torch.cat([self.action(action), tokens], dim=1)
        output = self.model(inputs_embeds=tokens, past_key_values=cache, use_cache=True)
        return self.answer(output.last_hidden_state[:, -1:]), output.past_key_values
