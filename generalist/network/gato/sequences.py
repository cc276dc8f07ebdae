"""Batches of token sequences for the ``gato`` network, and what is to be predicted in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from scipy.special import softmax

from benchmarks.tasks import spaces
from generalist.network.batches import Window, is_discrete
from generalist.network.continuous import binned, normals
from generalist.network.gato.tokens import StepTokens, Vocabulary, action_tokens


@dataclass(frozen=True)
class Placed:
    """Time steps with their places in a batch of B sequences of L tokens.

    Attributes:
        steps: the tokens.
        starts: ``(n,)``, where each step begins, ``sequence * L + token``.
        positions: ``(n, patches, 2)``, see ``patches.patch_positions``; None: there are no patches.
    """

    steps: StepTokens
    starts: np.ndarray
    positions: np.ndarray | None


@dataclass(frozen=True)
class Sequences:
    """B sequences of L tokens; zeros where one has ended.

    Attributes:
        ids: ``(B, L)``, see ``tokens.Vocabulary``.
        places: ``(B, L)``, each observation token's place within its time step; one and the same for all others.
        images: ``(I, frames, height, width)``, uint8, of all sequences.
        positions: ``(I, patches, 2)`` of their patches.
        patches: ``(I * patches,)``, where their patches stand, ``sequence * L + token``.
    """

    ids: torch.Tensor
    places: torch.Tensor
    images: torch.Tensor
    positions: torch.Tensor
    patches: torch.Tensor


@dataclass(frozen=True)
class Answers:
    """m tokens to be predicted.

    Attributes:
        at: ``(m,)``, the tokens before them, whose hidden states predict them, as ``sequence * L + token``.
        numbers: ``(m,)``, which time step of the batch each is an action of; -1: it is text.
        wanted: ``(m, …)``: ids; or probabilities of the discrete values from 0 on; or means and standard deviations
            in bins.
    """

    at: torch.Tensor
    numbers: torch.Tensor
    wanted: torch.Tensor


@dataclass(frozen=True)
class Targets:
    """All that is to be predicted, by what is known of it."""

    ids: Answers
    probabilities: Answers
    normals: Answers


def arrange(placed: Sequence[Placed], shape: tuple[int, int], elsewhere: int) -> Sequences:
    """Steps in their places.

    Args:
        placed: the steps; no two tokens in one place.
        shape: ``(B, L)``.
        elsewhere: the place of separators and actions, which have none within the observation.
    """
    ids, places = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    images, positions, patches = [], [], []
    for each in placed:
        steps, there, within = each.steps, each.steps.there, each.steps.within
        at = each.starts[:, None] + within
        within[:, within.shape[1] - steps.actions - 1 :] = elsewhere
        ids.reshape(-1)[at[there]] = steps.ids[there]
        places.reshape(-1)[at[there]] = within[there]
        if steps.images is not None:
            images.append(steps.images)
            positions.append(each.positions)
            patches.append(at[:, steps.texts : steps.texts + steps.patches].reshape(-1))
    return Sequences(
        torch.from_numpy(ids),
        torch.from_numpy(places),
        torch.from_numpy(np.concatenate(images) if images else np.zeros((0, 1, 1, 1), np.uint8)),
        torch.from_numpy(np.concatenate(positions) if images else np.zeros((0, 0, 2), np.int64)),
        torch.from_numpy(np.concatenate(patches) if images else np.zeros(0, np.int64)),
    )


class Questions:
    """Collects what is to be predicted: every token of text and of actions, as Gato's mask has it (its eq. 2).

    What was done is what the sequence holds, what should have been done is what is predicted. Where the two differ (the
    recordings have noise) the later numbers of a continuous action would be predicted from earlier ones that the expert
    did not choose, so with labels alone they are left out. A recorded distribution holds whatever was done before: its
    dimensions are independent.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.steps = 0
        self._ids: list[tuple[np.ndarray, ...]] = []
        self._probabilities: list[tuple[np.ndarray, ...]] = []
        self._normals: list[tuple[np.ndarray, ...]] = []

    def add(self, window: Window, placed: Placed, first: int, beginning: int) -> None:
        """Ask for all steps that are placed.

        Args:
            window: they are steps of it.
            placed: the steps.
            first: the number of the first one in the window.
            beginning: where the sequence begins: its first token cannot be predicted.
        """
        steps = placed.steps
        before = placed.starts[:, None] + steps.within - 1
        texts = steps.there[:, : steps.texts] & (before[:, : steps.texts] >= beginning)
        at = before[:, : steps.texts][texts]
        self._ids.append((at, np.full_like(at, -1), steps.ids[:, : steps.texts][texts]))
        own = slice(first, first + len(steps))
        labels, space = window.labels[own], spaces(window.task)[1]
        at = before[:, before.shape[1] - steps.actions :]
        numbers = np.broadcast_to(self.steps + np.arange(len(steps))[:, None], at.shape)
        if window.distributions is None:
            wanted = action_tokens(window.task, labels, self.vocabulary)
            same = wanted == steps.ids[:, -steps.actions :]
            asked = np.ones_like(same)
            asked[:, 1:] = np.logical_and.accumulate(same[:, :-1], axis=1)
            self._ids.append((at[asked], numbers[asked], wanted[asked]))
        elif is_discrete(window.task):
            self._probabilities.append((at[:, 0], numbers[:, 0], softmax(window.distributions[own], axis=-1)))
        else:
            assert isinstance(space, gym.spaces.Box)
            wanted = normals(space, labels, window.distributions[own], self.vocabulary.bins)
            self._normals.append((at.reshape(-1), numbers.reshape(-1), wanted.reshape(-1, 2)))
        self.steps += len(steps)

    def targets(self) -> Targets:
        """All that was asked for."""
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
        logits: ``(answers, vocabulary)``, of ``targets.ids``, then ``.probabilities``, then ``.normals``.
        targets: what to predict.
        steps: real ones in the batch.
        vocabulary: of the tokens.

    Returns:
        ``loss``, the cross-entropy of all tokens to be predicted, in nats per time step; ``text``, the text's share of
        it; and ``accuracy``, the share of steps with the expert's most likely action in every token that is predicted.
    """
    groups = (targets.ids, targets.probabilities, targets.normals)
    hard, discrete, continuous = logits.float().log_softmax(dim=-1).split([len(group.at) for group in groups])
    first, last = vocabulary.discrete, vocabulary.discrete + targets.probabilities.wanted.shape[1]
    discrete, continuous = discrete[:, first:last], continuous[:, vocabulary.continuous : vocabulary.separator]
    likely = binned(targets.normals.wanted[:, 0], targets.normals.wanted[:, 1], vocabulary.bins)
    each = -hard.gather(1, targets.ids.wanted[:, None])[:, 0]
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
        "loss": (each.sum() + soft) / steps,
        "text": each[targets.ids.numbers < 0].sum().detach() / steps,
        "accuracy": (misses == 0).float().mean(),
    }


def _joined(parts: list[tuple[np.ndarray, ...]], nothing: np.ndarray) -> Answers:
    if not parts:
        return Answers(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.from_numpy(nothing))
    at, numbers, wanted = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Answers(torch.from_numpy(at), torch.from_numpy(numbers), torch.from_numpy(wanted.astype(nothing.dtype)))
