"""The README's animation: clips of a run in a grid, the expert above the generalist.

Run by ``python -m benchmarks.report.showcase results/runs/NAME docs/showcase.gif classic/cartpole atari/pong``, after
``gatito stages=[experts,evaluate,clips] suite=mixed experts=released generalist=released``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.base.artifacts import read_json
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import atomic_write
from benchmarks.report.clips import CLIP, EPISODES, GAP

_SIZE = 132  # pixels per side of a cell
_MARGIN = 6  # pixels between cells
_LABEL = 20  # pixels of a row or column of labels
_COLOURS = 128  # of the animation's palette


def showcase(run: Path, path: Path, tasks: Sequence[str], *, seconds: float = 6.0, rate: int = 12) -> None:
    """Write an animated GIF of clips, one column per task and one row per agent.

    Args:
        run: folder of a run with clips.
        path: the file to write.
        tasks: the tasks' names, from left to right.
        seconds: length of the animation; longer clips are cut, shorter ones hold their last frame.
        rate: frames per second.

    Raises:
        GatitoError: if the run has no clip of a task.
    """
    columns = [_films(run / "clips" / task, round(seconds * rate), rate) for task in tasks]
    agents = list(columns[0])
    titles = [task.partition("/")[2] for task in tasks]
    frames = [_grid(titles, agents, columns, number) for number in range(round(seconds * rate))]
    palette = _joined_palette(frames)
    images = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with atomic_write(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=1000 // rate,
            loop=0,
            optimize=True,
        )


def _films(folder: Path, length: int, rate: int) -> dict[str, list[Image.Image]]:
    """The square frames of each agent in a clip, resampled to ``rate`` frames per second, by the agent's name."""
    if not (folder / CLIP).exists():
        raise GatitoError(f"{folder} has no clip: run with stages=[clips] first.")
    agents = list(read_json(folder / EPISODES, {"agents": dict})["agents"])
    with av.open(folder / CLIP) as container:
        stream = container.streams.video[0]
        clip_rate = float(stream.average_rate or rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    chosen = [frames[min(len(frames) - 1, round(number * clip_rate / rate))] for number in range(length)]
    width = (frames[0].shape[1] + GAP) // len(agents)
    return {
        agent: [_square(frame[:, number * width : (number + 1) * width - GAP]) for frame in chosen]
        for number, agent in enumerate(agents)
    }


def _square(picture: np.ndarray) -> Image.Image:
    """The middle of a picture as a square of the cells' size."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return Image.fromarray(picture[top : top + side, left : left + side]).resize(
        (_SIZE, _SIZE), Image.Resampling.LANCZOS
    )


def _grid(
    titles: Sequence[str], agents: Sequence[str], columns: Sequence[dict[str, list[Image.Image]]], number: int
) -> Image.Image:
    """One frame of the animation."""
    step = _SIZE + _MARGIN
    frame = Image.new("RGB", (_LABEL + step * len(titles), _LABEL + step * len(agents)), "white")
    for column, (title, films) in enumerate(zip(titles, columns, strict=True)):
        left = _LABEL + column * step
        frame.paste(_text(title, _SIZE), (left, 0))
        for row, agent in enumerate(agents):
            frame.paste(films[agent][number], (left, _LABEL + row * step))
    for row, agent in enumerate(agents):
        frame.paste(_text(agent, _SIZE).rotate(90, expand=True), (0, _LABEL + row * step))
    return frame


def _text(text: str, width: int) -> Image.Image:
    """A line of text in the middle of a white strip."""
    strip = Image.new("RGB", (width, _LABEL), "white")
    font = ImageFont.load_default(13)
    ImageDraw.Draw(strip).text((width / 2, _LABEL / 2), text, fill="#222222", font=font, anchor="mm")
    return strip


def _joined_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """One palette for all frames, so that unchanged pixels stay equal and compress well."""
    sample = frames[:: max(1, len(frames) // 8)]
    sheet = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for number, frame in enumerate(sample):
        sheet.paste(frame, (0, number * frame.height))
    return sheet.quantize(_COLOURS, Image.Quantize.FASTOCTREE)


def main() -> None:
    """Write the animation that the command line describes."""
    parser = argparse.ArgumentParser(description="Write an animated GIF of a run's clips.")
    parser.add_argument("run", type=Path, help="folder of a run with clips")
    parser.add_argument("path", type=Path, help="the GIF to write")
    parser.add_argument("tasks", nargs="+", help="tasks, from left to right")
    options = parser.parse_args()
    showcase(options.run, options.path, options.tasks)


if __name__ == "__main__":
    main()
