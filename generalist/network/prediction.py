"""Prediction of the next observation from hidden states, an auxiliary objective."""

import torch
from torch import nn

from generalist.config.codec import CodecConfig
from generalist.network.encoders import CELL_VALUES, ImageDecoder
from generalist.network.inputs import Inputs
from generalist.network.observations import symlog

_CELL_CHANNELS = 3


class NextObservation(nn.Module):
    """Predicts every modality except text, which is constant during an episode.

    No weight belongs to one task: a task uses as many numbers as its vector is long.
    """

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.vector = nn.Linear(width, config.vector_width)
        nn.init.normal_(self.vector.weight, std=0.02)
        self.image = ImageDecoder(config.image_frames, config.image_size, width) if config.image_frames else None
        if config.grid_size:
            self.place = nn.Parameter(0.3 * torch.randn(config.grid_size**2, width))
            cell = nn.Linear(width, _CELL_CHANNELS * CELL_VALUES)
            self.cell = nn.Sequential(nn.Linear(width, width), nn.GELU(), cell)

    def losses(self, hidden: torch.Tensor, inputs: Inputs, choices: torch.Tensor) -> torch.Tensor:
        """The sum of prediction losses over all steps; a window's last step has no next observation.

        Each modality contributes the average over its entries. Numbers of vectors have the squared error on the symlog
        scale; a discrete component counts as one number, with the cross-entropy in nats. Pixels, scaled to [-1, 1],
        have the squared error; a cell's object, colour and state have the cross-entropy.

        Args:
            hidden: ``(B, L, width)``, the model's hidden states of the action tokens.
            inputs: the observations of the same steps.
            choices: ``(B, longest vector)``, see :func:`.modalities.choices`; -1 beyond a vector's end.
        """
        states = hidden.flatten(0, 1)
        total = hidden.sum() * 0
        for modality, measure in (("vector", self._vector), ("image", self._image), ("grid", self._grid)):
            if modality in inputs.values:
                places = inputs.places[modality]
                later = places % inputs.shape[1] > 0
                windows = choices[places[later] // inputs.shape[1]]
                total = total + measure(states[places[later] - 1], inputs.of(modality)[later], windows).sum()
        return total

    def _vector(self, states: torch.Tensor, values: torch.Tensor, choices: torch.Tensor) -> torch.Tensor:
        predicted = self.vector(states)[:, : values.shape[1]]
        losses = ((predicted - symlog(values)).square() * (choices == 0)).sum(dim=1)
        counts = (choices == 0).sum(dim=1)
        for number in range(1, int(choices.amax()) + 1 if choices.numel() else 1):
            alternatives = choices == number
            log_probabilities = predicted.masked_fill(~alternatives, -1e9).log_softmax(dim=1)
            losses = losses - (log_probabilities * values * alternatives).sum(dim=1)
            counts = counts + alternatives.any(dim=1)
        return losses / counts.clamp_min(1)

    def _image(self, states: torch.Tensor, values: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        assert self.image is not None
        return (self.image(states) - (values.float() * (2 / 255) - 1)).square().mean(dim=(1, 2, 3))

    def _grid(self, states: torch.Tensor, values: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        logits = self.cell(states[:, None] + self.place).unflatten(-1, (_CELL_CHANNELS, CELL_VALUES))
        wanted = values.flatten(1, 2).long().clamp_max(CELL_VALUES - 1)
        return -logits.log_softmax(dim=-1).gather(-1, wanted[..., None]).mean(dim=(1, 2, 3))
