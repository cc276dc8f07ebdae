"""Items of a file of one's own: a line of JSON for each."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.artifacts import digest
from benchmarks.base.errors import FatalError, GatitoError, unknown
from benchmarks.base.files import file_digest
from benchmarks.tasks.words.items import Item, check_item
from benchmarks.tasks.words.metrics import SCORES

_KEYS = ("prompt", "references", "image", "test")


class Own:
    """Items of a file, such as ``{"prompt": "2+2?", "references": ["4", "four"], "image": "sum.png", "test": true}``.

    Images are paths relative to the file.
    """

    forced = False

    def __init__(self, file: str, score: str = "exact", longest_prompt: int = 96, longest_answer: int = 96) -> None:
        """Read and check all items.

        Args:
            file: the file's path.
            score: a name in :data:`benchmarks.tasks.words.metrics.SCORES`.
            longest_prompt: the longest prompt in bytes.
            longest_answer: the longest reference in bytes.

        Raises:
            FatalError: if there is no such score.
            GatitoError: names the line that is wrong, or says that one side has no items.
        """
        if score not in SCORES:
            raise unknown("score", score, SCORES)
        self.metric, self.longest_prompt, self.longest_answer = score, longest_prompt, longest_answer
        path = Path(file).expanduser()
        if not path.is_file():
            raise GatitoError(f"there is no file {path}: name the items with kwargs: {{file: PATH}}.")
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        listed = [_listed(line, f"{path}, line {number + 1}") for number, line in enumerate(lines)]
        self.has_images = any("image" in entry for entry in listed)
        self._items: dict[bool, list[Item]] = {True: [], False: []}
        for number, entry in enumerate(listed):
            where = f"{path}, line {number + 1}"
            image = _picture(path.parent / entry["image"], where) if "image" in entry else None
            item = Item(entry.get("prompt", ""), tuple(entry["references"]), image)
            check_item(item, self, where)
            self._items[entry.get("test", False)].append(item)
        for test, items in self._items.items():
            if not items:
                raise GatitoError(f"{path} has no items with test: {str(test).lower()}: both sides need some.")
        pictures = [file_digest(path.parent / entry["image"]) for entry in listed if "image" in entry]
        self.digest = digest([lines, pictures])

    def draw(self, rng: np.random.Generator, test: bool) -> Item:
        """Any item of the side."""
        items = self._items[test]
        return items[int(rng.integers(len(items)))]


def _listed(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise GatitoError(f"{where} is not JSON ({error}).") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("references"), list):
        raise GatitoError(f'{where} must read {{"prompt": "…", "references": ["…"]}}, with image and test as options.')
    for key in entry:
        if key not in _KEYS:
            raise FatalError(f"{where}: {unknown('key', key, _KEYS)}")
    wrong = [
        key
        for key, kind in (("prompt", str), ("image", str), ("test", bool))
        if not isinstance(entry.get(key, kind()), kind)
    ]
    if wrong or not all(isinstance(text, str) for text in entry["references"]):
        raise GatitoError(f"{where}: prompt, image and references are texts, and test is true or false.")
    return entry


def _picture(path: Path, where: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise GatitoError(f"{where}: the image {path} cannot be read ({error}).") from None
