"""Writing as a Gymnasium environment: an action is the next byte."""

import string
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import is_test
from benchmarks.tasks.words.items import SIDE, Item, Source, check_item
from benchmarks.tasks.words.metrics import SCORES

BYTES = 256
END = 0
"""The byte that ends an answer."""
_SIGNS = string.ascii_letters + string.digits + string.punctuation + " \n"
_SHOWN = {ord(sign): sign for sign in _SIGNS}
_LINE, _COLUMNS = 14, 48  # height of a rendered line in pixels, and its signs


class Writing(gym.Env):
    """Writes an answer byte by byte.

    Observations are a dictionary: ``image`` ``(84, 84, 3)`` if the items have one, and ``text``, the prompt, a line end
    and what is written so far (bytes that are not printable ASCII are shown as ``?``). If the source is forced,
    ``text`` is the last bytes of the true text instead. The reward of the last step is the score of the answer; if the
    source is forced, each step has its share. ``info["success"]`` of the last step is whether the answer equals a
    reference.

    ``reset(options={"prompt": TEXT})`` asks a prompt of one's own; its score then means nothing.

    Attributes:
        source: where items come from.
        item: the current item; experts and scores may read it, learners must not.
        written: the bytes so far.
    """

    def __init__(self, source: Source, horizon: int, render_mode: str | None = None) -> None:
        """Args: the items, the most steps of an episode, and ``rgb_array`` or None."""
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 8}
        self.render_mode = render_mode
        self.source = source
        longest = source.longest_prompt + (0 if source.forced else 1 + horizon)
        parts: dict[str, gym.Space] = {"text": gym.spaces.Text(longest, charset=_SIGNS)}
        if source.has_images:
            parts["image"] = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.observation_space: gym.Space = gym.spaces.Dict(parts)
        self.action_space: gym.Space = gym.spaces.Discrete(BYTES)
        self.item = Item("", ("",))
        self.written = b""
        self._test = False
        self._horizon = horizon

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin with a new item; the seed's purpose decides whether it is one for tests.

        Raises:
            GatitoError: if ``options["prompt"]`` is too long or not ASCII.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._test = is_test(seed)
        self.item = self.source.draw(self.np_random, self._test)
        if options and "prompt" in options:
            self.item = Item(options["prompt"], self.item.references, self.item.image)
            check_item(self.item, self.source, "the question")
        self.written = b""
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Write a byte."""
        byte, expected = int(action), self.next_byte
        reference = self.item.references[0]
        if self.source.forced:
            self.written += bytes([byte])
            terminated = len(self.written) in (len(reference), self._horizon)
            reward = float(byte == expected) / len(reference)
        else:
            self.written += bytes([byte]) if byte != END else b""
            terminated = byte == END or len(self.written) == self._horizon
            reward = self.score() if terminated else 0.0
        info = {"success": self.answer in self.item.references} if terminated else {}
        return self._observe(), reward, terminated, False, info

    @property
    def next_byte(self) -> int:
        """The reference's byte at this position; :data:`END` after it."""
        reference = self.item.references[0]
        return ord(reference[len(self.written)]) if len(self.written) < len(reference) else END

    @property
    def answer(self) -> str:
        """What is written so far, as printable ASCII."""
        return "".join(_SHOWN.get(byte, "?") for byte in self.written)

    def score(self) -> float:
        """The score of what is written so far, from 0 to 1."""
        return SCORES[self.source.metric](self.answer, self.item.references)

    def render(self) -> np.ndarray | None:
        """The image, the prompt and the answer, ``(height, width, 3)`` uint8; None without ``rgb_array``."""
        if self.render_mode != "rgb_array":
            return None
        from PIL import Image, ImageDraw  # here: most commands draw nothing

        top = 2 * SIDE if self.item.image is not None else 0
        lines = [*_folded(self.item.prompt), "", *_folded(f"> {self.answer}")]
        room = (self.source.longest_prompt + self.source.longest_answer) // _COLUMNS + 5
        picture = Image.new("RGB", (7 * _COLUMNS, top + _LINE * room), (255, 255, 255))
        if self.item.image is not None:
            picture.paste(Image.fromarray(self.item.image).resize((top, top), Image.Resampling.NEAREST), (0, 0))
        ImageDraw.Draw(picture).multiline_text((4, top + 4), "\n".join(lines[:room]), fill=(0, 0, 0), spacing=3)
        return np.asarray(picture)

    def _observe(self) -> dict[str, Any]:
        if self.source.forced:
            known = self.item.prompt + self.item.references[0][: len(self.written)]
            text = known[-self.source.longest_prompt :]
        else:
            text = f"{self.item.prompt}\n{self.answer}"
        image = {} if self.item.image is None else {"image": self.item.image}
        return {"text": text} | image


def _folded(text: str) -> list[str]:
    """Lines of at most :data:`_COLUMNS` signs."""
    return [
        line[start : start + _COLUMNS] for line in text.split("\n") for start in range(0, max(1, len(line)), _COLUMNS)
    ]
