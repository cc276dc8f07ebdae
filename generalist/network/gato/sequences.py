"""Batches of token sequences for the ``gato`` network, and their prediction targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from scipy.special import softmax

from benchmarks.tasks import spaces
from benchmarks.tasks.actions import split_options
from generalist.network.batches import Window, options
from generalist.network.continuous import binned, normals
from generalist.network.gato.tokens import StepTokens, Vocabulary, action_tokens


@dataclass(frozen=True)
class Placed:
    """Time steps with their positions in a batch of B sequences of L tokens.

    Attributes:
        steps: the tokens.
        starts: ``(n,)``, the index of each step's first token, ``sequence * L + token``.
        positions: ``(n, patches, 2)``, see ``patches.patch_positions``; None without patches.
    """

    steps: StepTokens
    starts: np.ndarray
    positions: np.ndarray | None


@dataclass(frozen=True)
class Sequences:
    """B sequences of L tokens, padded with zeros.

    Attributes:
        ids: ``(B, L)``, see ``tokens.Vocabulary``.
        places: ``(B, L)``, each observation token's index within its time step; one common value for all others.
        images: ``(I, frames, height, width)``, uint8, the images of all sequences.
        positions: ``(I, patches, 2)``, the positions of their patches within the image.
        patches: ``(I * patches,)``, the indices of their patch tokens, ``sequence * L + token``.
    """

    ids: torch.Tensor
    places: torch.Tensor
    images: torch.Tensor
    positions: torch.Tensor
    patches: torch.Tensor


@dataclass(frozen=True)
class TokenTargets:
    """m tokens to predict.

    Attributes:
        at: ``(m,)``, the indices of the preceding tokens, whose hidden states predict them, ``sequence * L + token``.
        numbers: ``(m,)``, the time step of the batch whose action each belongs to; -1 for text.
        wanted: ``(m, …)``: ids; or probabilities of the discrete values from 0 on; or means and standard deviations
            in bins.
    """

    at: torch.Tensor
    numbers: torch.Tensor
    wanted: torch.Tensor


@dataclass(frozen=True)
class Targets:
    """All tokens to predict, grouped by the form of their targets."""

    ids: TokenTargets
    probabilities: TokenTargets
    normals: TokenTargets


def arrange(placed: Sequence[Placed], shape: tuple[int, int], elsewhere: int) -> Sequences:
    """Write steps into sequences.

    Args:
        placed: the steps; their tokens must not overlap.
        shape: ``(B, L)``.
        elsewhere: the value of ``places`` for separators and actions, which are not part of the observation.
    """
    ids, places = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    images, positions, patches = [], [], []
    for item in placed:
        steps, present, within = item.steps, item.steps.present, item.steps.within
        at = item.starts[:, None] + within
        within[:, within.shape[1] - steps.actions - 1 :] = elsewhere
        ids.reshape(-1)[at[present]] = steps.ids[present]
        places.reshape(-1)[at[present]] = within[present]
        if steps.images is not None:
            images.append(steps.images)
            positions.append(item.positions)
            patches.append(at[:, steps.texts : steps.texts + steps.patches].reshape(-1))
    return Sequences(
        torch.from_numpy(ids),
        torch.from_numpy(places),
        torch.from_numpy(np.concatenate(images) if images else np.zeros((0, 1, 1, 1), np.uint8)),
        torch.from_numpy(np.concatenate(positions) if images else np.zeros((0, 0, 2), np.int64)),
        torch.from_numpy(np.concatenate(patches) if images else np.zeros(0, np.int64)),
    )


class TargetCollector:
    """Collects the prediction targets: every token of text and actions, as in Gato's masked loss (its eq. 2).

    The sequence contains the actions that were taken; the targets are the expert's labels. Where the two differ (the
    recordings have noise), later dimensions of a continuous action would be predicted from earlier ones that the expert
    did not choose, so they are left out if only labels are known. A recorded distribution is valid in any case, since
    its dimensions are independent.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.steps = 0
        self._ids: list[tuple[np.ndarray, ...]] = []
        self._probabilities: list[tuple[np.ndarray, ...]] = []
        self._normals: list[tuple[np.ndarray, ...]] = []

    def add(self, window: Window, placed: Placed, first: int, beginning: int) -> None:
        """Add the targets of placed steps.

        Args:
            window: the window that the steps belong to.
            placed: the steps.
            first: the index of the first of these steps in the window.
            beginning: the index of the sequence's first token, which cannot be predicted.
        """
        steps = placed.steps
        before = placed.starts[:, None] + steps.within - 1
        texts = steps.present[:, : steps.texts] & (before[:, : steps.texts] >= beginning)
        at = before[:, : steps.texts][texts]
        self._ids.append((at, np.full_like(at, -1), steps.ids[:, : steps.texts][texts]))
        placed_steps = slice(first, first + len(steps))
        labels, space = window.labels[placed_steps], spaces(window.task)[1]
        at = before[:, before.shape[1] - steps.actions :]
        numbers = np.broadcast_to(self.steps + np.arange(len(steps))[:, None], at.shape)
        if window.distributions is None:
            wanted = action_tokens(window.task, labels, self.vocabulary)
            same = wanted == steps.ids[:, -steps.actions :]
            predicted = np.ones_like(same)
            predicted[:, 1:] = np.logical_and.accumulate(same[:, :-1], axis=1)
            self._ids.append((at[predicted], numbers[predicted], wanted[predicted]))
        elif choices := options(window.task):
            logits = window.distributions[placed_steps]
            if window.masks is not None:
                logits = np.where(window.masks[placed_steps], logits, -np.inf)
            for number, choice in enumerate(split_options(logits, choices)):
                self._probabilities.append((at[:, number], numbers[:, number], softmax(choice, axis=-1)))
        else:
            assert isinstance(space, gym.spaces.Box)
            wanted = normals(space, labels, window.distributions[placed_steps], self.vocabulary.bins)
            self._normals.append((at.reshape(-1), numbers.reshape(-1), wanted.reshape(-1, 2)))
        self.steps += len(steps)

    def targets(self) -> Targets:
        """The targets collected so far."""
        most = max([wanted.shape[1] for _, _, wanted in self._probabilities], default=1)
        padded = [
            (at, numbers, np.pad(wanted, ((0, 0), (0, most - wanted.shape[1]))))
            for at, numbers, wanted in self._probabilities
        ]
        return Targets(
            _joined(self._ids, np.zeros(0, np.int64)),
            _joined(padded, np.zeros((0, most), np.float32)),
            _joined(self._normals, np.zeros((0, 2), np.float32)),
        )


def losses(logits: torch.Tensor, targets: Targets, steps: int, vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
    """Averages over time steps.

    Args:
        logits: ``(tokens to predict, vocabulary)``, of ``targets.ids``, then ``.probabilities``, then ``.normals``.
        targets: the prediction targets.
        steps: the number of real steps in the batch.
        vocabulary: the vocabulary.

    Returns:
        ``loss``, the cross-entropy of all predicted tokens in nats per time step; ``text``, the part of it that text
        causes; ``accuracy``, the share of steps with the expert's most likely action in every predicted token.
    """
    groups = (targets.ids, targets.probabilities, targets.normals)
    hard, discrete, continuous = logits.float().log_softmax(dim=-1).split([len(group.at) for group in groups])
    first, last = vocabulary.discrete, vocabulary.discrete + targets.probabilities.wanted.shape[1]
    discrete, continuous = discrete[:, first:last], continuous[:, vocabulary.continuous : vocabulary.separator]
    likely = binned(targets.normals.wanted[:, 0], targets.normals.wanted[:, 1], vocabulary.bins)
    token_losses = -hard.gather(1, targets.ids.wanted[:, None])[:, 0]
    soft = -(targets.probabilities.wanted * discrete).sum() - (likely * continuous).sum()
    missed = torch.cat(
        [
            hard.argmax(dim=-1) != targets.ids.wanted,
            discrete.argmax(dim=-1) != targets.probabilities.wanted.argmax(dim=-1),
            continuous.argmax(dim=-1) != likely.argmax(dim=-1),
        ]
    )
    numbers = torch.cat([group.numbers for group in groups])
    misses = torch.zeros(steps, device=logits.device).index_add(
        0, numbers.clamp_min(0), (missed & (numbers >= 0)).float()
    )
    return {
        "loss": (token_losses.sum() + soft) / steps,
        "text": token_losses[targets.ids.numbers < 0].sum().detach() / steps,
        "accuracy": (misses == 0).float().mean(),
    }


def _joined(parts: list[tuple[np.ndarray, ...]], empty: np.ndarray) -> TokenTargets:
    if not parts:
        no_index = torch.zeros(0, dtype=torch.long)
        return TokenTargets(no_index, no_index, torch.from_numpy(empty))
    at, numbers, wanted = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return TokenTargets(torch.from_numpy(at), torch.from_numpy(numbers), torch.from_numpy(wanted.astype(empty.dtype)))
