"""Small networks that turn images, grids and texts into vectors of the model's width."""

import torch
from torch import nn

CELL_VALUES = 16  # of each of a cell's channels: MiniGrid has 11 objects, 6 colours, 3 states
_BYTES = 256
_LONGEST_WORD = 16  # bytes; those behind share the last place
_KNOWN_TEXTS = 4_096  # read before and remembered while acting


class ImageEncoder(nn.Module):
    """Three convolutions over stacked frames, half as wide as Mnih et al. 2015's (doi:10.1038/nature14236)."""

    def __init__(self, frames: int, size: int, width: int) -> None:
        super().__init__()
        side = ((size - 8) // 4 + 1 - 4) // 2 + 1 - 3 + 1
        self.layers = nn.Sequential(
            nn.Conv2d(frames, 16, 8, 4),
            nn.GELU(),
            nn.Conv2d(16, 32, 4, 2),
            nn.GELU(),
            nn.Conv2d(32, 32, 3),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(32 * side * side, width),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(n, frames, size, size)``, uint8 → ``(n, width)``."""
        # Channels last: three times as fast on processors.
        pixels = images.contiguous(memory_format=torch.channels_last).float()
        # From -1 to 1, as the first layer sees them: its few weights are scaled, not the many pixels.
        first, *others = self.layers
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        shift = first.weight.sum(dim=(1, 2, 3))
        seen = nn.functional.conv2d(pixels, first.weight * (2 / 255), first.bias - shift, first.stride)
        for layer in others:
            seen = layer(seen)
        return seen


class ImageDecoder(nn.Module):
    """The image encoder's layers backwards, from a vector to pixels."""

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
    """Embeddings of cells, each looked at in the light of the instruction, then all of them together.

    The instruction scales and shifts every cell's features (FiLM: Perez et al. 2018, arXiv:1709.07871; BabyAI's own
    baseline does so), so that the cell with the red ball can stand out when the red ball is asked for.
    """

    def __init__(self, size: int, width: int, features: int = 32) -> None:
        super().__init__()
        self.channels = 3
        self.cells = nn.Embedding(self.channels * CELL_VALUES, features)
        self.places = nn.Parameter(0.1 * torch.randn(size * size, features))
        self.light = nn.Linear(width, 2 * features)
        self.look = nn.Sequential(nn.Linear(features, features), nn.GELU())
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
        return self.join(self.look(cells * (1 + scale) + shift).flatten(1))


class TextEncoder(nn.Module):
    """What is said in a text, as one vector. While acting, a text that was read before is not read again."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, torch.Tensor] = {}

    def train(self, mode: bool = True) -> "TextEncoder":
        """As every module's; what was read with other weights is forgotten."""
        self._known = {}
        return super().train(mode)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """``(n, length)`` bytes, zeros after the text's end → ``(n, width)``."""
        if self.training or torch.is_grad_enabled():
            return self._read(_cut(texts))
        keys = [bytes(row) for row in texts.cpu().numpy()]
        new = [row for row, key in enumerate(keys) if key not in self._known]
        if new:
            if len(self._known) > _KNOWN_TEXTS:
                self._known = {}
                new = list(range(len(keys)))
            self._known |= dict(zip([keys[row] for row in new], self._read(_cut(texts[new])), strict=True))
        return torch.stack([self._known[key] for key in keys])

    def _read(self, texts: torch.Tensor) -> torch.Tensor:
        """``(n, longest)`` bytes → ``(n, width)``, whatever else is in the batch."""
        raise NotImplementedError


class ByteEncoder(TextEncoder):
    """Bytes, marked by learned places in the text, convolved into words and summed up by a few learned questions."""

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
        there = (texts != 0)[:, None]
        letters = (self.bytes(texts) + self.places[: texts.shape[1]]).transpose(1, 2) * there
        # Nothing may stand behind a text's end, or how long the others are would change what it means.
        words = self.words(self.syllables(letters) * there).transpose(1, 2)
        return self.join(_answers(self.questions, words, there[:, 0]))


class WordEncoder(TextEncoder):
    """Words in order, read forwards and backwards by a GRU (Cho et al. 2014, arXiv:1406.1078), summed up by questions.

    A word is the sum of its letters, each times a vector for its place in the word; spaces are between words, other
    signs are words of their own. Nothing marks places in the text: what a clause says need not be learnt at each anew.
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
        there = torch.arange(longest, device=texts.device) < counts[:, None]
        return self.join(_answers(self.questions, read, there))


def _in_words(texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each byte, ``(n, length)``, in which word it is, from 0, -1 for spaces and ends, and where in it."""
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
    """Texts as long as the longest of them, at least one byte."""
    longest = max(1, int((texts != 0).sum(dim=1).max())) if len(texts) else 1
    return texts[:, :longest].long()


def _answers(questions: nn.Linear, words: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """What ``(n, words, features)`` answer to each question, side by side: averages of those that fit it best."""
    attention = questions(words).masked_fill(~there[:, :, None], -1e9).softmax(dim=1)
    return (attention.transpose(1, 2) @ words).flatten(1)
