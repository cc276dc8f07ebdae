import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.runs.tracking import Log, Tracker, TrackingConfig, read_log


def tracker(folder, **settings):
    config = TrackingConfig(**{"mode": "offline"} | settings)
    return Tracker(config, group="classic/r", exp_name="r", seed=3, folder=folder)


def test_a_log_is_read_back_and_a_cut_last_line_is_left_out(tmp_path):
    log = Log(tmp_path)
    log.write(10, {"charts/episodic_return": 1.5})
    log.write(20, {"charts/episodic_return": 2.5})
    with log.path.open("a") as file:
        file.write('{"step": 30, "char')
    assert [(line["step"], line["charts/episodic_return"]) for line in read_log(log.path)] == [(10, 1.5), (20, 2.5)]


def test_lines_of_work_that_is_done_again_are_dropped(tmp_path):
    log = Log(tmp_path)
    for step in (10, 20, 30):
        log.write(step, {"a": step})
    log = Log(tmp_path, keep_until=20)
    log.write(30, {"a": 31})
    assert [line["a"] for line in read_log(log.path)] == [10, 20, 31]
    seconds = [line["seconds"] for line in read_log(log.path)]
    assert seconds == sorted(seconds)


def test_an_offline_run_is_read_back_and_holds_the_curve(tmp_path):
    folder = tmp_path / "r" / "experts" / "classic" / "cartpole"
    folder.mkdir(parents=True)
    log = Log(folder)
    mirror = tracker(tmp_path / "r").mirror(folder, "experts", env_id="CartPole-v1")
    for step in range(1, 6):
        log.write(step * 100, {"charts/episodic_return": step * 10.0})
        mirror.pump()
    mirror.finish({"gate/mean": 50.0})

    [run] = (tmp_path / "r" / "wandb").glob("offline-run-*")
    records = read_offline(run)
    curve = [(row["global_step"], row["charts/episodic_return"]) for row in records["history"]]
    assert curve == [(step * 100, step * 10.0) for step in range(1, 6)]
    [about] = records["run"]
    config = about["config"]["update"]
    assert (config["env_id"], config["exp_name"], config["seed"]) == ("CartPole-v1", "r", 3)
    assert config["suite"] == "classic"
    assert (about["run_group"], about["job_type"]) == ("classic/r", "experts")
    assert json.loads(read_offline(run, "--summary"))["summary"]["gate/mean"] == 50.0


def read_offline(run, *options):
    """The records of an offline run by type, or what W&B's own reader prints with ``options``."""
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", *options, str(run)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if options:
        return told
    records = {}
    for record in map(json.loads, told.splitlines()):
        if record["type"] == "history":
            record["history"] = record["history"]["item"]
        records.setdefault(record["type"], []).append(record[record["type"]])
    return records


def test_a_log_that_is_opened_anew_to_resume_is_mirrored_without_repeating_itself(tmp_path):
    log = Log(tmp_path)
    mirror = tracker(tmp_path).mirror(tmp_path, "experts")
    sent = []
    real, mirror._run = mirror._run, type("Run", (), {"log": lambda self, row: sent.append(row["global_step"])})()
    for step in (100, 200, 300):
        log.write(step, {"a": 1.0})
    mirror.pump()
    log = Log(tmp_path, keep_until=200)
    mirror.pump()
    for step in (310, 400):
        log.write(step, {"a": 1.0})
    mirror.pump()
    real.finish()
    assert sent == [100, 200, 300, 310, 400]


def test_a_failing_wandb_is_said_once_and_harms_nothing(tmp_path, monkeypatch, capsys):
    import wandb

    def crash(*_, **__):
        raise RuntimeError("the service has crashed")

    monkeypatch.setattr(wandb, "init", crash)
    log = Log(tmp_path)
    log.write(1, {"a": 1.0})
    watcher = tracker(tmp_path)
    for _ in range(2):
        mirror = watcher.mirror(tmp_path, "experts")
        mirror.pump()
        mirror.finish({"a": 1.0})
    assert capsys.readouterr().err.count("the service has crashed") == 1
    assert read_log(log.path)[0]["a"] == 1.0


def test_wandb_that_fails_midway_harms_nothing(tmp_path, capsys):
    log = Log(tmp_path)
    mirror = tracker(tmp_path).mirror(tmp_path, "experts")
    run = mirror._run

    class Crashed:
        def log(self, values):
            raise BrokenPipeError("gone")

    mirror._run = Crashed()
    log.write(1, {"a": 1.0})
    mirror.pump()
    mirror.finish()
    run.finish()
    assert "gone" in capsys.readouterr().err


def test_what_is_no_curve_is_logged_to_the_open_run_and_may_fail(tmp_path, capsys):
    watcher = tracker(tmp_path)
    watcher.write(tmp_path, "report", {"a": 1.0}, log_more=lambda run: run.log({"b": 2.0}))
    [run] = (tmp_path / "wandb").glob("offline-run-*")
    assert read_offline(run)["history"][1]["b"] == 2.0

    def crash(run):
        raise OSError("no such clip")

    watcher.write(tmp_path, "report", {"a": 1.0}, log_more=crash)
    assert "no such clip" in capsys.readouterr().err
    watcher.write(tmp_path, "report", {"a": 3.0}, log_more=crash)  # switched off: not even called
    assert capsys.readouterr().err == ""
    assert read_log(tmp_path / "log.jsonl")[0]["a"] == 3.0


def test_without_tracking_wandb_is_not_even_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchmarks.runs.tracking import *;"
        "t = Tracker(TrackingConfig('none'), group='g', exp_name='e', seed=0, folder=Path('.'));"
        "m = t.mirror(Path('.'), 'experts'); m.pump(); m.finish(); print('wandb' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@pytest.mark.parametrize(
    "settings, words", [({"backend": "wnb"}, "tracking backend"), ({"mode": "on"}, "tracking mode")]
)
def test_unknown_settings_are_refused(tmp_path, settings, words):
    with pytest.raises(GatitoError, match=f"unknown {words}"):
        tracker(tmp_path, **settings)
