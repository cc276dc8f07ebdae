import dataclasses
import functools
import json
import sys
from pathlib import Path

import pytest

from benchmarks.base.artifacts import MANIFEST, Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.runs import wandb as dashboards
from benchmarks.runs.wandb import log_lineage, log_report, save_workspace, workspace
from tests.benchmarks.runs.test_tracking import read_offline, tracker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb_workspaces.*")
TASKS = ["toy/counter", "toy/walk"]


@pytest.fixture(autouse=True)
def inside_tmp_path(tmp_path, monkeypatch):
    """W&B keeps what it stages, caches and configures in the test's own folder; no key is found."""
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def report(tmp_path):
    clip, page = tmp_path / "counter.mp4", tmp_path / "page.html"
    clip.write_bytes(b"no real video")
    page.write_text("<html><body>the report</body></html>")
    return {
        "task_table": (["task", "expert", "f"], [["toy/counter", 10.5, 0.5], ["toy/walk", 3, None]]),
        "suite_table": (["agent", "mean f"], [["generalist", 0.75]]),
        "thresholds": {"generalist": ([0.0, 0.5, 1.0], [1.0, 0.5, 0.0]), "cloner": ([0.0, 1.0], [1.0, 0.0])},
        "fractions": {"generalist": {"toy/counter": 0.5}, "cloner": {"toy/counter": 0.25, "toy/walk": -0.1}},
        "clips": {"toy/counter": clip},
        "page": page,
    }


def logged(folder, media=None):
    """The records of the offline W&B run in a folder, or the content of one file that was logged at its last step."""
    [run] = (folder / "wandb").glob("offline-run-*")
    records = read_offline(run)
    if media is not None:
        return (run / "files" / records["history"][-1][f"{media}.path"]).read_bytes()
    return records


def test_a_report_is_read_back_with_numbers_as_numbers(tmp_path, report):
    tracker(tmp_path).write(tmp_path, "report", {"f/a": 0.5}, log_more=lambda run: log_report(run, **report))
    content = functools.partial(logged, tmp_path)
    tasks = json.loads(content("report/tasks"))
    assert tasks == {
        "columns": ["task", "expert", "f"],
        "data": [["toy/counter", 10.5, 0.5], ["toy/walk", 3, None]],
    }
    assert json.loads(content("report/suite"))["data"] == [["generalist", 0.75]]
    assert json.loads(content("report/thresholds_table"))["data"] == [
        [0.0, "generalist", 1.0],
        [0.5, "generalist", 0.5],
        [1.0, "generalist", 0.0],
        [0.0, "cloner", 1.0],
        [1.0, "cloner", 0.0],
    ]
    assert json.loads(content("report/fractions/cloner_table"))["data"] == [["toy/counter", 0.25], ["toy/walk", -0.1]]
    assert content("clips/toy/counter") == b"no real video"
    assert content("report/page") == b"<html><body>the report</body></html>"
    assert logged(tmp_path)["history"][0]["f/a"] == 0.5


def test_a_report_without_scored_tasks_clips_and_page_is_two_tables(tmp_path, report):
    report |= {"thresholds": {}, "fractions": {}, "clips": {}, "page": None}
    tracker(tmp_path).write(tmp_path, "report", {}, log_more=lambda run: log_report(run, **report))
    names = {name.partition(".")[0] for name in logged(tmp_path)["history"][-1]}
    assert {name for name in names if "/" in name} == {"report/tasks", "report/suite"}


def test_a_report_that_cannot_be_logged_gets_a_warning(tmp_path, report, capsys):
    report["page"] = tmp_path / "missing.html"
    tracker(tmp_path).write(tmp_path, "report", {}, log_more=lambda run: log_report(run, **report))
    assert "missing.html" in "".join(capsys.readouterr().err.split())


def make(folder, kind, inputs=(), size=10, **config):
    """A finished artifact with one file of ``size`` bytes."""
    made = Artifact(folder, kind, config, {source.kind: source.fingerprint for source in inputs})
    made.start()
    (folder / "content.bin").write_bytes(bytes(size))
    made.finish(1.5, steps=7)
    return made


@pytest.fixture
def chain(tmp_path):
    """Expert → trajectories → generalist → scores in the folder of the gatito run ``r``."""
    run = tmp_path / "r"
    expert = make(run / "experts" / "toy" / "counter", "expert", seed=3)
    trajectories = make(run / "trajectories" / "toy" / "counter" / "expert", "trajectories", [expert], size=5000)
    generalist = make(run / "generalist", "generalist", [trajectories])
    scores = make(run / "scores" / "generalist", "scores", [generalist])
    return [expert, trajectories, generalist, scores]


def test_the_lineage_is_read_back_from_an_offline_run(tmp_path, chain, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("r")  # relative, as results/runs/NAME is
    made = [dataclasses.replace(each, folder=each.folder.relative_to(tmp_path)) for each in chain]
    log_more = functools.partial(log_lineage, made=made, folder=folder, upload_limit=1000)
    tracker(tmp_path / "r").write(tmp_path / "r", "experts", {}, log_more=log_more)
    records = logged(tmp_path / "r")["artifact"]
    assert [(record["name"], record["type"]) for record in records] == [
        ("experts-toy-counter", "expert"),
        ("trajectories-toy-counter-expert", "trajectories"),
        ("generalist", "generalist"),
        ("scores-generalist", "scores"),
    ]
    expert, trajectories, generalist, scores = (json.loads(record["metadata"]) for record in records)
    for record, about, artifact in zip(records, (expert, trajectories, generalist, scores), chain, strict=True):
        assert about["fingerprint"] == artifact.fingerprint
        assert artifact.fingerprint[:12] in record["aliases"]
    assert expert["inputs"] == {}
    assert trajectories["inputs"] == {
        "expert": {"fingerprint": chain[0].fingerprint, "artifact": "experts-toy-counter"}
    }
    assert generalist["inputs"]["trajectories"]["artifact"] == "trajectories-toy-counter-expert"
    assert scores["inputs"]["generalist"]["artifact"] == "generalist"
    assert (expert["config"], expert["facts"], expert["wall_seconds"], expert["run"]) == (
        {"seed": 3},
        {"steps": 7},
        1.5,
        "r",
    )
    assert "numpy" in expert["packages"]
    # Large artifacts are represented by their manifests, which have the checksums.
    assert [record_files(record) for record in records] == [{MANIFEST, "content.bin"}, {MANIFEST}] + [
        {MANIFEST, "content.bin"}
    ] * 2
    assert (expert["uploaded"], trajectories["uploaded"], trajectories["bytes"]) == (True, False, 5000)
    paths = [entry["local_path"] for record in records for entry in record["manifest"]["contents"]]
    assert all(path.startswith(str(tmp_path / "r")) for path in paths)  # to be synced from anywhere, not copied


def record_files(record):
    return {entry["path"] for entry in record["manifest"]["contents"]}


class OnlineRun:
    """Records the calls to a W&B run."""

    offline = False

    def __init__(self):
        self.used, self.logged = [], []

    def use_artifact(self, artifact):
        self.used.append(artifact)

    def log_artifact(self, artifact, aliases):
        self.logged.append((artifact, aliases))


def test_an_online_run_uses_the_inputs_of_its_artifacts(tmp_path, chain):
    for index, artifact in enumerate(chain):
        run = OnlineRun()
        log_lineage(run, [artifact], tmp_path / "r")
        [(output, aliases)] = run.logged
        assert (output.type, aliases) == (artifact.kind, [artifact.fingerprint[:12]])
        assert [used.type for used in run.used] == ([chain[index - 1].kind] if index else [])


def test_an_input_is_the_same_version_as_the_output_that_it_was(tmp_path, chain):
    maker, user = OnlineRun(), OnlineRun()
    log_lineage(maker, chain[:1], tmp_path / "r")
    log_lineage(user, chain[1:2], tmp_path / "r")
    assert (user.used[0].name, user.used[0].digest) == (maker.logged[0][0].name, maker.logged[0][0].digest)


def test_shared_inputs_are_used_once_and_missing_inputs_are_skipped(tmp_path, chain):
    elsewhere = Artifact(tmp_path / "elsewhere", "expert", {})
    twins = [make(tmp_path / "r" / "trajectories" / name, "trajectories", [chain[0]], twin=name) for name in "ab"]
    stray = make(tmp_path / "r" / "trajectories" / "c", "trajectories", [elsewhere])
    run = OnlineRun()
    log_lineage(run, [*twins, stray], tmp_path / "r")
    assert [used.type for used in run.used] == ["expert"]
    assert run.logged[2][0].metadata["inputs"] == {"expert": {"fingerprint": elsewhere.fingerprint, "artifact": None}}


def test_unfinished_and_mismatched_artifacts_are_left_out(tmp_path, chain):
    unfinished = Artifact(tmp_path / "r" / "experts" / "toy" / "walk", "expert", {})
    unfinished.start()
    otherwise = Artifact(chain[0].folder, "expert", {"seed": 4})
    run = OnlineRun()
    log_lineage(run, [unfinished, otherwise], tmp_path / "r")
    assert run.logged == run.used == []


def test_names_contain_only_characters_that_wandb_allows(tmp_path):
    long = make(tmp_path / "r" / "experts" / "toy" / ("a=b c" + "x" * 150), "expert")
    special = make(tmp_path / "r" / "experts" / "toy" / "a=b c", "expert", seed=1)
    run = OnlineRun()
    log_lineage(run, [long, special], tmp_path / "r")
    assert [len(run.logged[0][0].name), run.logged[1][0].name] == [128, "experts-toy-a-b-c"]


# Workspaces


def spec():
    pytest.importorskip("wandb_workspaces")
    built = workspace("team", "gatito", "toy", ["random", "generalist"], TASKS)
    return built._to_model().model_dump(by_alias=True, exclude_none=True)["spec"]["section"]


def panels():
    """The panels' configurations by section."""
    sections = spec()["panelBankConfig"]["sections"]
    return {each["name"]: [panel["config"] for panel in each["panels"]] for each in sections}


def test_a_workspace_has_its_sections_and_metrics():
    shown = panels()
    assert list(shown) == [
        "headline",
        "fraction of the expert",
        "expert learning curves",
        "distillation",
        "evaluation: mean scores",
        "clips",
    ]
    assert [panel["metrics"] for panel in shown["fraction of the expert"]] == [
        [f"f/{task}/{agent}" for task in TASKS] for agent in ("random", "generalist")
    ]
    learning = [(panel["metrics"], panel["xAxis"], panel["groupBy"]) for panel in shown["expert learning curves"]]
    assert learning == [
        ([name], "global_step", "env_id.value") for name in ("charts/episodic_return", "selection/mean")
    ]
    distilling = [panel["metrics"] for panel in shown["distillation"]]
    assert distilling == [["distill/loss"], ["distill/accuracy"], ["distill/learning_rate"]]
    assert shown["evaluation: mean scores"][1]["metrics"] == [
        "evaluate/toy/walk/random",
        "evaluate/toy/walk/generalist",
    ]


def test_a_workspace_groups_runs_and_leaves_other_suites_out():
    [runs] = spec()["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["group", "jobType"]
    suite, stages = runs["filters"]["filters"]
    assert (suite["key"], suite["op"], suite["value"]) == ({"section": "config", "name": "suite"}, "=", "toy")
    assert (stages["key"]["name"], stages["op"], stages["value"]) == ("jobType", "IN", list(dashboards.JOB_TYPES))


def test_a_workspace_shows_what_a_report_logs(tmp_path, report):
    agents = list(report["fractions"])
    tracker(tmp_path).write(tmp_path, "report", {}, log_more=lambda run: log_report(run, **report))
    records = logged(tmp_path)
    names = {name.rpartition(".")[0] for name in records["history"][-1]}
    assert records["run"][0]["config"]["update"]["suite"] == "classic"  # used by a workspace's filter
    pytest.importorskip("wandb_workspaces")
    built = workspace("team", "gatito", "classic", agents, TASKS[:1])
    text = json.dumps(built._to_model().model_dump(by_alias=True, exclude_none=True)["spec"])
    media = {name for name in names if name.startswith(("report/", "clips/"))}
    assert len(media) == 7
    assert {name for name in media if json.dumps(name) not in text} == set()
    # A chart is W&B's default panel.
    drawn = [chart["panel_config"] for config in records["config"] for chart in config["update"].values()]
    sections = built._to_model().spec.section.panel_bank_config.sections
    shown = [panel.model_dump(by_alias=True)["config"] for panel in sections[0].panels if panel.view_type == "Vega2"]
    assert list(map(chart_essence, shown)) == list(map(chart_essence, drawn))


def chart_essence(chart):
    """A chart's preset, columns and texts, and what it asks of each run: its id, its name and the table."""
    [query] = chart["userQuery"]["queryFields"]
    asked = {field["name"]: (field["fields"], field.get("args")) for field in query["fields"]}
    table = [(each["name"], each["value"]) for each in asked["summaryTable"][1]]
    return chart["panelDefId"], chart["fieldSettings"], chart["stringSettings"], asked["id"][0], asked["name"][0], table


def test_a_workspace_cannot_be_saved_without_a_key():
    pytest.importorskip("wandb_workspaces")
    with pytest.raises(GatitoError, match="not saved.*`wandb login`.*team/gatito") as error:
        save_workspace(workspace("team", "gatito", "toy", ["generalist"], TASKS))
    assert "\n" not in str(error.value)


def test_a_saved_workspace_has_a_url(monkeypatch):
    pytest.importorskip("wandb_workspaces")
    from wandb_workspaces.workspaces import Workspace, internal

    monkeypatch.setattr(
        internal, "upsert_view2", lambda view: {"upsertView": {"view": {"name": "nw-abc-v", "id": "1"}}}
    )
    monkeypatch.setattr(
        Workspace, "url", property(lambda self: f"https://wandb.ai/{self.entity}/{self._internal_name}")
    )
    url = save_workspace(workspace("team", "gatito", "toy", ["generalist"], TASKS))
    assert url == "https://wandb.ai/team/nw-abc-v"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(GatitoError, match="pip install wandb-workspaces"):
        workspace("team", "gatito", "toy", ["generalist"], TASKS)
