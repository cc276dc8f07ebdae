import numpy as np
import pytest
from PIL import Image

from benchmarks.base.artifacts import write_json
from benchmarks.base.errors import GatitoError
from benchmarks.report.clips import side_by_side, write_video
from benchmarks.report.showcase import showcase


def make_clip(folder, *shades):
    """A clip of one shade of grey per agent."""
    folder.mkdir(parents=True)
    write_video(folder / "clip.mp4", side_by_side([np.full((10, 60, 80, 3), shade, np.uint8) for shade in shades]), 25)
    write_json(folder / "clip.json", {"agents": {"expert": {"return": 1.0}, "generalist": {"return": 1.0}}})


def test_tasks_are_columns_and_agents_are_rows(tmp_path):
    make_clip(tmp_path / "clips" / "toy" / "a", 40, 80)
    make_clip(tmp_path / "clips" / "toy" / "b", 120, 200)
    showcase(tmp_path, tmp_path / "a.gif", ["toy/a", "toy/b"], seconds=1.0, rate=10)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.size == (296, 296) and animation.info["loop"] == 0
        frame = np.asarray(animation.convert("RGB"))
    shades = [[int(frame[row, column, 0]) for column in (86, 224)] for row in (86, 224)]
    np.testing.assert_allclose(shades, [[40, 120], [80, 200]], atol=12)


def test_a_missing_clip_gets_one_line(tmp_path):
    with pytest.raises(GatitoError, match=r"toy/a has no clip: run with stages=\[clips\] first\."):
        showcase(tmp_path, tmp_path / "a.gif", ["toy/a"])
