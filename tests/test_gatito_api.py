"""import gatito: the Python API."""

import gymnasium as gym
import pytest

import gatito
from benchmarks.base.errors import GatitoError
from benchmarks.play.rollout import rollout
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    for name in ("experts", "mixed"):
        (tmp_path / "results" / name).symlink_to(ROOT / "results" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lean(observation):
    return int(observation[2] + 0.3 * observation[3] > 0)


def test_a_suite_its_tasks_and_environments():
    tasks = {task.name: task for task in gatito.suite("classic", ["cartpole", "pendulum"])}
    assert list(tasks) == ["classic/cartpole", "classic/pendulum"]
    env = gatito.make_env(tasks["classic/pendulum"])
    assert env.reset(seed=0)[0].shape == (3,)
    with pytest.raises(GatitoError, match="unknown task 'classic/cartpol'. Did you mean 'classic/cartpole'"):
        gatito.make_env("classic/cartpol")
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        gatito.evaluat  # noqa: B018


def test_released_tasks_are_registered_with_gymnasium():
    env = gym.make("gatito/classic-cartpole-v0")
    first, _ = env.reset(seed=3)
    again, _ = gatito.make_env("classic/cartpole").reset(seed=3)
    assert (first == again).all()


def test_a_released_expert_and_generalist_play():
    [task] = gatito.suite("classic", ["cartpole"])
    for policy in (gatito.expert("classic/cartpole"), gatito.generalist("mixed")):
        [episode] = rollout(policy, {task: [0]})
        assert episode.total_return == 500
    with pytest.raises(GatitoError, match="no released generalist"):
        gatito.generalist("classic")


def test_a_function_is_scored_and_reported(folder):
    def brought(observation):  # not importable in another process: it is pickled by value
        return lean(observation)

    scores = gatito.evaluate(brought, "classic", tasks=["cartpole"], episodes=4, workers=1)
    frame = scores.to_pandas()
    [row] = frame[(frame.task == "classic/cartpole") & (frame.agent == "mine")].to_dict("records")
    assert 0.9 < row["f"] <= 1 and row["raw"] == frame.raw[(frame.agent == "mine")].iloc[0]
    assert "agent mine keeps" in scores.headline and scores.headline in str(scores)
    page = scores.report(folder / "page")
    assert page.is_file() and (folder / "page" / "table.md").read_text().startswith(scores.headline)


def test_a_policy_that_fails_is_an_error():
    with pytest.raises(GatitoError, match="agent mine chose an action in task classic/cartpole.* is 7"):
        gatito.evaluate(lambda observation: 7, "classic", tasks=["cartpole"], episodes=2, workers=1)
    with pytest.raises(GatitoError, match="taken"):
        gatito.evaluate(lean, "classic", name="expert")


def test_recordings_are_distilled(folder):
    overrides = ["distill.updates=3", "distill.batch_size=4", "record.env_steps=600", "workers=1"]
    policy = gatito.distill("classic", tasks=["cartpole"], overrides=overrides)
    recorded = folder / "results/runs/classic-distilled/trajectories/classic/cartpole/expert"
    assert len(gatito.recording(recorded)) >= 1
    again = gatito.distill("classic", {"classic/cartpole": recorded}, tasks=["cartpole"], overrides=overrides, name="b")
    [task] = gatito.suite("classic", ["cartpole"])
    assert [next(rollout(each, {task: [1]})).total_return for each in (policy, again)]
    with pytest.raises(GatitoError, match="recordings has none of classic/cartpole"):
        gatito.distill("classic", {}, tasks=["cartpole"], overrides=overrides, name="c")
    with pytest.raises(GatitoError, match="has no finished recording"):
        gatito.distill("classic", {"classic/cartpole": folder}, tasks=["cartpole"], overrides=overrides, name="c")


def test_policies_are_checked():
    gatito.check_policy(lean, "classic/cartpole")
    with pytest.raises(GatitoError, match="is 2, where its space has 0 to 1"):
        gatito.check_policy(lambda observation: 2, "classic/cartpole")
