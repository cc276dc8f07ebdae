import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.runs import wandb_service
from benchmarks.runs.tracking import Log, Tracker, TrackingConfig, read_log, use_writable_folders
from tests.conftest import ROOT


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


def test_invalid_lines_are_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(
        b'[]\n3\n{"step": "x"}\n\xff\xfe\n{"step": 1, "seconds": 0.5, "a": 2}\n{"step": 2}\n'
    )
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "seconds": 0.5, "a": 2}]
    Log(tmp_path, keep_until=5).write(6, {"a": 3.0})
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 6]


def test_lines_of_repeated_work_are_dropped(tmp_path):
    log = Log(tmp_path)
    for step in (10, 20, 30):
        log.write(step, {"a": step})
    log = Log(tmp_path, keep_until=20)
    log.write(30, {"a": 31})
    assert [line["a"] for line in read_log(log.path)] == [10, 20, 31]
    seconds = [line["seconds"] for line in read_log(log.path)]
    assert seconds == sorted(seconds)


def test_an_offline_run_is_read_back_with_its_curve(tmp_path):
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
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if options:
        return output
    records = {}
    for record in map(json.loads, output.splitlines()):
        if record["type"] == "history":
            record["history"] = record["history"]["item"]
        records.setdefault(record["type"], []).append(record[record["type"]])
    return records


def test_a_resumed_log_is_mirrored_without_repetition(tmp_path):
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


def test_a_failing_wandb_gets_one_warning(tmp_path, monkeypatch, capsys):
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


def test_wandb_that_fails_midway_does_not_stop_the_run(tmp_path, capsys):
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


def test_other_objects_are_logged_to_the_open_run_and_may_fail(tmp_path, capsys):
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "settings, words", [({"backend": "wnb"}, "tracking backend"), ({"mode": "on"}, "tracking mode")]
)
def test_unknown_settings_are_rejected(tmp_path, settings, words):
    with pytest.raises(GatitoError, match=f"unknown {words}"):
        tracker(tmp_path, **settings)


def opened(folder, monkeypatch, variables, **settings):
    """What wandb.init is called with under these variables; None where it is not called."""
    import wandb

    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(folder))
    calls = []
    monkeypatch.setattr(wandb, "init", lambda **words: (calls.append(words), MagicMock())[1])
    Tracker(TrackingConfig(**settings), group="g", exp_name="e", seed=0, folder=folder).mirror(folder, "experts")
    return calls[0] if calls else None


@pytest.mark.parametrize(
    "variables",
    [{"WANDB_MODE": "disabled"}, {"WANDB_DISABLED": "true"}, {"WANDB_DISABLED": "1", "WANDB_MODE": "online"}],
)
def test_wandbs_variables_switch_it_off(tmp_path, monkeypatch, variables):
    assert opened(tmp_path, monkeypatch, variables) is None


@pytest.mark.parametrize("mode", ["offline", "dryrun", "", "nonsense"])
def test_wandb_is_offline_by_its_variable_or_without_a_key(tmp_path, monkeypatch, mode):
    assert opened(tmp_path, monkeypatch, {"WANDB_MODE": mode})["mode"] == "offline"


def test_wandbs_variables_are_defaults_of_the_settings(tmp_path, monkeypatch):
    variables = {"WANDB_PROJECT": "p", "WANDB_ENTITY": "e", "WANDB_DIR": "/d", "WANDB_DISABLED": "false"}
    call = opened(tmp_path, monkeypatch, variables)
    assert (call["project"], call["entity"], call["dir"]) == ("p", "e", Path("/d"))
    call = opened(tmp_path, monkeypatch, variables, project="mine", entity="me")
    assert (call["project"], call["entity"]) == ("mine", "me")
    call = opened(tmp_path, monkeypatch, {})
    assert (call["project"], call["entity"], call["dir"]) == ("gatito", None, tmp_path)


def test_wandb_keeps_its_files_with_the_run_where_the_users_folders_cannot_be_written(tmp_path, monkeypatch):
    kept = ("WANDB_CACHE_DIR", "WANDB_DATA_DIR")
    for variable in kept:
        monkeypatch.setenv(variable, "")  # so that it is restored after the test
        monkeypatch.delenv(variable)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "home" / "cache" / name))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / "home" / "data" / name))
    (tmp_path / "home" / "data").mkdir(parents=True)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) if mode == os.F_OK else path.name == "data")
    use_writable_folders(tmp_path / "run")
    assert [os.environ.get(variable) for variable in kept] == [str(tmp_path / "run"), None]
    monkeypatch.setenv("WANDB_CACHE_DIR", "/mine")
    use_writable_folders(tmp_path / "run")
    assert os.environ["WANDB_CACHE_DIR"] == "/mine"


def test_a_key_without_a_network_falls_back_to_offline_within_seconds(tmp_path, monkeypatch, capsys):
    key = {"WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    start = time.monotonic()
    assert opened(tmp_path, monkeypatch, key)["mode"] == "offline"
    assert time.monotonic() - start < 10 and capsys.readouterr().err.count("mirrored offline") == 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        key["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert opened(tmp_path, monkeypatch, key)["mode"] == "online"


def test_a_stopped_wandb_is_not_waited_for(tmp_path):
    """Its process is stopped as a debugger or a full machine stops it; the run goes on, and the process ends."""
    (tmp_path / "script.py").write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.strip() == "went on", done.stderr
    assert done.stderr.count("no answer within 2 s") == 1 and done.stderr.count("\n") == 1


STOPPED = """
import os, pathlib, signal
from pathlib import Path
from benchmarks.runs import tracking, wandb_service

folder = Path("run")
folder.mkdir()
log = tracking.Log(folder)
tracker = tracking.Tracker(tracking.TrackingConfig(), group="g", exp_name="e", seed=0, folder=folder)
mirror = tracker.mirror(folder, "experts")
kill, stopped = os.kill, []
os.kill = lambda process, number: (kill(process, signal.SIGSTOP), stopped.append(process))
wandb_service.kill_services()
os.kill = kill
assert stopped
tracking._MOST_SECONDS = 2
log.write(1, {"a": 1.0})
mirror.finish()
print("went on")
"""


def test_a_service_that_does_not_answer_while_it_starts_is_ended_and_others_are_kept(tmp_path, monkeypatch, capsys):
    import wandb

    core = tmp_path / "wandb-core"
    core.symlink_to(shutil.which("sleep"))
    started = []

    def start():
        started.append(subprocess.Popen([core, "60"]))
        while started[-1].pid not in wandb_service.services():
            time.sleep(0.01)

    def init(**_):
        start()
        started[1].send_signal(signal.SIGSTOP)
        raise RuntimeError("Failed to read port info")

    start()

    monkeypatch.setattr(wandb, "init", init)
    try:
        tracker(tmp_path).mirror(tmp_path, "experts").finish()
        assert started[1].wait(timeout=10) == -signal.SIGKILL and started[0].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert capsys.readouterr().err.count("Failed to read port info") == 1


@pytest.mark.parametrize("fails", ["log", "log_more", "finish", "summary"])
@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1)])
def test_a_run_is_finished_whatever_failed_before(tmp_path, monkeypatch, capsys, fails, error):
    import wandb

    run = MagicMock()
    calls = {"log": run.log, "log_more": run.extra, "finish": run.finish, "summary": run.summary.update}
    calls[fails].side_effect = error
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    Log(tmp_path / "a").write(1, {"loss": 1.0})
    mirror = tracker(tmp_path).mirror(tmp_path / "a", "experts")
    mirror.pump()
    mirror.finish({"gate/mean": 1.0}, lambda run: run.extra())
    assert run.finish.call_count == 1
    assert " ".join(capsys.readouterr().err.split()).count("Weights & Biases failed") == 1
