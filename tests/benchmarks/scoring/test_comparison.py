import json
from dataclasses import replace

import pytest
import yaml

from benchmarks.base.errors import GatitoError
from benchmarks.base.seals import seal
from benchmarks.scoring.comparison import compare, find_runs, merge, pooled_name, seeds_of_one_configuration
from benchmarks.scoring.results import Results
from tests.conftest import make_results

PRESETS = {"nano": {"name": "nano", "width": 128}, "mini": {"name": "mini", "width": 256}}
MINI = {"model": PRESETS["mini"]}


def played(seed, generalist=5, expert=10, random=0):
    means = {"random": random, "expert": expert, "generalist": generalist}
    return {agent: {seed: [mean + seed, mean + seed + 1]} for agent, mean in means.items()}


def write_run(folder, seed=0, results=None, config=None, clips=False, **means):
    """A run's folder as written by the stages."""
    settings = {"model": PRESETS["nano"], "distill": {"updates": 10, "weights": {}}, "tasks": None}
    settings |= {"seed": seed, "name": folder.name, "workers": seed} | (config or {})
    (results or make_results({"toy/x": played(seed, **means)})).write(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "environment.json").write_text(
        json.dumps({"command": f"gatito seed={seed}", "git_commit": "ab" if seed else "cd"})
    )
    (folder / "scores").mkdir()
    if clips:
        (folder / "clips" / "toy" / "x").mkdir(parents=True)
        (folder / "clips" / "toy" / "x" / "clip.mp4").write_bytes(folder.name.encode())
    return folder


def test_runs_are_found_by_path_name_and_pattern(tmp_path, monkeypatch):
    a, b, odd = (write_run(tmp_path / "runs" / name) for name in ("toy-seed0", "toy-seed1", "toy-loss=[kl]"))
    runs = tmp_path / "runs"
    assert find_runs([str(a), "toy-seed1"], runs) == [a, b]
    assert find_runs(["toy-seed*"], runs) == [a, b]
    assert find_runs(["toy-loss=[kl]"], runs) == [odd]  # a name, although it could be a pattern
    monkeypatch.chdir(runs)
    assert find_runs(["toy-seed0"], runs)[0].resolve() == a


@pytest.mark.parametrize("name", ["toy-seed3", "nothing*", "/nowhere/at/all", ""])
def test_a_missing_run_gets_the_list_of_existing_runs(tmp_path, name):
    write_run(tmp_path / "toy-seed0")
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(GatitoError, match=r"unknown run '.*'.* Valid: toy-seed0\.$"):
        find_runs(["toy-seed0", name], tmp_path)


def test_a_comparison_is_named_after_its_runs_without_their_seeds(tmp_path):
    def name(*names):
        return pooled_name([tmp_path / name for name in names])

    assert name("toy-nano-seed0", "toy-nano-seed12") == "toy-nano"
    assert name("toy-seed0-loss=kl", "toy-seed1-loss=kl") == "toy-loss=kl"
    assert name("a-seed0", "b-seed0").startswith("compare-")
    assert name("a-seed0", "b-seed0") == name("b-seed1", "a-seed2") != name("a", "c")


def test_runs_are_grouped_by_everything_but_the_training_seed(tmp_path):
    nano = [write_run(tmp_path / f"nano{seed}", seed) for seed in (0, 1)]
    mini = [write_run(tmp_path / f"mini{seed}", seed, config=MINI) for seed in (0, 1, 2)]
    alone = write_run(tmp_path / "alone", config={"distill": {"updates": 11}})
    older = write_run(tmp_path / "older", 2, config={"new": None, "flag": False, "share": 0.0, "tasks": {}, "more": []})
    mixed = [mini[0], nano[0], alone, mini[1], nano[1], older, mini[2]]
    assert seeds_of_one_configuration(mixed) == [mini, [*nano, older]]


def test_a_run_with_a_renamed_setting_is_rejected_in_one_line(tmp_path):
    run = write_run(tmp_path / "toy", config={"distill": {"windows": 8}})
    with pytest.raises(GatitoError, match=r"distill\.windows is now distill\.batch_size\. Run it again"):
        compare([run], tmp_path / "all")


def test_training_seeds_of_one_configuration_are_pooled(tmp_path):
    runs = [write_run(tmp_path / f"toy-seed{seed}", seed, clips=seed > 0) for seed in (0, 1, 2)]
    merged = compare(runs, tmp_path / "toy")
    assert merged == Results.read(tmp_path / "toy")
    for name in ("scores", "tasks", "costs", "curves"):
        assert getattr(merged, name) == sum((getattr(Results.read(run), name) for run in runs), ())
    assert list(map(str, merged.agents)) == ["random", "expert", "generalist"]
    assert merged.train_seeds == [0, 1, 2]
    assert yaml.safe_load((tmp_path / "toy" / "config.yaml").read_text())["seed"] == 0
    environment = json.loads((tmp_path / "toy" / "environment.json").read_text())
    assert environment == {"command": "gatito seed=0\ngatito seed=1\ngatito seed=2", "git_commit": "cd, ab"}
    assert (tmp_path / "toy" / "clips" / "toy" / "x" / "clip.mp4").read_bytes() == b"toy-seed1"  # the first run's clip


@pytest.mark.parametrize(
    "configs, labels",
    [
        ([{}, MINI], ["model=nano", "model=mini"]),
        ([{}, {"model": PRESETS["nano"] | {"width": 64}}], ["model.width=128", "model.width=64"]),
        ([{}, {"distill": {"updates": 11, "weights": {}}}], ["distill.updates=10", "distill.updates=11"]),
        ([{}, MINI | {"more": 1}], ["more=0, model=nano", "more=1, model=mini"]),
        ([{"distill": {"ema": 0.0}}, {"distill": {"ema": 0.5}}], ["distill.ema=0.0", "distill.ema=0.5"]),
        ([{}, {"distill": {"ema": 0.0, "updates": 11}}], ["distill.updates=10", "distill.updates=11"]),
        (
            [{"controls": {"clone": PRESETS["nano"]}}, {"controls": {"clone": PRESETS["mini"]}}],
            ["controls.clone=nano", "controls.clone=mini"],
        ),
        (  # two of one preset, which differ in a setting
            [{}, MINI, {"model": PRESETS["nano"] | {"width": 64}}],
            [f"model.name={name}, model.width={width}" for name, width in (("nano", 128), ("mini", 256), ("nano", 64))],
        ),
    ],
)
def test_configurations_are_labelled_by_what_differs(tmp_path, configs, labels):
    runs = [
        write_run(tmp_path / f"r{number}", config=config, generalist=number) for number, config in enumerate(configs)
    ]
    merged = compare(runs, tmp_path / "all")
    assert list(map(str, merged.agents)) == ["random", "expert", *(f"generalist ({label})" for label in labels)]
    for number, label in enumerate(labels):
        [config] = (tmp_path / "all").glob(f"config-{number}.yaml" if number else "config.yaml")
        assert config.read_text() == f"# {label}\n" + (runs[number] / "config.yaml").read_text()


def test_shared_anchors_stay_one_and_each_generalist_keeps_its_rows(tmp_path):
    runs = [write_run(tmp_path / f"nano{seed}", seed) for seed in (0, 1)]
    runs += [write_run(tmp_path / f"mini{seed}", seed, config=MINI, generalist=7) for seed in (0, 1)]
    merged = compare(runs, tmp_path / "all")
    assert list(map(str, merged.agents)) == ["random", "expert", "generalist (model=nano)", "generalist (model=mini)"]
    returns = {agent: [row.total_return for row in merged.scores if row.agent_id == agent] for agent in merged.agents}
    assert list(returns.values()) == [[0, 1, 1, 2], [10, 11, 11, 12], [5, 6, 6, 7], [7, 8, 8, 9]]
    assert [(row.label, row.train_seed) for row in merged.tasks] == [("", 0), ("", 1)]
    assert [row.agent_id for row in merged.costs] == [row.agent_id for row in merged.curves]
    assert sorted(str(row.agent_id) for row in merged.costs) == sorted([*map(str, merged.agents)] * 2)


def test_runs_with_experts_of_their_own_keep_both_anchors_apart(tmp_path):
    runs = [write_run(tmp_path / "nano"), write_run(tmp_path / "mini", config=MINI, expert=20)]
    merged = compare(runs, tmp_path / "all")
    # The generalists' scores are equal, but each is normalised by its own anchors.
    expected = [f"{agent} (model={name})" for agent in ("random", "expert", "generalist") for name in ("nano", "mini")]
    assert list(map(str, merged.agents)) == expected
    assert [str(row.expert_id) for row in merged.tasks] == expected[2:4]


def test_configs_of_an_earlier_comparison_are_removed(tmp_path):
    runs = [write_run(tmp_path / str(width), config={"model": {"width": width}}) for width in (1, 2, 3)]
    compare(runs, tmp_path / "all")
    compare(runs[:2], tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").glob("config*")) == ["config-1.yaml", "config.yaml"]


def test_a_single_folder_compares_to_the_same_rows_also_into_itself(tmp_path):
    run = write_run(tmp_path / "toy-seed0", clips=True)
    expected = Results.read(run)
    assert compare([run], tmp_path / "toy") == Results.read(tmp_path / "toy") == expected
    assert (tmp_path / "toy" / "clips" / "toy" / "x" / "clip.mp4").exists()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "environment.json"}
    assert compare([run], run) == expected
    assert {path: path.read_bytes() for path in before} == before


def test_results_can_be_compared_without_their_environments(tmp_path):
    runs = [write_run(tmp_path / "toy-seed0"), write_run(tmp_path / "toy-seed1", 1)]
    (runs[0] / "environment.json").unlink()
    compare(runs, tmp_path / "toy")
    assert json.loads((tmp_path / "toy" / "environment.json").read_text())["command"] == "gatito seed=1"


def changed(**columns):
    results = make_results({"toy/x": played(1)})
    return replace(results, tasks=tuple(replace(row, **columns) for row in results.tasks))


@pytest.mark.parametrize(
    "other, message",
    [
        ({"seed": 0}, "has duplicate rows: line 2 (toy/x, random, 0, 600000000)"),
        ({"seed": 0, "generalist": 9}, "has duplicate rows: "),  # the same run, made again
        (
            {"results": changed(preprocessing="def")},
            "toy/x has different preprocessing in line 2 (abc) and line 3 (def)",
        ),
        ({"results": changed(horizon=7)}, "toy/x has different horizon in line 2 (9) and line 3 (7)"),
        ({"results": make_results({"toy/y": played(1)})}, "lacks rows: random on toy/y, training seed 0"),
        ({"results": make_results({"toy/x": played(1)}, suite="more")}, "mixes the suites more, toy"),
        ({"config": []}, "config.yaml has no settings"),
        ({"config": "{"}, "config.yaml is not valid YAML"),
    ],
)
def test_incompatible_runs_are_rejected_and_nothing_is_written(tmp_path, other, message):
    config = other.pop("config", None)
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", **{"seed": 1} | other)]
    if config is not None:
        (runs[1] / "config.yaml").write_text(str(config))
    with pytest.raises(GatitoError) as refused:
        compare(runs, tmp_path / "all")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "all").exists()


def test_no_run_is_overwritten(tmp_path):
    runs = [write_run(tmp_path / name, seed) for seed, name in enumerate(("a", "b", "c"))]
    for folders, into in ((runs[:2], runs[0]), (runs[:2], tmp_path / "b" / ".." / "b"), (runs[:2], runs[2])):
        with pytest.raises(GatitoError, match=r"would overwrite the run .*name=NAME\.$"):
            compare(folders, into)


def test_a_run_without_results_names_the_file(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", 1)]
    (runs[1] / "scores.csv").unlink()
    with pytest.raises(GatitoError, match=r"b/scores\.csv is missing: run with stages"):
        compare(runs, tmp_path / "all")


def test_agents_with_equal_scores_but_different_costs_stay_separate():
    same = make_results({"toy/x": {"random": {0: [0, 1]}, "expert": {0: [9, 9]}, "generalist": {0: [8, 8]}}})
    larger = replace(
        same,
        costs=tuple(replace(row, parameters=99) if row.agent == "generalist" else row for row in same.costs),
    )
    merged = merge([("model=nano", [same]), ("model=mini", [larger])])
    assert list(map(str, merged.agents)) == ["random", "expert", "generalist (model=nano)", "generalist (model=mini)"]
    assert {row.parameters for row in merged.costs if "mini" in row.label} == {99}


def test_an_agent_that_two_runs_made_alike_is_one_whatever_the_time_it_took():
    """As the jobs of a sweep do that run side by side; an agent that learnt otherwise is another one."""
    one = make_results({"toy/x": played(0)})
    slower = replace(one, costs=tuple(replace(row, train_seconds=9.0, play_seconds=8.0) for row in one.costs))
    merged = merge([("a", [one]), ("b", [slower])])
    assert list(map(str, merged.agents)) == ["random", "expert", "generalist"] and merged.costs == one.costs
    learnt = tuple(replace(row, value=0.5) if row.agent == "generalist" else row for row in one.curves)
    merged = merge([("a", [one]), ("b", [replace(one, curves=learnt)])])
    assert list(map(str, merged.agents)) == ["random", "expert", "generalist (a)", "generalist (b)"]


def test_a_comparison_of_comparisons_keeps_both_labels():
    run = make_results({"toy/x": played(0)})
    slow = make_results({"toy/x": played(0, generalist=3)})
    inner = merge([("model=nano", [run]), ("model=mini", [slow])])
    assert merge([("", [inner])]) == inner
    outer = merge([("a", [inner]), ("b", [make_results({"toy/x": played(0, expert=20)})])])
    assert {str(agent) for agent in outer.agents} >= {"generalist (model=mini, a)", "generalist (b)", "expert (a)"}


def test_rounds_of_several_runs_are_distinguished(tmp_path):
    runs = [write_run(tmp_path / "nano"), write_run(tmp_path / "mini", config=MINI, generalist=7)]
    for run in runs:
        (run / "rounds.csv").write_text("task,agent,round,label,f\ntoy/x,generalist,1,,0.5\n")
        seal(run, ["rounds.csv"])
    compare(runs, tmp_path / "all")
    lines = (tmp_path / "all" / "rounds.csv").read_text().splitlines()
    assert lines[1:] == [f"toy/x,generalist,1,model={name},0.5" for name in ("nano", "mini")]
