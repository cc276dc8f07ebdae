import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.runs import wandb_service


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(wandb_service, "_SERVER_SECONDS", 0.05)
    monkeypatch.setattr(wandb_service.socket, "create_connection", lambda *_, **__: time.sleep(30))
    start = time.monotonic()
    assert not wandb_service.answers() and time.monotonic() - start < 5


def test_a_child_that_ends_meanwhile_hides_no_service(tmp_path, monkeypatch):
    core = tmp_path / "wandb-core"
    core.symlink_to(shutil.which("sleep"))
    other = subprocess.Popen([shutil.which("sleep"), "60"])
    service = subprocess.Popen([core, "60"])
    read_bytes = Path.read_bytes

    def read(path):
        if path.parent.name == str(other.pid):
            raise ProcessLookupError(path)
        return read_bytes(path)

    try:
        while service.pid not in wandb_service.services():
            time.sleep(0.01)
        monkeypatch.setattr(Path, "read_bytes", read)
        assert service.pid in wandb_service.services()
    finally:
        for process in (service, other):
            process.kill()
            process.wait()
