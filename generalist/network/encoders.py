"""Small networks that turn images, grids and texts into vectors of the model's width."""

from collections.abc import Sequence

import torch
from torch import nn

from generalist.network.runtime import Accelerated, BoardRuntime

CELL_VALUES = 16  # of each of a cell's channels: MiniGrid has 11 objects, 6 colours, 3 states
_BYTES = 256
_LONGEST_WORD = 16  # bytes; later ones share the last position
_BOARD_BLOCKS = 3  # each has two convolutions
_KNOWN_TEXTS = 4_096  # encoded texts that are cached while acting
_LENGTHS = (16, 32, 64, 128, 256)  # bytes: texts between two of them are encoded together


class ImageEncoder(nn.Module):
    """Three convolutions over stacked frames, half as wide as Mnih et al. 2015's (doi:10.1038/nature14236).

    With ``film``, an instruction scales and shifts the features of every place, as in :class:`GridEncoder`. With
    ``detail``, the first convolution has a stride of 3 in place of 4, and the largest and the mean value of each
    feature are read beside the features at their places (Perez et al. 2018, arXiv:1709.07871, end with the largest):
    an object that is twelve pixels wide is seen more clearly, and it is learned once for all places.
    """

    def __init__(self, frames: int, size: int, width: int, *, film: bool = False, detail: bool = False) -> None:
        super().__init__()
        stride = 3 if detail else 4
        side = ((size - 8) // stride + 1 - 4) // 2 + 1 - 3 + 1
        self.layers = nn.Sequential(
            nn.Conv2d(frames, 16, 8, stride),
            nn.GELU(),
            nn.Conv2d(16, 32, 4, 2),
            nn.GELU(),
            nn.Conv2d(32, 32, 3),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(32 * side * side, width),
        )
        self.anywhere = nn.Linear(2 * 32, width, bias=False) if detail else None
        self.light = nn.Linear(width, 2 * 32) if film else None
        if self.light is not None:
            nn.init.zeros_(self.light.bias)

    def forward(self, images: torch.Tensor, rows: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        """Encode images, each of them once.

        Args:
            images: ``(m, frames, size, size)``, uint8.
            rows: ``(n,)``, the image of each step.
            instruction: ``(n, width)``, the encoded text of each step, or zeros.

        Returns:
            ``(n, width)``.
        """
        *convolutions, _, _ = self.layers
        features = self._convolve(images, convolutions)
        if self.light is None:
            return self._join(features)[rows]
        scale, shift = self.light(instruction)[:, :, None, None].chunk(2, dim=1)
        return self._join(nn.functional.gelu(features[rows] * (1 + scale) + shift))

    def _join(self, features: torch.Tensor) -> torch.Tensor:
        """``(n, 32, side, side)`` → ``(n, width)``."""
        *_, flatten, join = self.layers
        joined = join(flatten(features))
        if self.anywhere is None:
            return joined
        return joined + self.anywhere(torch.cat([features.amax(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1))

    @staticmethod
    def _convolve(images: torch.Tensor, layers: Sequence[nn.Module]) -> torch.Tensor:
        # Channels last: three times as fast on CPUs.
        pixels = images.contiguous(memory_format=torch.channels_last).float()
        # Pixels are scaled to [-1, 1] by scaling the first layer's few weights instead of the many pixels.
        first, *others = layers
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        shift = first.weight.sum(dim=(1, 2, 3))
        hidden = nn.functional.conv2d(pixels, first.weight * (2 / 255), first.bias - shift, first.stride)
        for layer in others:
            hidden = layer(hidden)
        return hidden


class ImageDecoder(nn.Module):
    """The image encoder's layers in reverse, from a vector to pixels."""

    def __init__(self, frames: int, size: int, width: int) -> None:
        super().__init__()
        first = (size - 8) // 4 + 1
        second = (first - 4) // 2 + 1
        self.layers = nn.Sequential(
            nn.Linear(width, 32 * (second - 2) ** 2),
            nn.Unflatten(1, (32, second - 2, second - 2)),
            nn.GELU(),
            nn.ConvTranspose2d(32, 32, 3),
            nn.GELU(),
            nn.ConvTranspose2d(32, 16, 4, 2, output_padding=first % 2),
            nn.GELU(),
            nn.ConvTranspose2d(16, frames, 8, 4, output_padding=size % 4),
            nn.Tanh(),
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """``(n, width)`` → ``(n, frames, size, size)``, from -1 to 1."""
        return self.layers(vectors)


class GridEncoder(nn.Module):
    """Embeddings of cells, each modulated by the instruction, then joined by a linear layer.

    The instruction scales and shifts every cell's features (FiLM: Perez et al. 2018, arXiv:1709.07871, as in BabyAI's
    own baseline), so that the cell with the red ball can stand out when the mission names the red ball. Then residual
    blocks of convolutions relate neighbouring cells, wherever they are in the grid.
    """

    def __init__(self, size: int, width: int, blocks: int, features: int = 32) -> None:
        """Args: the grid's height and width in cells, the model's width, residual blocks, and features of a cell."""
        super().__init__()
        self.size = size
        self.channels = 3
        self.cells = nn.Embedding(self.channels * CELL_VALUES, features)
        self.places = nn.Parameter(0.1 * torch.randn(size * size, features))
        self.light = nn.Linear(width, 2 * features)
        self.look = nn.Sequential(nn.Linear(features, features), nn.GELU())
        self.blocks = residual_blocks(blocks, features)
        self.join = nn.Linear(size * size * features, width)
        nn.init.normal_(self.cells.weight, std=0.5)
        nn.init.zeros_(self.light.bias)

    def forward(self, grids: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        """``(n, size, size, 3)`` cells, uint8, and ``(n, width)`` → ``(n, width)``."""
        offsets = torch.arange(self.channels, device=grids.device) * CELL_VALUES
        values = grids.flatten(1, 2).long().clamp_max(CELL_VALUES - 1) + offsets
        cells = nn.functional.embedding_bag(values.flatten(0, 1), self.cells.weight, mode="sum")
        cells = cells.view(len(grids), -1, cells.shape[-1]) + self.places
        scale, shift = self.light(instruction)[:, None].chunk(2, dim=-1)
        hidden = self.look(cells * (1 + scale) + shift)
        if self.blocks:
            # Cells × features in memory is what convolutions call channels last, so nothing is copied.
            hidden = hidden.view(len(grids), self.size, self.size, -1).permute(0, 3, 1, 2)
            for block in self.blocks:
                hidden = hidden + block(hidden)
            hidden = hidden.permute(0, 2, 3, 1)
        return self.join(hidden.flatten(1))


def residual_blocks(count: int, features: int) -> nn.ModuleList:
    """Pairs of convolutions whose output is added to their input; each pair begins as zero."""
    blocks = nn.ModuleList(
        nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, features, 3, padding=1),
        )
        for _ in range(count)
    )
    for block in blocks:
        nn.init.zeros_(block[-1].weight)  # type: ignore[index]
        nn.init.zeros_(block[-1].bias)  # type: ignore[index]
    return blocks


class BoardEncoder(Accelerated):
    """Planes of a board: convolutions with residual blocks (AlphaGo Zero's, without batch normalisation)."""

    def __init__(self, shape: tuple[int, int, int], width: int, features: int) -> None:
        """Args: ``(planes, rows, columns)`` of a board, the model's width, and the features of a square."""
        super().__init__()
        planes, rows, columns = shape
        self.first = nn.Conv2d(planes, features, 3, padding=1)
        self.blocks = residual_blocks(_BOARD_BLOCKS, features)
        self.join = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(features * rows * columns, width))

    def forward(self, boards: torch.Tensor) -> torch.Tensor:
        """``(n, planes, rows, columns)`` → ``(n, width)``."""
        boards = boards.to(self.first.weight.dtype)
        if self.runtime is not None:
            return self.runtime.encode(boards)
        # Channels last: faster on CPUs.
        hidden = self.first(boards.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.join(hidden)

    def make_runtime(self) -> BoardRuntime:
        """See :class:`.Accelerated`."""
        return BoardRuntime(self)


class TextEncoder(nn.Module):
    """Encodes a text as one vector. While acting, encoded texts are cached."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, torch.Tensor] = {}

    def train(self, mode: bool = True) -> "TextEncoder":
        """Switch the mode and clear the cache, which belongs to other weights."""
        self._known = {}
        return super().train(mode)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """``(n, length)`` bytes, zeros after the text's end → ``(n, width)``."""
        if self.training or torch.is_grad_enabled():
            return self._read_by_length(texts)
        keys = [bytes(row) for row in texts.cpu().numpy()]
        new = [row for row, key in enumerate(keys) if key not in self._known]
        if new:
            if len(self._known) > _KNOWN_TEXTS:
                self._known = {}
                new = list(range(len(keys)))
            self._known |= dict(zip([keys[row] for row in new], self._read_by_length(texts[new]), strict=True))
        return torch.stack([self._known[key] for key in keys])

    def _read_by_length(self, texts: torch.Tensor) -> torch.Tensor:
        """Texts of similar length together: short ones would cost as much as the longest of the batch."""
        lengths = (texts != 0).sum(dim=1)
        groups = torch.bucketize(lengths, torch.tensor(_LENGTHS, device=texts.device))
        present = groups.unique().tolist()
        if len(present) < 2:
            return self._read(_cut(texts))
        rows = [(groups == group).nonzero()[:, 0] for group in present]
        read = torch.cat([self._read(_cut(texts[chosen])) for chosen in rows])
        return read[torch.cat(rows).argsort()]

    def _read(self, texts: torch.Tensor) -> torch.Tensor:
        """``(n, longest)`` bytes → ``(n, width)``; a row must not depend on the others in the batch."""
        raise NotImplementedError


class ByteEncoder(TextEncoder):
    """Bytes with learned position embeddings, convolutions over them, and pooling by a few learned queries."""

    def __init__(self, length: int, width: int, features: int = 64, questions: int = 8) -> None:
        super().__init__()
        self.bytes = nn.Embedding(_BYTES, features)
        self.places = nn.Parameter(0.1 * torch.randn(length, features))
        self.syllables = nn.Sequential(nn.Conv1d(features, features, 7, padding=3), nn.GELU())
        self.words = nn.Sequential(nn.Conv1d(features, features, 7, padding=3), nn.GELU())
        self.questions = nn.Linear(features, questions)
        self.join = nn.Linear(questions * features, width)
        nn.init.normal_(self.bytes.weight, std=0.5)

    def _read(self, texts: torch.Tensor) -> torch.Tensor:
        present = (texts != 0)[:, None]
        letters = (self.bytes(texts) + self.places[: texts.shape[1]]).transpose(1, 2) * present
        # Padding must stay zero, or a text's encoding would depend on the length of the others.
        words = self.words(self.syllables(letters) * present).transpose(1, 2)
        return self.join(_attention_pool(self.questions, words, present[:, 0]))


class WordEncoder(TextEncoder):
    """Words in order, read by a bidirectional GRU (Cho et al. 2014, arXiv:1406.1078) and pooled by learned queries.

    A word is the sum of its letters, each multiplied by a vector for its position in the word. Spaces separate words;
    every other sign is a word. There are no absolute positions, so that a clause has the same meaning anywhere.
    """

    def __init__(self, width: int, features: int = 64, questions: int = 8) -> None:
        super().__init__()
        self.bytes = nn.Embedding(_BYTES, features)
        self.places = nn.Parameter(torch.randn(_LONGEST_WORD, features))
        self.words = nn.Sequential(nn.Linear(features, features), nn.GELU())
        self.order = nn.GRU(features, features, batch_first=True, bidirectional=True)
        self.questions = nn.Linear(2 * features, questions)
        self.join = nn.Linear(questions * 2 * features, width)
        nn.init.normal_(self.bytes.weight, std=0.5)

    def _read(self, texts: torch.Tensor) -> torch.Tensor:
        numbers, places = _in_words(texts)
        counts = 1 + numbers.amax(dim=1).clamp_min(0)  # a text without words is one word without letters
        rows, columns = (numbers >= 0).nonzero(as_tuple=True)
        letters = self.bytes(texts[rows, columns]) * self.places[places[rows, columns]]
        longest = int(counts.max()) if len(texts) else 1
        words = letters.new_zeros(len(texts) * longest, letters.shape[1])
        words = words.index_add(0, rows * longest + numbers[rows, columns], letters)
        words = self.words(words).view(len(texts), longest, -1)
        packed = nn.utils.rnn.pack_padded_sequence(words, counts.cpu(), batch_first=True, enforce_sorted=False)
        read, _ = nn.utils.rnn.pad_packed_sequence(self.order(packed)[0], batch_first=True)
        present = torch.arange(longest, device=texts.device) < counts[:, None]
        return self.join(_attention_pool(self.questions, read, present))


def _in_words(texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each byte, ``(n, length)``: the index of its word (-1 for spaces and padding), and its position in it."""
    alphanumeric = torch.zeros(_BYTES, dtype=torch.bool, device=texts.device)
    alphanumeric[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", *range(128, _BYTES)]] = True
    inside = alphanumeric[texts]
    follows = nn.functional.pad(inside, (1, -1)) & inside
    present = (texts != 0) & (texts != ord(" "))
    begins = present & ~follows
    numbers = torch.where(present, begins.long().cumsum(dim=1) - 1, -1)
    columns = torch.arange(texts.shape[1], device=texts.device).expand_as(texts)
    places = columns - torch.where(begins, columns, 0).cummax(dim=1).values
    return numbers, places.clamp_max(_LONGEST_WORD - 1)


def _cut(texts: torch.Tensor) -> torch.Tensor:
    """Texts without columns that are padding in all rows; at least one column."""
    longest = max(1, int((texts != 0).sum(dim=1).max())) if len(texts) else 1
    return texts[:, :longest].long()


def _attention_pool(queries: nn.Linear, words: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Pool ``(n, words, features)`` to ``(n, queries * features)``: one weighted average per learned query."""
    attention = queries(words).masked_fill(~present[:, :, None], -1e9).softmax(dim=1)
    return (attention.transpose(1, 2) @ words).flatten(1)
