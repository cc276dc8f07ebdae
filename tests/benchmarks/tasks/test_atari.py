import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env
from benchmarks.tasks.atari import make_vector
from experts.recipe import ExpertRecipe
from experts.sb3.vector_env import AtariVecEnv
from tests.conftest import make_task

pytest.importorskip("ale_py")
pytest.importorskip("cv2")


def game(name, **settings):
    return make_task(f"ALE/{name}-v5", name=f"atari/{name.lower()}", family="atari", **settings)


def play(env, seed, steps=60):
    rng = np.random.default_rng(0)  # the same actions whatever the seed
    frames, rewards = [env.reset(seed=seed)[0]], []
    for _ in range(steps):
        frame, reward, terminated, truncated, _ = env.step(int(rng.integers(env.action_space.n)))
        frames.append(frame)
        rewards.append(reward)
        if terminated or truncated:
            break
    return np.stack(frames), rewards


@pytest.mark.parametrize("chance, differ", [(0.25, True), (0.0, False)])
def test_actions_stick(chance, differ):
    task = game("Breakout", kwargs={"repeat_action_probability": chance})
    assert game("Breakout").kwargs["repeat_action_probability"] == 0.25

    env = make_env(task)
    first, second = play(env, 1)[0], play(env, 2)[0]  # the same actions, another stream of stickiness
    assert (not np.array_equal(first, second)) == differ
    vector = make_vector(task, 2)
    pictures, _ = vector.reset(seed=np.array([1, 2]))
    rng = np.random.default_rng(0)
    for _ in range(60):
        pictures, *_ = vector.step(np.repeat(rng.integers(4), 2))
    assert (not np.array_equal(pictures[0], pictures[1])) == differ
    np.testing.assert_array_equal(pictures[0], first[-1])


def test_rewards_are_not_clipped():
    task = game("Assault")
    _, rewards = play(make_env(task), 0, 250)
    assert max(rewards) > 1
    games = make_vector(task, 1)
    games.reset(seed=np.array([0]))
    rng = np.random.default_rng(0)
    assert max(games.step(rng.integers(7, size=1))[1][0] for _ in range(250)) == max(rewards)


def test_a_step_is_four_frames():
    env = make_env(game("Pong"))
    env.reset(seed=0)
    before = env.unwrapped.ale.getEpisodeFrameNumber()
    env.step(0)
    assert env.unwrapped.ale.getEpisodeFrameNumber() - before == 4
    games = make_vector(game("Pong"), 1)
    games.reset(seed=np.array([0]))
    *_, first = games.step(np.array([0]))
    *_, second = games.step(np.array([0]))
    assert second["episode_frame_number"][0] - first["episode_frame_number"][0] == 4


def test_there_are_no_no_op_starts_and_no_automatic_fire():
    env = make_env(game("Breakout"))
    env.reset(seed=3)
    assert env.unwrapped.ale.getEpisodeFrameNumber() == 0
    still = np.stack([env.step(0)[0][-1] for _ in range(30)])
    games = make_vector(game("Breakout"), 1)
    _, info = games.reset(seed=np.array([3]))
    assert info["episode_frame_number"][0] == 0
    assert (still[4:] == still[4]).all()  # without the fire button, no ball moves
    pictures = [games.step(np.array([0]))[0][0, -1] for _ in range(30)]
    assert all((picture == still[4]).all() for picture in pictures[4:])


@pytest.mark.parametrize("name", ["Pong", "Breakout", "Seaquest"])
def test_single_games_and_vector_games_have_identical_pixels(name):
    task = game(name, horizon=400)
    seeds = [11, 12]
    games = make_vector(task, 2)
    singles = [make_env(task) for _ in seeds]
    many, _ = games.reset(seed=np.array(seeds))
    for row, (env, seed) in enumerate(zip(singles, seeds, strict=True)):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], many[row])
    rng = np.random.default_rng(0)
    over, ends = np.zeros(2, dtype=bool), []
    for _ in range(400):
        actions = rng.integers(singles[0].action_space.n, size=2)
        many, rewards, terminated, truncated, infos = games.step(actions)
        for row, env in enumerate(singles):
            if over[row]:
                continue
            frames, reward, dead, cut, info = env.step(int(actions[row]))
            assert (reward, dead, cut) == (rewards[row], terminated[row], truncated[row])
            assert info["lives"] == infos["lives"][row]
            over[row] = dead or cut
            if over[row]:
                ends.append((dead, cut))
            else:
                np.testing.assert_array_equal(frames, many[row])
        if over.any() and not over.all():
            break  # finished games wait for a reset
        if over.all():
            break
    assert ends


def test_an_episode_depends_on_its_seed_only():
    used = make_env(game("Pong"))
    play(used, 1)
    again, fresh, other = play(used, 2), play(make_env(game("Pong")), 2), play(used, 3)
    np.testing.assert_array_equal(again[0], fresh[0])
    assert not np.array_equal(again[0], other[0])


def test_a_game_continues_after_a_lost_life():
    env = make_env(game("Breakout"))
    env.reset(seed=0)
    lives, ended = [], False
    while not ended:
        _, _, ended, truncated, info = env.step(1)
        assert not truncated
        lives.append(info["lives"])
    assert sorted(set(lives)) == [0, 1, 2, 3, 4, 5]


def test_the_frame_limit_truncates():
    [episode] = rollout(RandomPolicy(), {game("Pong", horizon=7): [0]}, keep_steps=True)
    assert episode.length == 7
    assert (episode.steps["truncated"][-1], episode.steps["terminated"][-1]) == (True, False)
    assert game("Pong").horizon == 27_000  # half an hour of play, in steps of four frames


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("Pongg", {}, "unknown game of task atari/pongg .* Did you mean 'ALE/Pong-v5'"),
        ("Pong", {"kwargs": {"frame_skip": 2}}, "unknown argument of task .* Did you mean 'frameskip'"),
        ("Pong", {"kwargs": {"grayscale": False}}, "maxpool and grayscale must be true"),
    ],
)
def test_a_bad_game_gets_one_line(name, settings, words):
    with pytest.raises(GatitoError, match=words):
        game(name, **settings)


def training_games(name="Breakout", num_envs=2, seed=0, **settings):
    return AtariVecEnv(game(name, **settings.pop("task", {})), ExpertRecipe(num_envs=num_envs, **settings), seed=seed)


def run(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    return [env.step(rng.integers(env.action_space.n, size=env.num_envs)) for _ in range(steps)]


def test_the_number_of_threads_does_not_change_games(monkeypatch):
    played = []
    for cores in (1, 2):
        monkeypatch.setattr("joblib.cpu_count", lambda cores=cores: cores)
        env = training_games("Breakout", num_envs=3)
        played.append([env.reset(), *(part for step in run(env, 60) for part in step[:3])])
    for one, two in zip(*played, strict=True):
        np.testing.assert_array_equal(one, two)


def test_training_uses_clipped_rewards_and_logs_raw_ones():
    env = training_games("Assault", num_envs=1, clip_rewards=True, task={"horizon": 250})
    env.reset()
    steps = run(env, 250)
    clipped = sum(float(rewards[0]) for _, rewards, _, _ in steps)
    infos = steps[-1][3][0]
    assert max(rewards[0] for _, rewards, _, _ in steps) == 1
    assert infos["episode"]["l"] == 250
    assert infos["episode"]["r"] > clipped  # a hit is worth 21
    assert infos["TimeLimit.truncated"]


def test_finished_games_restart_and_keep_the_last_observation():
    env = training_games("Pong", task={"horizon": 5})
    first = env.reset()
    steps = run(env, 6)
    observations, _, dones, infos = steps[4]
    assert dones.all()
    assert not np.array_equal(infos[0]["terminal_observation"], observations[0])
    assert (observations[0, :3] == 0).all() and (first[0, :3] == 0).all()  # a new frame stack
    np.testing.assert_array_equal(infos[0]["terminal_observation"][:3], steps[3][0][0][1:])
    assert not steps[5][2].any()


@pytest.mark.parametrize("episodic_life", [True, False])
def test_a_lost_life_ends_an_episode_only_with_episodic_life(episodic_life):
    env = training_games("Breakout", num_envs=1, episodic_life=episodic_life)
    env.reset()
    ends = lost = 0
    for _ in range(60):
        _, _, done, infos = env.step(np.array([1]))
        if done[0] and "episode" not in infos[0]:
            lost += 1
            assert infos[0]["terminal_observation"].shape == (4, 84, 84)
            assert not infos[0]["TimeLimit.truncated"]
        ends += int("episode" in infos[0])
    assert (lost > 0) == episodic_life
    assert ends == 0  # five lives last longer than that


def test_games_with_the_same_seed_differ(monkeypatch):
    monkeypatch.setattr("experts.sb3.vector_env._SEEDED_EVERY", 1_000)
    env = training_games("Breakout", num_envs=1, task={"horizon": 60})
    env.reset()
    first, second = ([env.step(np.array([1 + 2 * (step % 2)]))[0] for step in range(60)] for _ in range(2))
    assert not all(np.array_equal(mine, other) for mine, other in zip(first[:-1], second[:-1], strict=True))


@pytest.mark.parametrize(("seeded_every", "seeds"), [(1, [2, 3, 2]), (1_000, [1, 2, 1])])
def test_games_are_restored(monkeypatch, seeded_every, seeds):
    """Also if games share a seed, and one has continued with the previous game's random numbers."""
    monkeypatch.setattr("experts.sb3.vector_env._SEEDED_EVERY", seeded_every)
    settings = {"name": "Breakout", "num_envs": 3, "seed": 4, "task": {"horizon": 25}}
    env = training_games(**settings)
    env.reset()
    env.step(np.array([1, 1, 1]))
    run(env, 11)
    env._begin(np.array([False, True, False]), seeded=True)  # so that their ages differ
    observations = run(env, 26)[-1][0]  # through the ends of all three
    places = env.places()
    assert [place["episode"] for place in places] == seeds
    assert len({len(place["actions"]) for place in places}) == 2
    other = training_games(**settings)
    np.testing.assert_array_equal(other.bring(places), observations)
    for mine, theirs in zip(run(env, 30, seed=9), run(other, 30, seed=9), strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])
        np.testing.assert_array_equal(mine[2], theirs[2])
        assert [info.get("episode", {}).get("r") for info in mine[3]] == [
            info.get("episode", {}).get("r") for info in theirs[3]
        ]
