"""Clips: short videos of agents that play the same start side by side.

Run by ``gatito stages=[clips]``.
"""

import math
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base import artifacts, console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import text_of, unknown
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.base.settings import check_settings, decisive, setting
from benchmarks.play.rollout import rollout
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Task, make_env
from benchmarks.tasks.rendering import follow_robot

CLIP = "clip.mp4"
EPISODES = "clip.json"
_FRAMES_PER_SECOND = 25  # at most; frames of faster environments are skipped
GAP = 8  # pixels between two agents


@dataclass
class ClipsConfig:
    """Short videos of agents side by side."""

    agents: list[str] = setting(["expert", "generalist"], "Agents from left to right; [] for no clips.")
    seconds: float = setting(10.0, "Longest clip in seconds; longer episodes are cut.", at_least=1)
    height: int = setting(200, "Height of the picture in pixels; the width follows.", at_least=16)

    def check(self, agents: Sequence[str]) -> None:
        """Reject settings that cannot work; ``agents`` are the available agents.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("clips", self)
        for agent in self.agents:
            if agent not in agents:
                raise unknown("agent in clips.agents", agent, agents)


def clip_artifact(run: Run, task: Task, agents: Sequence[Agent], config: ClipsConfig) -> Artifact:
    """The artifact of a task's clip in a run, with the settings and inputs that decide its content."""
    names = [agent.name for agent in agents]
    settings = {"task": task.digest, "clips": decisive(config), "agents": names, "seed": run.seed}
    made_from = {agent.name: agent.made_from.get(task.name, agent.made_from.get("")) for agent in agents}
    inputs = {name: artifact.fingerprint for name, artifact in made_from.items() if artifact is not None}
    return Artifact(run.folder / "clips" / task.name, "clip", settings, inputs)


def film(run: Run, agents: Sequence[Agent], config: ClipsConfig) -> dict[str, Artifact]:
    """Make the missing clips: every task's first test episode, one clip with all agents.

    Args:
        run: the run.
        agents: the agents, from left to right.
        config: the length and size of clips.

    Returns:
        Finished artifacts by task name, without tasks that failed; an artifact has no video if the task's environment
        cannot be rendered.
    """
    suite = run.survivors()
    clips = {task.name: clip_artifact(run, task, agents, config) for task in suite} if agents else {}
    jobs = []
    for task in suite:
        artifact = clips.get(task.name)
        if artifact is None or artifact.is_complete() or artifact.adopt(run.runs_folder):
            continue
        artifact.start()
        playing = [agent for agent in agents if task.name not in agent.recorded]
        arguments = {"task": task, "agents": playing, "config": config, "seed": run.seed, "artifact": artifact}
        jobs.append(Job(f"film {task.name}", len(playing), arguments, task.name))
    for problem in filter(None, run_jobs(_film, jobs, workers=run.workers, failures=run.failures).values()):
        console.warn(problem)
    return {name: artifact for name, artifact in clips.items() if artifact.is_complete()}


class Filmed(gym.Wrapper):
    """Keeps the frames of the current episode, downscaled and at most 25 per second of its time."""

    def __init__(self, env: gym.Env, config: ClipsConfig) -> None:
        super().__init__(env)
        follow_robot(env)
        render_fps = float(env.metadata.get("render_fps") or _FRAMES_PER_SECOND)
        self._every = max(1, math.ceil(render_fps / _FRAMES_PER_SECOND))
        self.rate = render_fps / self._every
        self._most = int(config.seconds * self.rate)
        self._height = config.height
        self.frames: list[np.ndarray] = []
        self._steps = 0

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
        """Reset the environment, and begin a new list of frames."""
        result = self.env.reset(**arguments)
        self.frames, self._steps = [], 0
        self._draw()
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Step the environment, and keep a frame if one is due."""
        result = self.env.step(action)
        self._steps += 1
        if self._steps % self._every == 0:
            self._draw()
        return result

    def _draw(self) -> None:
        if len(self.frames) < self._most:
            self.frames.append(_resized(np.array(self.env.render()), self._height))


def write_video(path: Path, frames: np.ndarray, rate: float) -> None:
    """Write frames, ``(frames, height, width, 3)``, as H.264, which every browser plays; sizes must be even."""
    import av

    with artifacts.atomic_write(path) as temporary, av.open(temporary, "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=max(1, round(rate)))
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.options = {"crf": "28", "preset": "slow", "threads": "1"}
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())


def side_by_side(films: Sequence[np.ndarray]) -> np.ndarray:
    """Films of one height side by side, ``(frames, height, width, 3)``; a shorter film holds its last frame."""
    length, height = max(map(len, films)), films[0].shape[1]
    gap = np.full((length, height, GAP, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for frames in films:
        parts += [frames[np.minimum(np.arange(length), len(frames) - 1)], gap]
    whole = np.concatenate(parts[:-1], axis=2)
    return whole[:, : height // 2 * 2, : whole.shape[2] // 2 * 2]


def _film(
    *, task: Task, agents: list[Agent], config: ClipsConfig, seed: int, artifact: Artifact, report: Report
) -> str | None:
    """Make the clip of one task; returns a warning if its environment cannot be rendered."""
    start = time.monotonic()
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # lets pygame render without a screen
        os.environ.setdefault(driver, "dummy")
    seed_of_episode = episode_seed(Purpose.TEST, 0, seed)
    problem = _cannot_render(task)
    films, episodes, rate = [], {}, 0.0
    for number, agent in enumerate(agents if problem is None else []):
        cameras: list[Filmed] = []

        def make(task: Task, cameras: list[Filmed] = cameras) -> gym.Env:
            cameras.append(Filmed(make_env(task, render_mode="rgb_array"), config))
            return cameras[-1]

        with closing(agent.load()) as policy:
            [episode] = rollout(policy, {task: [seed_of_episode]}, make=make)
        films.append(np.stack(cameras[0].frames))
        rate = cameras[0].rate
        episodes[agent.name] = {"return": episode.total_return, "length": episode.length, "success": episode.success}
        report(number + 1)
    if problem is None:
        write_video(artifact.folder / CLIP, side_by_side(films), rate)
        artifacts.write_json(artifact.folder / EPISODES, {"agents": episodes, "episode_seed": seed_of_episode})
    artifact.finish(time.monotonic() - start, problem=problem)
    return problem and f"task {task.name} cannot be rendered ({problem}); the report has no clip of it."


def _cannot_render(task: Task) -> str | None:
    """The reason why the task's environment cannot be rendered; None if it can."""
    try:
        env = make_env(task, render_mode="rgb_array")
        env.reset(seed=0)
        picture = env.render()
        env.close()
    except Exception as error:  # environments raise errors of any type
        return text_of(error)
    return None if isinstance(picture, np.ndarray) and picture.ndim == 3 else "render() returns no image"


def _resized(picture: np.ndarray, height: int) -> np.ndarray:
    """Resize an image to the given height; the width follows."""
    from PIL import Image

    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
