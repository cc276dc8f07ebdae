"""Items from data that packages contain: digits, dialogue, and Python's documentation.

What is held out for tests follows from a digest of the text itself (or the image's number), so that equal texts are
never on both sides.
"""

import functools
import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.artifacts import digest
from benchmarks.base.errors import GatitoError
from benchmarks.tasks.words.items import SIDE, Item
from benchmarks.tasks.words.metrics import MISSING

_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LONGEST = 96  # bytes of a line of dialogue; a tenth of the lines is longer and left out
_SHORTEST_PAGE = 256  # bytes of a page of the documentation after its repetitions are removed


class Digits:
    """Name the digit of an image: scikit-learn's 1797 digits of 8 x 8 pixels, enlarged."""

    metric, has_images, forced = "exact", True, False
    longest_prompt = len("which digit?")
    longest_answer = max(map(len, _NAMES))

    def __init__(self) -> None:
        """Load the images.

        Raises:
            GatitoError: if scikit-learn is missing.
        """
        self._images, self._digits = _digits()
        self.digest = digest(hashlib.sha256(self._images.tobytes()).hexdigest())

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """A digit; every fifth image is for tests. Writers are not known, so both sides may share some."""
        numbers = np.flatnonzero((np.arange(len(self._digits)) % 5 == 4) == test)
        number = int(numbers[int(rng.integers(len(numbers)))])
        return Item("which digit?", (_NAMES[self._digits[number]],), _enlarged(self._images[number]))


class Replies:
    """Reply to a line of dialogue: the English part of ChatterBot's corpus."""

    metric, has_images, forced = "chrf", False, False
    longest_prompt = longest_answer = _LONGEST

    def __init__(self) -> None:
        """Load the corpus.

        Raises:
            GatitoError: if the package is missing.
        """
        replies = _dialogue()
        self._prompts = {test: [prompt for prompt in replies if is_held_out(prompt, 5) == test] for test in (0, 1)}
        self._replies = replies
        self.digest = digest(replies)

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """A prompt with all of its replies; a fifth of the prompts is for tests. Which reply is first is drawn."""
        prompts = self._prompts[int(test)]
        prompt = prompts[int(rng.integers(len(prompts)))]
        replies = self._replies[prompt]
        first = replies[int(rng.integers(len(replies)))]
        return Item(prompt, tuple(dict.fromkeys([first, *replies])))


class Language:
    """Predict the next byte of Python's documentation (the standard library's ``pydoc_data.topics``)."""

    metric, has_images, forced = "predicted", False, True

    def __init__(self, context: int = 64, passage: int = 64) -> None:
        """Args: bytes that are shown before the next one, and steps of an episode."""
        self.longest_prompt, self.longest_answer = context, passage
        self.texts = documentation()
        self.digest = digest(list(self.texts))

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """A passage from anywhere in the text, with the bytes before it as the prompt."""
        text = self.texts[int(test)]
        start = int(rng.integers(self.longest_prompt, len(text) - self.longest_answer))
        return Item(text[start - self.longest_prompt : start], (text[start : start + self.longest_answer],))


def is_held_out(text: str, of: int) -> bool:
    """Whether a text is held out for tests: one ``of`` several, by its digest, whatever its case."""
    return int(hashlib.sha256(text.strip().lower().encode()).hexdigest(), 16) % of == 0


@functools.cache
def documentation() -> tuple[str, str]:
    """The training text and the test text of Python's documentation, both ASCII.

    A tenth of the pages is for tests. Pages repeat paragraphs of others: each paragraph stands once, and one that a
    test page has is not in the training text.
    """
    from pydoc_data.topics import topics

    seen: set[str] = set()
    pages: dict[bool, list[str]] = {True: [], False: []}
    for test in (True, False):
        for name in sorted(topics):
            if is_held_out(name, 10) != test:
                continue
            paragraphs = list(dict.fromkeys(_ascii(topics[name]).split("\n\n")))
            page = "\n\n".join(paragraph for paragraph in paragraphs if _bare(paragraph) not in seen)
            seen |= {_bare(paragraph) for paragraph in paragraphs}
            pages[test] += [page] if len(page) >= _SHORTEST_PAGE else []
    return "\n\n".join(pages[False]), "\n\n".join(pages[True])


def _bare(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _ascii(text: str) -> str:
    """The text without other signs than printable ASCII and line ends."""
    plain = text.translate(
        {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: "-", 0x2026: "..."}
    )
    return "".join(sign for sign in plain if sign == "\n" or " " <= sign <= "~")


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """``(n, 8, 8)`` uint8 images, white on black, and ``(n,)`` digits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise GatitoError(f"the digits need a package that is not installed ({error}): {MISSING}.") from None
    data: Any = load_digits()
    return np.rint(data.images * (255 / 16)).astype(np.uint8), data.target.astype(np.int64)


def _enlarged(image: np.ndarray) -> np.ndarray:
    """``(8, 8)`` → ``(SIDE, SIDE, 3)``, each pixel a square, with a black margin."""
    scale = SIDE // 8
    margin = (SIDE - 8 * scale) // 2
    large = np.pad(np.kron(image, np.ones((scale, scale), np.uint8)), margin)
    return np.repeat(large[:, :, None], 3, axis=2)


@functools.cache
def _dialogue() -> dict[str, list[str]]:
    """Replies by prompt, in the corpus's order; prompts that differ by case or a space are one."""
    try:
        import chatterbot_corpus
    except ImportError as error:
        raise GatitoError(f"the dialogues need a package that is not installed ({error}): {MISSING}.") from None
    import yaml

    folder = Path(chatterbot_corpus.__file__).parent / "data" / "english"
    replies: dict[str, list[str]] = {}
    spelled: dict[str, str] = {}
    for path in sorted(folder.glob("*.yml")):
        for dialogue in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            lines = [" ".join(_ascii(str(line)).split()) for line in dialogue]
            for prompt, reply in itertools.pairwise(lines):
                if prompt and reply and len(prompt) <= _LONGEST and len(reply) <= _LONGEST:
                    known = replies.setdefault(spelled.setdefault(prompt.lower(), prompt), [])
                    known += [reply] if reply not in known else []
    return replies
