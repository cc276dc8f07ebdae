import av
import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.artifacts import read_json
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.report.clips import ClipsConfig, Filmed, film, side_by_side, write_video
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite
from tests.conftest import make_run, make_task

CONFIG = ClipsConfig(agents=["random", "expert"], seconds=2.0, height=40)


class Canvas(gym.Env):
    """Renders its step number as a shade of grey, at 50 frames per second."""

    metadata = {"render_fps": 50, "render_modes": ["rgb_array"]}
    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.steps += 1
        return 0, 0.0, False, False, {}

    def render(self):
        return np.full((80, 120, 3), self.steps, np.uint8)


def test_a_clip_has_25_frames_per_second_of_the_first_seconds():
    env = Filmed(Canvas(), CONFIG)
    env.reset(seed=0)
    for _ in range(300):
        env.step(0)
    assert env.rate == 25
    assert [int(picture[0, 0, 0]) for picture in env.frames] == list(range(0, 100, 2))
    assert env.frames[0].shape == (40, 60, 3)
    env.reset(seed=1)
    assert len(env.frames) == 1


def test_clips_are_side_by_side_and_short_ones_hold_their_last_frame():
    one, other = np.full((5, 41, 30, 3), 10, np.uint8), np.full((2, 41, 30, 3), 20, np.uint8)
    other[1] = 30
    both = side_by_side([one, other])
    assert both.shape == (5, 40, 68, 3)  # even sizes, for the codec
    assert both[4, 0, 0, 0] == 10 and both[4, 0, -1, 0] == 30 and both[0, 0, 33, 0] == 255


def test_a_video_can_be_read_back(tmp_path):
    frames = np.zeros((10, 40, 60, 3), np.uint8)
    frames[5:] = 200
    write_video(tmp_path / "a.mp4", frames, 25)
    with av.open(tmp_path / "a.mp4") as video:
        pictures = [picture.to_ndarray(format="rgb24") for picture in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 25
    assert len(pictures) == 10
    assert pictures[0].mean() < 20 and pictures[9].mean() > 180


def agents():
    return [Agent(AgentId("random"), RandomPolicy), Agent(AgentId("expert"), RandomPolicy)]


def test_a_clip_is_made_once_and_keeps_its_returns(tmp_path):
    run = make_run(tmp_path / "runs" / "r", Suite("toy", (make_task("CartPole-v1", "toy/cartpole"),)))
    for _ in range(2):
        clip = film(run, agents(), CONFIG)["toy/cartpole"]
        about = read_json(clip.folder / "clip.json")
    assert set(about["agents"]) == {"random", "expert"} and about["agents"]["random"]["return"] >= 8
    assert (clip.folder / "clip.mp4").stat().st_size > 500
    before = (clip.folder / "clip.mp4").stat().st_mtime_ns
    film(run, agents(), CONFIG)
    assert (clip.folder / "clip.mp4").stat().st_mtime_ns == before


def test_an_environment_without_rendering_gets_one_warning_and_no_clip(tmp_path, capsys):
    run = make_run(tmp_path / "runs" / "r", Suite("toy", (make_task(),)))
    for _ in range(2):
        clip = film(run, agents(), CONFIG)
    assert capsys.readouterr().err.count("toy/counter cannot be rendered") == 1
    assert not (clip["toy/counter"].folder / "clip.mp4").exists()
    assert film(run, [], CONFIG) == {}


@pytest.mark.parametrize("setting", [{"seconds": 0.0}, {"height": 3}])
def test_invalid_settings_are_rejected(setting):
    with pytest.raises(GatitoError, match=r"clips\.\w+ must be at least"):
        ClipsConfig(**setting).check(())
