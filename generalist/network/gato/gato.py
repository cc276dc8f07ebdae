"""The ``gato`` network: every value is a token of one sequence, and actions are decoded token by token.

After "A Generalist Agent" (Reed et al. 2022, arXiv:2205.06175): ``tokens`` defines the tokens, ``patches`` embeds
images, ``sequences`` defines the prediction targets. No weight belongs to one task, except with ``task_id``.

A window is cut to the whole time steps that fit. A demonstration precedes them, as in the paper: it slides out of the
context window like other tokens and is not predicted. Its actions are the expert's labels, since a saved network stores
only these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import Task
from benchmarks.tasks.actions import split_options
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window, moved, options
from generalist.network.distributions import Categorical, NetworkOutput, Selector, greedy
from generalist.network.gato.patches import PatchEmbedding, patch_positions
from generalist.network.gato.sequences import Placed, Sequences, TargetCollector, Targets, arrange, losses
from generalist.network.gato.tokens import (
    DISCRETE,
    StepTokens,
    Vocabulary,
    action_length,
    actions_of,
    step_length,
    tokenise,
    valid_tokens,
)
from generalist.network.heads import check_actions, check_limits
from generalist.network.network import Network, make_task_embedding
from generalist.network.observations import check_observations
from generalist.network.transformer import Cache


@dataclass(frozen=True)
class GatoBatch:
    """B windows of L tokens, see :class:`generalist.network.batches.Batch`.

    Attributes:
        weight: real time steps, excluding demonstrations.
        sequences: the tokens.
        targets: the prediction targets.
        tasks: ``(B,)``, task indices; None if the task identity is not an input.
    """

    weight: int
    sequences: Sequences
    targets: Targets
    tasks: torch.Tensor | None


@dataclass
class GatoMemory:
    """The network's memory while acting.

    Attributes:
        cache: the trunk's cache.
        prompts: each task's embedded demonstration, ``(tokens, width)``.
    """

    cache: Cache
    prompts: Mapping[str, torch.Tensor]


class GatoNetwork(Network):
    """Embeds tokens and predicts the next one.

    Attributes:
        tokens: embeddings of the vocabulary.
        places: embeddings of positions within an observation, and one for separators and actions.
        image: embeds image patches; None if the settings allow no images.
        head: maps hidden states to logits of the next token.
    """

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the settings of inputs and outputs, and the tasks' names for ``task_id``.

        Raises:
            GatitoError: for settings that this codec does not support.
        """
        super().__init__(model, codec, tasks)
        _check_settings(codec)
        width = model.width
        self.vocabulary = Vocabulary(codec.bins)
        side = math.ceil(codec.image_size / codec.patch) if codec.image_frames else 0
        # One position for every token of the longest observation that these settings allow, and one for other tokens.
        longest = codec.text_length + side**2 + codec.vector_width + 3 * codec.grid_size**2
        self.tokens = nn.Embedding(self.vocabulary.size, width)
        self.places = nn.Embedding(longest + 1, width)
        self.image = PatchEmbedding(codec.image_frames, codec.patch, width) if codec.image_frames else None
        self.task_embedding = make_task_embedding(codec, width, tasks)
        self.head = nn.Linear(width, self.vocabulary.size, bias=False)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.3)
        nn.init.normal_(self.head.weight, std=0.02)

    @staticmethod
    def check_task(codec: CodecConfig, task: Task, context_length: int) -> None:
        """Reject a task that does not fit the network or its context.

        Raises:
            GatitoError: names the task, the part that does not fit, and the setting to change.
        """
        _check_settings(codec)
        check_limits(codec, task, check_observations(codec, task))
        check_actions(codec, task)
        if max(options(task), default=0) > DISCRETE:
            raise GatitoError(
                f"task {task.name} has {max(options(task))} discrete actions, codec {codec.name} carries {DISCRETE}: "
                "leave it out with tasks=[…]."
            )
        needed, purpose = step_length(task, codec, longest=True), "one time step"
        if codec.conditioning == "prompt":
            needed, purpose = 2 * needed, "one time step and one of a demonstration"
        if needed > context_length:
            raise GatitoError(
                f"task {task.name} needs {needed} tokens for {purpose}, model.context_length={context_length} holds "
                f"fewer: set model.context_length={needed}, and distill.sequence_length no shorter."
            )

    def steps_in(self, task: Task, tokens: int) -> int:
        """The most time steps that fit into this many tokens, assuming the shortest possible texts."""
        return tokens // step_length(task, self.codec, longest=False)

    def remembers(self, task: Task) -> bool:
        """Always true: every token attends to earlier ones."""
        return True

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> GatoBatch:
        """Make a batch of windows of at most ``length`` tokens, with one random stream per window."""
        placed, collector = [], TargetCollector(self.vocabulary)
        for number, (window, rng) in enumerate(zip(windows, rngs, strict=True)):
            used, beginning = 0, number * length
            if window.prompt is not None:
                demonstration = self._demonstration(window.prompt, length)
                placed.append(self._place(demonstration, beginning, rng))
                used = int(demonstration.lengths.sum())
            steps = self._tokenise(window.task, window.observations, window.actions)
            first, last = _cut(steps.lengths, length - used, rng)
            kept = self._place(steps.part(first, last), beginning + used, rng)
            placed.append(kept)
            collector.add(window, kept, first, beginning)
        return GatoBatch(
            collector.steps,
            arrange(placed, (len(windows), length), self.places.num_embeddings - 1),
            collector.targets(),
            self.task_numbers([window.task for window in windows]),
        )

    def loss(self, batch: GatoBatch) -> dict[str, torch.Tensor]:
        """See :func:`sequences.losses`."""
        hidden = self.trunk(self.embed(batch.sequences, batch.tasks)).flatten(0, 1)
        targets = batch.targets
        at = torch.cat([targets.ids.at, targets.probabilities.at, targets.normals.at])
        return losses(self.head(hidden[at]), targets, batch.weight, self.vocabulary)

    def embed(self, sequences: Sequences, tasks: torch.Tensor | None) -> torch.Tensor:
        """Embed tokens as the trunk's inputs, ``(B, L, width)``."""
        vectors = self.tokens(sequences.ids) + self.places(sequences.places)
        if tasks is not None:
            assert self.task_embedding is not None
            vectors = vectors + self.task_embedding(tasks)[:, None]
        if len(sequences.images):
            assert self.image is not None
            patches = self.image(sequences.images, sequences.positions)
            patches = patches.to(vectors.dtype)  # bfloat16 on a GPU
            vectors = vectors.flatten(0, 1).index_add(0, sequences.patches, patches).view_as(vectors)
        return vectors

    def initial_state(self, num_envs: int, prompts: Mapping[str, Window]) -> GatoMemory:
        """See :meth:`Network.initial_state`."""
        embedded = {}
        for name, prompt in prompts.items():
            steps = self._demonstration(prompt, self.model.context_length)
            placed = self._place(steps, 0, None)
            shape = (1, int(steps.lengths.sum()))
            sequences = arrange([placed], shape, self.places.num_embeddings - 1)
            embedded[name] = self._embed([prompt.task], sequences)[0]
        return GatoMemory(self.trunk.new_cache(num_envs), embedded)

    def fork(self, memory: GatoMemory, sources: np.ndarray, targets: np.ndarray) -> None:
        """See :meth:`Network.fork`."""
        self.trunk.fork(memory.cache, torch.from_numpy(sources), torch.from_numpy(targets))

    def replace_actions(self, memory: GatoMemory, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:
        """Not supported: actions are already tokens in the cache.

        Raises:
            GatitoError: always.
        """
        raise GatitoError(
            f"task {task.name}: codec gato writes each action into its memory while deciding, so other actions cannot "
            "be tried: set codec=step or codec=jat.",
            task.name,
        )

    def act(self, inputs: Sequence[PolicyInput], memory: GatoMemory, select: Selector = greedy) -> list[NetworkOutput]:
        """Read observations task by task, then decode the actions' tokens one by one for all rows at once."""
        hidden = torch.cat([self._read(rows, memory) for rows in inputs])
        counts = [len(rows.env_ids) for rows in inputs]
        env_ids = self.tensor(np.concatenate([rows.env_ids for rows in inputs]))
        sizes = [action_length(rows.task) for rows in inputs]
        dimensions = self.tensor(np.repeat(sizes, counts))
        numbers = moved(self.task_numbers([rows.task for rows in inputs for _ in rows.env_ids]), self.device)
        streams = [rng for rows in inputs for rng in rows.rngs]
        tokens = torch.zeros(len(env_ids), max(sizes), dtype=torch.long, device=self.device)
        for dimension in range(max(sizes)):
            [rows] = (dimensions > dimension).nonzero(as_tuple=True)
            invalid = self.tensor(np.concatenate([self._invalid(each, dimension) for each in inputs]))
            logits = self.head(hidden[rows]).masked_fill(invalid, -torch.inf)
            chosen = select(Categorical(logits), [streams[row] for row in rows.tolist()])
            tokens[rows, dimension] = chosen
            vectors = self.tokens(chosen) + self.places.weight[-1]
            if numbers is not None:
                assert self.task_embedding is not None
                vectors = vectors + self.task_embedding(numbers[rows])
            no_start = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
            hidden[rows] = self.trunk.step(vectors, memory.cache, env_ids[rows], no_start)
        outputs = []
        by_task = np.split(tokens.cpu().numpy(), np.cumsum(counts)[:-1])
        for rows, size, decoded in zip(inputs, sizes, by_task, strict=True):
            actions = actions_of(rows.task, decoded[:, :size], self.vocabulary)
            outputs.append(NetworkOutput(actions, actions))
        return outputs

    def _invalid(self, rows: PolicyInput, number: int) -> np.ndarray:
        """``(rows, vocabulary)``, which ids a token of the action may not have; no rows if there is no such token."""
        tokens = valid_tokens(rows.task, self.vocabulary)
        if number >= len(tokens):
            return np.zeros((0, self.vocabulary.size), dtype=bool)
        invalid = np.ones((len(rows.env_ids), self.vocabulary.size), dtype=bool)
        first, last = tokens[number]
        legal = True if rows.action_masks is None else split_options(rows.action_masks, options(rows.task))[number]
        invalid[:, first:last] = np.logical_not(legal)
        return invalid

    def _read(self, rows: PolicyInput, memory: GatoMemory) -> torch.Tensor:
        """Hidden states at the separators, ``(rows, width)``; new episodes start with the demonstration."""
        env_ids, episode_start = self.tensor(rows.env_ids), self.tensor(rows.episode_start)
        prompt = memory.prompts.get(rows.task.name)
        if prompt is not None and episode_start.any():
            new = env_ids[episode_start]
            self.trunk.extend(
                prompt.expand(len(new), -1, -1), memory.cache, new, torch.ones_like(new, dtype=torch.bool)
            )
            episode_start = torch.zeros_like(episode_start)
        steps = self._tokenise(rows.task, rows.observations, None)
        shape = (len(steps), int(steps.lengths.max()))
        placed = Placed(steps, np.arange(shape[0]) * shape[1], self._positions(steps, None))
        sequences = arrange([placed], shape, self.places.num_embeddings - 1)
        vectors = self._embed([rows.task] * len(steps), sequences)
        counts = self.tensor(steps.lengths)
        hidden = self.trunk.extend(vectors, memory.cache, env_ids, episode_start, counts)
        return hidden[torch.arange(len(steps), device=self.device), counts - 1]

    def _demonstration(self, prompt: Window, length: int) -> StepTokens:
        """The last steps of a demonstration that fill at most half of ``length`` tokens."""
        steps = self._tokenise(prompt.task, prompt.observations, prompt.labels)
        fitting = int((steps.lengths[::-1].cumsum() <= length // 2).sum())
        return steps.part(len(steps) - min(fitting, self.codec.prompt_steps), len(steps))

    def _tokenise(self, task: Task, observations: np.ndarray, actions: np.ndarray | None) -> StepTokens:
        return tokenise(task, observations, actions, self.vocabulary, self.codec)

    def _embed(self, tasks: Sequence[Task], sequences: Sequences) -> torch.Tensor:
        return self.embed(moved(sequences, self.device), moved(self.task_numbers(tasks), self.device))

    def _place(self, steps: StepTokens, beginning: int, rng: np.random.Generator | None) -> Placed:
        """Place steps one after another."""
        lengths = steps.lengths
        positions = self._positions(steps, rng if self.training else None)
        return Placed(steps, beginning + lengths.cumsum() - lengths, positions)

    def _positions(self, steps: StepTokens, rng: np.random.Generator | None) -> np.ndarray | None:
        if steps.images is None:
            return None
        rows, columns = (math.ceil(size / self.codec.patch) for size in steps.images.shape[-2:])
        return patch_positions(len(steps), rows, columns, rng)


def _check_settings(codec: CodecConfig) -> None:
    if codec.previous_actions:
        raise FatalError(
            "codec.previous_actions=true: every past action is a token of codec gato already, set "
            "codec.previous_actions=false."
        )
    if codec.memory != "all":
        raise FatalError("codec.memory=partial: in codec gato, every token sees the past; set codec.memory=all.")
    if codec.continuous != "bins":
        raise FatalError(f"codec.continuous={codec.continuous}: codec gato predicts tokens, set it to bins.")
    if codec.text != "bytes":
        raise FatalError(f"codec.text={codec.text}: a byte is a token of codec gato, set codec.text=bytes.")
    if codec.board_features:
        raise FatalError("codec gato reads a board as numbers: set codec.board_features=0, or codec=step.")
    if codec.observation_loss:
        raise FatalError("codec gato predicts no observations: set codec.observation_loss=0, or set codec=jat.")
    if codec.critic:
        raise FatalError("codec gato predicts no returns: set codec.critic=0, or set codec=step.")


def _cut(lengths: np.ndarray, room: int, rng: np.random.Generator) -> tuple[int, int]:
    """Choose as many consecutive steps as fit into ``room`` tokens: first and last + 1.

    The start is sampled: if the end were always cut off, ends of episodes would never be learned.
    """
    ends = np.concatenate([[0], lengths.cumsum()])
    latest = int(np.searchsorted(ends, ends[-1] - room))
    first = int(rng.integers(latest + 1))
    return first, int(np.searchsorted(ends, ends[first] + room, side="right")) - 1
