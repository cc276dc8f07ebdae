"""A search tree's arithmetic, by hand."""

import numpy as np
import pytest

from generalist.amplifiers.tree import Prediction, Trees, sequential_halving

ONE, ROOT = np.array([0]), np.array([0])


def tree(logits, value=0.0, size=8, **settings):
    logits = np.array([logits])
    return Trees(Prediction(logits, np.arange(logits.shape[1])[None], np.array([value])), size, **settings)


def visited():
    """A root of value 1 whose first two actions of three were visited: twice, 2 on average, and once, 0."""
    trees = tree(np.log([0.5, 0.3, 0.2]), value=1.0)
    trees.children_visits[0, 0], trees.children_values[0, 0] = [2, 1, 0], [2, 0, 0]
    trees.min_value[0], trees.max_value[0] = -1, 3
    return trees


def test_unvisited_actions_have_the_mixed_value():
    """Equation 33: (1 + 3 (.5 * 2 + .3 * 0) / .8) / (1 + 3)."""
    np.testing.assert_allclose(visited().complete_qvalues(ONE, ROOT), [[2, 0, 1.1875]])
    np.testing.assert_allclose(tree([3.0, 0.0], value=-7.0).complete_qvalues(ONE, ROOT), [[-7, -7]])


def test_values_are_weighted_against_the_prior_by_equation_8():
    """(50 + 2) * .1 times the values on the scale from -1 to 3."""
    trees = visited()
    nats = 5.2 * np.array([[0.75, 0.25, 0.546875]])
    np.testing.assert_allclose(trees.qtransform_completed_by_mix_value(ONE, ROOT), nats)
    np.testing.assert_allclose(trees.improved_logits(ONE, ROOT), np.log([[0.5, 0.3, 0.2]]) + nats)
    louder = tree([0.0, 0.0], scale=1.0)
    louder.children_visits[0, 0, 0], louder.children_values[0, 0, 0], louder.max_value[0] = 1, 1, 1
    np.testing.assert_allclose(louder.qtransform_completed_by_mix_value(ONE, ROOT), [[51, 51 * 0.5]])
    trees.min_value[0] = trees.max_value[0]  # all values are equal
    assert not trees.qtransform_completed_by_mix_value(ONE, ROOT).any()


def test_visits_follow_the_improved_policy():
    """Equation 14: probabilities .845, .038, .118 less shares of visits, 2/4, 1/4, 0; then .860, .028, .112 less .8,
    .1, 0."""
    trees = visited()
    assert trees.interior_action_selection(ONE, ROOT) == [0]
    trees.children_visits[0, 0], trees.children_values[0, 0] = [8, 1, 0], [2, 0, 0]
    assert trees.interior_action_selection(ONE, ROOT) == [2]


def test_puct_adds_a_bonus_to_rarely_visited_actions():
    """.75 + b .5 / 3, .25 + b .3 / 2, .547 + b .2 with b = 1.25 sqrt(3): 1.11, .57, .98."""
    trees = visited()
    assert trees.puct_action_selection(ONE, ROOT) == [0]
    trees.children_visits[0, 0], trees.children_values[0, 0] = [8, 1, 0], [2, 0, 0]  # b = 3.75: .958, .812, 1.3
    assert trees.puct_action_selection(ONE, ROOT) == [2]


def nodes(trees, *steps):
    """Visits, each from the last node, by action, reward, value, and termination."""
    paths = None
    for action, reward, value, ended in steps:
        first = ROOT if len(steps) > 1 else np.array([action])
        choices = iter([each[0] for each in steps[1:]])
        paths = trees.simulate(ONE, first, lambda *_, choices=choices: np.array([next(choices)]))
        new = trees.add_nodes(paths, np.array([0]), np.array([reward]), np.array([ended]))
        trees.update_nodes(ONE, new, Prediction(np.zeros((1, 2)), np.array([[0, 1]]), np.array([value])))
        trees.backward(paths, 0.5)
    return paths


def test_backed_up_returns_are_discounted():
    trees = tree([0.0, 0.0], value=1.0)
    nodes(trees, (0, 1.0, 4.0, False), (1, 2.0, 10.0, False))
    assert trees.children_visits[0, 0].tolist() == [2, 0] and trees.children_visits[0, 1].tolist() == [0, 1]
    assert trees.children_values[0, 1, 1] == 2 + 0.5 * 10
    assert trees.children_values[0, 0, 0] == ((1 + 0.5 * 4) + (1 + 0.5 * 7)) / 2
    assert (trees.min_value[0], trees.max_value[0]) == (1, 7)
    nodes(trees, (1, -3.0, 0.0, False))
    assert (trees.min_value[0], trees.max_value[0]) == (-3, 7)


def test_a_terminal_node_can_be_visited_again():
    trees = tree([0.0, 0.0])
    nodes(trees, (1, 3.0, 0.0, True))
    for count in (1, 2):
        assert trees.children_visits[0, 0].tolist() == [0, count] and trees.children_values[0, 0, 1] == 3
        paths = trees.simulate(ONE, np.array([1]), trees.interior_action_selection)
        assert (paths.nodes.tolist(), paths.actions.tolist(), len(paths.steps)) == ([0], [1], 1)
        trees.backward(paths, 0.5)


def test_parallel_trees_are_independent():
    rng = np.random.default_rng(0)
    logits, values = rng.normal(size=(5, 3)), rng.normal(size=5)
    outcomes = rng.normal(size=(5, 12, 5))  # reward, value and logits of each node to come

    def search(which):
        trees = Trees(Prediction(logits[which], np.tile(np.arange(3), (len(which), 1)), values[which]), 13)
        for _ in range(12):
            paths = trees.simulate(
                np.arange(len(which)),
                trees.puct_action_selection(np.arange(len(which)), 0 * which),
                trees.interior_action_selection,
            )
            sizes = trees.num_nodes - 1
            outcome = outcomes[which, sizes]
            new = trees.add_nodes(paths, np.arange(len(which)), outcome[:, 0], np.zeros(len(which), bool))
            trees.update_nodes(
                paths.trees, new, Prediction(outcome[:, 2:], np.tile(np.arange(3), (len(which), 1)), outcome[:, 1])
            )
            trees.backward(paths, 0.9)
        return trees

    together = search(np.arange(5))
    for number in range(5):
        alone = search(np.array([number]))
        np.testing.assert_array_equal(alone.children_visits[0], together.children_visits[number])
        np.testing.assert_array_equal(alone.children_values[0], together.children_values[number])
        assert alone.children_visits[0, 0].sum() == 12


@pytest.mark.parametrize(
    "considered, visits, phases",
    [
        (4, 16, [(4, 2), (2, 4)]),
        (8, 32, [(8, 1), (4, 2), (2, 8)]),
        (2, 16, [(2, 8)]),
        (3, 16, [(3, 2), (2, 5)]),
        (5, 32, [(5, 2), (2, 5), (2, 6)]),
        (4, 4, [(4, 1)]),
        (16, 200, [(16, 3), (8, 6), (4, 12), (2, 28)]),
        (1, 7, [(1, 7)]),
    ],
)
def test_sequential_halving_gives_more_visits_to_fewer_actions(considered, visits, phases):
    assert sequential_halving(considered, visits) == phases
    assert sum(count * each for count, each in phases) <= visits
