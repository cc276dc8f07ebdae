import gzip
from dataclasses import replace

import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.base.seals import SEAL, seal
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import FILES, Results
from tests.conftest import make_results

SEEDS = {0: [1, 2], 1: [3, 4]}
PLAYED = {agent: SEEDS for agent in ("generalist", "expert", "random")}


def good():
    """Two tasks, three agents, two training seeds, two episodes: 24 scores in lines 2 to 25."""
    return make_results({"toy/x": PLAYED, "toy/y": PLAYED})


def score_where(results, change, **wanted):
    """The results with matching score rows changed, or removed if ``change`` is None."""
    rows = []
    for row in results.scores:
        fits = all(getattr(row, name) == value for name, value in wanted.items())
        rows += [row] if not fits else [] if change is None else [replace(row, **change)]
    return replace(results, scores=tuple(rows))


def task_where(results, number, **change):
    """The results with one line of ``tasks.csv`` changed."""
    rows = list(results.tasks)
    rows[number] = replace(rows[number], **change)
    return replace(results, tasks=tuple(rows))


def test_results_are_read_back_exactly(tmp_path):
    results = good()
    results.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(f"{name}.csv" for name in FILES if name not in ("moves", "texts")), SEAL]
    )
    header = "suite,task,agent,round,label,train_seed,episode_seed,return,length,success\n"
    assert (tmp_path / "scores.csv").read_text().startswith(header)
    assert Results.read(tmp_path) == results
    assert (results.suite, results.task_names, results.train_seeds) == ("toy", ["toy/x", "toy/y"], [0, 1])


def test_agents_are_ordered_with_their_runs():
    names = ["generalist (b)", "expert", "generalist (a)", "clone", "random", "multitask-rl", "specialist", "retrieval"]
    expected = ["random", "expert", "clone", "retrieval", "specialist", "multitask-rl", "generalist (b)"]
    agents = make_results({"toy/x": dict.fromkeys(names, SEEDS)}).agents
    assert list(map(str, agents)) == [*expected, "generalist (a)"]


def test_an_agents_identity_is_shown_with_its_round_and_label():
    assert [str(AgentId("expert")), str(AgentId("generalist", 2))] == ["expert", "generalist round 2"]
    assert str(AgentId("generalist", 2, "seed=(1, 2)")) == "generalist round 2 (seed=(1, 2))"
    assert AgentId("amplified", 12).folder == "amplified-round-12"


def test_an_agent_is_normalised_by_its_own_runs_anchors():
    agent = AgentId("generalist", 3, "a")
    own, other, shared = (AgentId("expert", label=label) for label in ("a", "b", ""))
    assert agent.anchor("expert", [own, other]) == own
    assert agent.anchor("expert", [shared]) == shared
    assert agent.in_same_run("control", [AgentId("control", 3, "b"), AgentId("control", 2, "a")], 3) is None


@pytest.mark.parametrize("name", ["scores", "curves"])
def test_a_compressed_file_is_read_as_the_plain_one_and_replaced_by_it(tmp_path, name):
    good().write(tmp_path)
    plain = tmp_path / f"{name}.csv"
    plain.with_name(f"{name}.csv.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()
    seal(tmp_path, [f"{name}.csv.gz"])
    assert Results.read(tmp_path) == good()
    good().write(tmp_path)
    assert not list(tmp_path.glob("*.gz"))


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_rejected(tmp_path, name):
    good().write(tmp_path)
    with (tmp_path / f"{name}.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(
        GatitoError, match=rf"{name}\.csv was changed after gatito wrote it: run with stages=\[evaluate,"
    ):
        Results.read(tmp_path)
    good().write(tmp_path)
    assert Results.read(tmp_path) == good()


def test_a_file_beside_its_sealed_compressed_form_is_rejected(tmp_path):
    good().write(tmp_path)
    plain = tmp_path / "scores.csv"
    (tmp_path / "scores.csv.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    edited = plain.read_bytes().replace(b"1", b"2")
    plain.unlink()
    seal(tmp_path, ["scores.csv.gz"])
    assert Results.read(tmp_path) == good()
    plain.write_bytes(edited)
    with pytest.raises(GatitoError, match="was changed after gatito wrote it"):
        Results.read(tmp_path)


def test_results_without_checksums_are_read_with_a_warning(tmp_path, capfd):
    good().write(tmp_path)
    (tmp_path / SEAL).unlink()
    assert Results.read(tmp_path) == good()
    assert "changes of its numbers cannot be detected" in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["\0", "[]", '{"sha256": 3}'])
def test_damaged_checksums_are_written_again_with_the_results_as_the_message_says(tmp_path, damage):
    good().write(tmp_path)
    (tmp_path / SEAL).write_text(damage)
    with pytest.raises(GatitoError, match=r"results\.json is damaged .*\. Run with stages=\[evaluate,report\]"):
        Results.read(tmp_path)
    good().write(tmp_path)
    assert Results.read(tmp_path) == good()


def test_a_missing_file_gets_a_remedy(tmp_path):
    good().write(tmp_path)
    (tmp_path / "tasks.csv").unlink()
    with pytest.raises(GatitoError, match=r"tasks\.csv is missing: run with stages=\[evaluate,report\]"):
        Results.read(tmp_path)


BAD = {
    "a name that no agent can have": (
        lambda r: score_where(r, {"agent": "the generalist"}, agent="generalist", task="toy/y"),
        "/scores.csv, line 14: 'the generalist' is not a valid agent name",
    ),
    "an agent of one task alone": (
        lambda r: score_where(r, {"agent": "generalits"}, agent="generalist", task="toy/y"),
        "/scores.csv lacks rows: generalist on toy/y",
    ),
    "an unknown task": (
        lambda r: score_where(r, {"task": "toy/z"}, agent="expert", task="toy/y"),
        "/scores.csv, line 18: unknown task 'toy/z'. Did you mean",
    ),
    "a duplicate": (
        lambda r: replace(r, scores=(*r.scores, r.scores[3])),
        "/scores.csv has duplicate rows: line 5 (toy/x, generalist, 1, 601000001); line 26 (toy/x, generalist, 1, 6010",
    ),
    "a duplicate with another return": (
        lambda r: replace(r, scores=(*r.scores, replace(r.scores[3], total_return=99.0))),
        "/scores.csv has duplicate rows: line 5 ",
    ),
    "all rows twice": (lambda r: replace(r, scores=r.scores * 2), "; and 44 more: keep one of each, or name each run"),
    "an infinite return": (
        lambda r: score_where(r, {"total_return": float("nan")}, agent="random", train_seed=1, task="toy/y"),
        "/scores.csv, line 24: 'nan' is not a finite number.",
    ),
    "mixed suites": (
        lambda r: score_where(r, {"suite": "classic"}, agent="random"),
        " mixes the suites classic, toy: report each by itself.",
    ),
    "mixed preprocessing": (
        lambda r: task_where(r, 1, preprocessing="def"),
        "/tasks.csv: task toy/x has different preprocessing in line 2 (abc) and line 3 (def): a report cannot",
    ),
    "mixed metrics": (
        lambda r: task_where(r, 3, metric="success"),
        "/tasks.csv: task toy/y has different metric in line 4 (return) and line 5 (success)",
    ),
    "mixed environments": (lambda r: task_where(r, 1, env_id="Toy-v1"), "task toy/x has different env_id in line 2"),
    "mixed horizons": (lambda r: task_where(r, 1, horizon=10), "has different horizon in line 2 (9) and line 3 (10)"),
    "a task not played": (
        lambda r: score_where(r, None, agent="generalist", task="toy/y", train_seed=1),
        "/scores.csv lacks rows: generalist on toy/y, training seed 1: run with stages=[evaluate,report] again.",
    ),
    "an agent without a seed": (
        lambda r: score_where(r, None, agent="generalist", train_seed=1),
        "lacks rows: generalist on toy/x, training seed 1; generalist on toy/y, training seed 1: run",
    ),
    "an anchor without a seed": (
        lambda r: score_where(r, None, agent="random", train_seed=0),
        "lacks rows: random on toy/x, training seed 0; random on toy/y, training seed 0: run",
    ),
    "no random": (lambda r: score_where(r, None, agent="random"), "lacks rows: random on every task: run"),
    "no expert": (lambda r: score_where(r, None, agent="expert"), "lacks rows: expert on every task: run"),
    "no row of a task": (
        lambda r: replace(r, tasks=r.tasks[:-1]),
        "lacks rows: the tasks.csv row of toy/y with expert, training seed 1: run",
    ),
    "the row of another expert": (
        lambda r: task_where(r, 0, label="model=mini"),
        "lacks rows: the tasks.csv row of toy/x with expert, training seed 0: run",
    ),
    "two rows of one task": (
        lambda r: replace(r, tasks=(*r.tasks, replace(r.tasks[1], gate_mean=8.0))),
        "/tasks.csv has duplicate rows: line 3 (toy/x, expert, 1); line 6 (toy/x, expert, 1): keep one of each.",
    ),
    "an episode less": (
        lambda r: score_where(r, None, agent="generalist", task="toy/y", episode_seed=600_000_001),
        "test episodes that other agents have are missing: generalist on toy/y, training seed 0: 1 of 2: run",
    ),
    "other episodes": (
        lambda r: score_where(r, {"episode_seed": 7}, agent="expert", episode_seed=600_000_001),
        "expert on toy/x, training seed 0: 2 of 3",
    ),
    "no scores": (lambda r: replace(r, scores=()), " has no rows to score: run with stages=[evaluate,report]."),
    "no tasks": (lambda r: replace(r, tasks=()), " has no rows to score: run with stages=[evaluate,report]."),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_results_get_one_line_with_the_folder_and_rows(tmp_path, case):
    spoil, message = BAD[case]
    spoil(good()).write(tmp_path)
    with pytest.raises(GatitoError) as refused:
        Results.read(tmp_path)
    line = str(refused.value)
    assert message in line
    assert line.startswith(str(tmp_path))
    assert "\n" not in line
    assert len(line) < 600


def test_many_problems_are_counted_not_listed():
    results = make_results({f"toy/{number}": PLAYED for number in range(9)})
    missing = score_where(results, None, agent="generalist", train_seed=0)
    kept = tuple(row for row in missing.scores if (row.agent, row.task) != ("expert", "toy/8") or row.train_seed)
    with pytest.raises(GatitoError) as refused:
        replace(missing, scores=kept).check("here")
    assert str(refused.value).count("training seed") == 4
    assert "; and 6 more: run" in str(refused.value)


def test_agents_of_several_runs_are_normalised_by_their_own_runs_anchors():
    runs = {f"{agent} ({run})": {run: [1, 2]} for agent in ("random", "expert", "generalist") for run in (0, 1)}
    good = make_results({"toy/x": runs})
    good.check("here")  # the runs' seeds differ
    with pytest.raises(GatitoError, match="lacks rows: expert on toy/x, training seed 1: run"):
        score_where(good, None, agent="expert", label="1").check("here")
