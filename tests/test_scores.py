import numpy as np
import pytest

from benchmarks.errors import GatitoError
from benchmarks.harness import ScoreRow, read_scores, to_csv
from benchmarks.scores import fraction, gate, score_tasks


def test_fraction_is_0_at_random_and_1_at_the_expert_also_with_negative_returns():
    assert fraction(-500.0, -100.0, -500.0) == 0.0
    assert fraction(-100.0, -100.0, -500.0) == 1.0
    assert fraction(-200.0, -100.0, -500.0) == 0.75
    assert fraction(-600.0, -100.0, -500.0) == -0.25
    assert fraction(30.0, 20.0, 10.0) == 2.0


@pytest.mark.parametrize("expert", [10.0, 9.0, float("nan")])
def test_there_is_no_fraction_of_an_expert_at_or_below_random(expert):
    with pytest.raises(ValueError, match="no fraction"):
        fraction(12.0, expert, 10.0)


def spread(mean, deviation, episodes=100):
    """Scores with exactly this mean and sample standard deviation."""
    values = np.tile([-1.0, 1.0], episodes // 2)
    return mean + deviation * values / values.std(ddof=1)


def test_the_gate_on_numbers_solved_by_hand():
    # Standard errors: sqrt(3^2 / 100 + 4^2 / 100) = 0.5, so 4.4 of them are 2.2; one deviation of the expert is 3.
    assert gate(spread(13.1, 3), spread(10.0, 4)).passed
    assert "standard deviation" in gate(spread(12.9, 3), spread(10.0, 4)).reason
    assert "4.0 standard errors" in gate(spread(12.0, 3), spread(10.0, 4)).reason
    assert "not above random" in gate(spread(10.0, 3), spread(10.0, 4)).reason


def test_the_gate_holds_the_expert_to_its_reference_on_the_gate_seeds():
    expert, random = spread(100.0, 1), spread(0.0, 1)
    assert gate(expert, random, reference=99.0).passed
    assert "below its reference 101" in gate(expert, random, reference=101.0).reason
    assert gate(expert, random, reference=101.0, reference_mean=102.0).passed


def test_a_constant_expert_does_not_divide_by_zero_and_a_single_episode_tells_nothing():
    assert gate(np.full(5, 500.0), np.full(5, 20.0)).passed
    assert gate(np.array([500.0]), np.array([20.0])).reason == "too few episodes to tell"


def test_a_weak_expert_leaves_the_task_unscored_and_nothing_is_imputed():
    scores = {
        ("a", "random"): spread(0.0, 1),
        ("a", "expert"): spread(10.0, 1),
        ("a", "generalist"): spread(5.0, 1),
        ("b", "random"): spread(0.0, 1),
        ("b", "expert"): spread(0.0, 1),
        ("b", "generalist"): spread(5.0, 1),
    }
    rows = {(row.task, row.agent): row for row in score_tasks(scores, ["a", "b"], {}, {})}
    assert rows["a", "generalist"].fraction == pytest.approx(0.5)
    assert rows["a", "generalist"].error == pytest.approx(0.1)
    assert rows["b", "generalist"].fraction is None
    assert not rows["b", "generalist"].gate.passed


def test_scores_need_random_and_expert():
    with pytest.raises(GatitoError, match="no scores of agent expert on task a"):
        score_tasks({("a", "random"): np.zeros(3)}, ["a"], {}, {})


def test_score_rows_come_back_from_csv_as_they_were(tmp_path):
    rows = [
        ScoreRow("s", "a/b", "random", 0, 7, 0.1 + 0.2, 12, None),
        ScoreRow("s", "a/b", "expert", 0, 7, -1e-9, 12, True),
    ]
    (tmp_path / "scores.csv").write_text(to_csv(rows))
    assert read_scores(tmp_path / "scores.csv") == rows
    header = (tmp_path / "scores.csv").read_text().splitlines()[0]
    assert header == "suite,task,agent,train_seed,episode_seed,return,length,success"


def test_a_line_that_is_no_score_row_is_numbered(tmp_path):
    text = to_csv([ScoreRow("s", "a/b", "random", 0, 7, 1.0, 12, None)])
    (tmp_path / "scores.csv").write_text(text + "s,a/b,random,0,8,one,12,\n")
    with pytest.raises(GatitoError, match="line 3"):
        read_scores(tmp_path / "scores.csv")
