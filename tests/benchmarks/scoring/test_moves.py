import numpy as np
import pytest

pytest.importorskip("pyspiel")
pytest.importorskip("bitbully")

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import PolicyOutput, RandomPolicy
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.games import exploitability, judge_moves, one_hot
from benchmarks.scoring.moves import (
    MoveRow,
    Share,
    choose_moves,
    judged,
    move_rows,
    moves_in_positions,
    positions_digests,
)
from benchmarks.tasks import Suite, Task, TaskConfig
from benchmarks.tasks.games.positions import COUNT, load, tic_tac_toe_positions
from experts.programs.games import PerfectPolicy


def game(name, opponent="random"):
    return Task.resolve(f"games/{name}", TaskConfig(family="games", env_id=name, kwargs={"opponent": opponent}))


FOUR, THREE, HEX = game("connect_four"), game("tic_tac_toe"), game("hex_5x5")


class Fixed(RandomPolicy):
    """Chooses by the observation alone, and keeps what it was shown."""

    name = "fixed"

    def __init__(self, choose):
        self.choose, self.seen = choose, []

    def act(self, inputs, state):
        self.seen += inputs
        actions = [
            np.array([self.choose(*row) for row in zip(rows.observations, rows.action_masks, strict=True)])
            for rows in inputs
        ]
        return [PolicyOutput(chosen, chosen) for chosen in actions], state


def first(observation, mask):
    return mask.argmax()


def test_perfect_play_is_optimal_and_cannot_be_exploited():
    late = range(COUNT - 60, COUNT)  # few free squares, which are solved fast
    chosen = choose_moves(PerfectPolicy(FOUR), FOUR, late)
    quality = judge_moves(load().values[late], one_hot(np.array([chosen[number] for number in late]), 7))
    assert (quality.fastest == 1).all() and (quality.lost == 0).all()
    chosen = choose_moves(PerfectPolicy(THREE), THREE, range(4520))
    assert exploitability(one_hot(np.array([chosen[number] for number in range(4520)]), 9)) == 0


@pytest.mark.parametrize("policy", [PerfectPolicy(THREE), Fixed(first), RandomPolicy()])
def test_tic_tac_toe_is_asked_where_the_agents_moves_lead(policy):
    every = one_hot(np.array(list(choose_moves(policy, THREE, range(4520)).values())), 9)
    reached = moves_in_positions(policy, THREE, Share(0, 2))
    assert 100 < len(reached) < 1000 and not moves_in_positions(policy, THREE, Share(1, 2))
    known = np.zeros((4520, 9))
    known[list(reached)] = every[list(reached)]
    assert [every[number].argmax() for number in reached] == list(reached.values())
    assert exploitability(known) == exploitability(every)
    for number in list(reached)[:: len(reached) // 5]:
        with pytest.raises(GatitoError, match="is not known"):
            exploitability(np.where(np.arange(4520)[:, None] == number, 0, known))


def test_a_policy_sees_each_position_as_an_episodes_first():
    policy = Fixed(first)
    chosen = choose_moves(policy, FOUR, range(0, COUNT, 7), num_envs=50)
    assert [len(rows.env_ids) for rows in policy.seen] == [50, 50, 50, 50, 50, 36]
    assert all(rows.episode_start.all() and (rows.rewards == 0).all() for rows in policy.seen)
    np.testing.assert_array_equal(np.concatenate([rows.observations for rows in policy.seen]), load().observations[::7])
    np.testing.assert_array_equal(np.concatenate([rows.action_masks for rows in policy.seen]), load().action_masks[::7])
    assert chosen == dict(zip(range(0, COUNT, 7), load().action_masks[::7].argmax(axis=1).tolist(), strict=True))


def test_moves_do_not_depend_on_batches():
    together = choose_moves(RandomPolicy(), THREE, range(40))
    assert together == choose_moves(RandomPolicy(), THREE, range(20)) | choose_moves(
        RandomPolicy(), THREE, range(20, 40), 3
    )
    assert together != choose_moves(Fixed(first), THREE, range(40))


def test_an_illegal_choice_names_the_agent_and_the_position():
    with pytest.raises(
        GatitoError, match="task games/tic_tac_toe: agent fixed chose the illegal action 0 in the position "
    ):
        choose_moves(Fixed(lambda observation, mask: 0), THREE, [1])
    with pytest.raises(GatitoError, match="illegal action 9 in the position after the moves none") as error:
        choose_moves(Fixed(lambda observation, mask: 9), THREE, [0])
    assert error.value.task == "games/tic_tac_toe"


def test_jobs_share_the_positions_of_connect_four():
    suite, agent = Suite("games", (HEX, FOUR, THREE)), AgentId("amplified", 1)
    assert judged(suite) == [FOUR, THREE] and positions_digests(suite).keys() == {FOUR.name, THREE.name}
    found = [moves_in_positions(Fixed(first), FOUR, Share(part, 2)) for part in (0, 1)]
    assert sorted([*found[0], *found[1]]) == list(range(COUNT)) and len(found[0]) == len(found[1])
    [row] = move_rows(suite, agent, 3, {FOUR.name: dict.fromkeys(range(0, COUNT, 10), 6)})
    assert (row.agent_id, row.train_seed, row.moves[:12]) == (agent, 3, "6.........6.")
    actions = row.actions(COUNT)
    assert (actions >= 0).sum() == COUNT // 10 and set(actions) == {-1, 6}


@pytest.mark.parametrize("moves", ["12", "12x"])
def test_a_row_without_a_move_for_each_position_is_refused(moves):
    with pytest.raises(GatitoError, match="expert on games/four does not have a move for each of 3 positions"):
        MoveRow("games", "games/four", "expert", None, "", 0, moves).actions(3)


def test_tic_tac_toe_has_a_digit_for_each_square():
    assert set("".join(tic_tac_toe_positions().moves)) == set("012345678")
