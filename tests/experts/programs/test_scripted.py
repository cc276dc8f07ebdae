import json
import logging
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose
from benchmarks.play import recording
from benchmarks.play.policy import Noisy
from benchmarks.play.recording import RecordingJob
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite, make_env
from experts import train
from experts.load import load_expert
from experts.programs.scripted import make_program
from experts.recipe import ExpertRecipe, ExpertsConfig
from experts.record import RecordConfig, record_suite
from experts.train import expert_artifact, read_gate, train_experts
from tests.benchmarks.tasks.test_babyai import level
from tests.benchmarks.tasks.test_metaworld import arm
from tests.conftest import ROOT, make_run, make_task

pytest.importorskip("minigrid")
pytest.importorskip("metaworld")

BOT, SCRIPT = ExpertRecipe(algorithm="bot"), ExpertRecipe(algorithm="script")
LEVELS = ["GoToLocal", "BossLevel", "Unlock", "PutNextS7N4", "KeyCorridor", "BlockedUnlockPickup", "OpenDoorsOrderN4"]


def stock_actions(env, actions):
    """The stock bot's action at every step of a given episode; None if it fails, hangs or ends."""
    from minigrid.utils.baby_ai_bot import BabyAIBot

    def hangs(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, hangs)
    bot, last, said = BabyAIBot(env.unwrapped), None, []
    for action in actions:
        signal.alarm(5)
        try:
            advice = bot.replan(last)
        except Exception:
            return [*said, None]
        finally:
            signal.alarm(0)
        if not bot.stack:
            return [*said, None]
        said.append(int(advice))
        env.step(int(action))
        last = int(action)
    return said


def check_same_decisions(name, seeds, noise):
    task = level(name)
    for episode in rollout(Noisy(make_program(task, BOT), noise), {task: seeds}, keep_steps=True):
        env = make_env(task)
        env.reset(seed=episode.seed)
        actions = [*episode.steps.get("actions", []), *([0] if episode.truncated_by_policy else [])]
        labels = [*episode.steps.get("labels", []), *([None] if episode.truncated_by_policy else [])]
        assert stock_actions(env, actions) == labels, f"{name} {episode.seed}"


@pytest.mark.parametrize("name", LEVELS)
def test_the_bot_makes_the_stock_bots_decisions_given_the_executed_actions(name):
    check_same_decisions(name, [1, 2], noise=0.0)
    check_same_decisions(name, [3, 4], noise=0.15)


def test_shortest_paths_equal_those_of_the_stock_bot():
    from minigrid.core.world_object import Ball
    from minigrid.utils.baby_ai_bot import BabyAIBot

    from experts.programs.bitboard_search import SearchLayers
    from experts.programs.bot import Bot

    env = make_env(level("MoveTwoAcrossS8N9")).unwrapped
    for seed in range(6):
        env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        for place in range(len(env.grid.grid)):
            if env.grid.grid[place] is None and rng.random() < 0.4:  # many movable obstacles
                env.grid.grid[place] = Ball()
        theirs, ours = BabyAIBot(env), Bot(env)
        ours._here = int(env.agent_pos[1] * env.width + env.agent_pos[0])
        seen = rng.random((env.width, env.height)) < 0.85
        theirs.vis_mask = seen.copy()
        theirs._process_obs()
        for facing in range(4):
            env.agent_dir = ours._facing = facing
            ours._seen = sum(1 << int(y * env.width + x) for x, y in np.argwhere(theirs.vis_mask))
            ours._near, ours._far = SearchLayers(1 << ours._here, ours._seen & ours._free, env.width), None
            for modulus in (2, 17, 97):  # many sets of target cells
                for rest in range(modulus):

                    def wanted(pos, cell, modulus=modulus, rest=rest):
                        return (7 * pos[0] + 3 * pos[1]) % modulus == rest

                    path, last, through = theirs._shortest_path(wanted, try_with_blockers=True)
                    first, ours_last, ours_through = ours._shortest_path(wanted, try_with_blockers=True)
                    assert (path and path[:1], last, through) == (first, ours_last, ours_through)


@pytest.mark.slow
def test_the_bot_makes_the_stock_bots_decisions_on_every_level():
    import gymnasium as gym

    level("GoToLocal")  # registers them
    names = [spec[7:-3] for spec in gym.registry if spec.startswith("BabyAI-") and spec.endswith("-v0")]
    assert len(names) > 80
    for name in sorted(names):
        check_same_decisions(name, [10, 11], noise=0.0)
        check_same_decisions(name, [12], noise=0.1)


def test_a_bot_whose_plan_loops_truncates_the_episode():
    task = level("UnlockToUnlock")
    episodes = list(rollout(make_program(task, BOT), {task: range(6)}, keep_steps=True))
    assert any(episode.truncated_by_policy for episode in episodes)
    assert all(episode.success is False for episode in episodes if episode.truncated_by_policy)
    values, _ = train._scores(make_program(task, BOT), task, Purpose.GATE, 6, 0)
    assert len(values) == 6 and set(values) <= {0.0, 1.0}  # a truncated episode is a failure


def test_a_hanging_bot_is_interrupted(monkeypatch):
    from experts.programs.bot import Bot

    def hang(self, image, last_action):
        count = 0
        while True:
            count += 1

    task = level("GoToObj")
    monkeypatch.setattr(Bot, "decide", hang)
    [episode] = rollout(make_program(task, ExpertRecipe(algorithm="bot", episode_seconds=1)), {task: [0]})
    assert episode.truncated_by_policy


def test_the_timer_stops_before_the_process_exits():
    code = """
import atexit, signal
atexit.register(lambda: print(signal.getitimer(signal.ITIMER_PROF)))
from experts.programs.scripted import _TIMER
_TIMER.keep_running()
assert signal.getitimer(signal.ITIMER_PROF)[1] == 1.0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "(0.0, 0.0)\n"


def test_a_failing_bot_truncates_the_episode(monkeypatch):
    from experts.programs.bot import Bot

    task = level("GoToObj")
    monkeypatch.setattr(Bot, "decide", lambda *_: [].pop())
    [episode] = rollout(make_program(task, BOT), {task: [0]})
    assert (episode.truncated_by_policy, episode.success, episode.length) == (True, False, 0)


def make_expert(folder, task, recipe, episodes=4):
    logging.disable()
    run = make_run(folder, Suite("s", (task,)))
    return run, train_experts(run, {task.name: recipe}, ExpertsConfig(gate_episodes=episodes))


@pytest.mark.parametrize(
    "task, recipe", [(arm("reach", reference=0.5), SCRIPT), (level("GoToObj", reference=0.5), BOT)]
)
def test_an_expert_is_made_without_training_and_plays(task, recipe, tmp_path):
    run, artifact = make_expert(tmp_path, task, recipe)
    gate = read_gate(artifact[task.name])
    assert (gate["passed"], gate["episodes"]) == (True, 4)
    facts = json.loads((artifact[task.name].folder / "manifest.json").read_text())["facts"]
    assert set(facts["cost"].values()) == {0}
    expert = load_expert(artifact[task.name].folder, task)
    assert expert.distribution_kind == {}
    [episode] = rollout(expert, {task: [5]})
    assert episode.success
    assert expert_artifact(run, task, recipe, ExpertsConfig(gate_episodes=4)).is_complete()


def test_truncated_episodes_are_counted_but_not_recorded(tmp_path, capfd):
    task = level("UnlockToUnlock")
    run, artifact = make_expert(tmp_path, task, BOT)
    config = RecordConfig(env_steps=300, random_env_steps=20, noise=0.1, shards=2)
    capfd.readouterr()
    recorded = record_suite(run, artifact, config)[task.name]["expert"]
    recording = Trajectories(recorded.folder)
    assert recording.steps >= 300
    assert recording.facts["discarded"] > 0
    assert f"{task.name}: the expert abandoned {recording.facts['discarded']} episodes" in capfd.readouterr().err
    for steps in recording.episodes():
        assert steps["terminated"][-1] or steps["truncated"][-1]
        assert (steps["actions"] != steps["labels"]).mean() < 0.5


def test_a_recording_that_runs_out_of_episodes_says_so(tmp_path, monkeypatch, capfd):
    task = level("GoToObj")
    run, artifact = make_expert(tmp_path, task, BOT)
    monkeypatch.setattr(recording, "SEEDS_PER_SHARD", 2)
    here = lambda play, jobs, **_: {job: play(**job.arguments, report=lambda _: None) for job in jobs}  # noqa: E731
    monkeypatch.setattr(recording, "run_jobs", here)
    record_suite(run, artifact, RecordConfig(env_steps=300, random_env_steps=2, shards=1))
    assert re.search(rf"{task.name}: only \d+ of 300 steps, since all 2 episodes are played", capfd.readouterr().err)


def test_a_bot_that_always_truncates_ends_the_recording_with_one_line(tmp_path, monkeypatch):
    from experts.programs.bot import Bot

    task = level("GoToObj")
    monkeypatch.setattr(Bot, "decide", lambda *_: None)
    with pytest.raises(GatitoError, match=r"task babyai/gotoobj: its expert abandoned \d+ of \d+ episodes, so there"):
        artifact = Artifact(tmp_path / "r", "trajectories", {"agent": "expert"})
        take = RecordingJob(task, lambda: make_program(task, BOT), artifact, 300, Purpose.RECORDING, seed=0, num_envs=1)
        recording._record_shard(recording=take, shard=0, report=lambda _: None)


@pytest.mark.parametrize(
    "task, recipe, words",
    [
        (arm(), BOT, "task metaworld/reach: bot plays tasks of family babyai, not metaworld: use script"),
        (level("GoToObj"), SCRIPT, "script plays tasks of family metaworld, not babyai: use bot"),
        (make_task("CartPole-v1"), BOT, "not registered: use a trained algorithm"),
        (
            level("GoToObj"),
            ExpertRecipe(algorithm="bot", hyperparameters={"gamma": 0.9}),
            "leave out its hyperparameters",
        ),
        (level("GoToObj"), ExpertRecipe(algorithm="bot", episode_seconds=0), "episode_seconds must be at least 1"),
        (
            level("GoToObj"),
            ExpertRecipe(algorithm="bt"),
            "unknown algorithm of task babyai/gotoobj 'bt'. Did you mean 'bot'",
        ),
    ],
)
def test_a_program_of_another_family_is_rejected(task, recipe, words):
    with pytest.raises(GatitoError, match=words):
        train._check(task, recipe)


def test_a_scripts_actions_are_within_their_bounds():
    task = arm("push")
    [episode] = rollout(make_program(task, SCRIPT), {task: [1]}, keep_steps=True)
    assert np.abs(episode.steps["actions"]).max() <= 1
    assert episode.steps["actions"].dtype == np.float32
