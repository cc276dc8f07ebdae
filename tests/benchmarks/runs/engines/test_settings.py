"""Wrong settings of engines get one line, before anything is made."""

import shutil
import socket
import socketserver
import threading
import time

import pytest

from benchmarks.base.errors import FatalError
from benchmarks.runs.engines.settings import EngineConfig, open_engine
from tests.test_gatito import fails_with


class Web(socketserver.StreamRequestHandler):
    """Answers as a web server does."""

    def handle(self):
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_no_ray_cluster_at_the_address_gets_one_line_within_seconds(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gatito[ray]'")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]  # nobody listens
        begun = time.monotonic()
        for address in (f"127.0.0.1:{port}", "127.0.0.1:six", "no-such-host.invalid:6379"):
            with pytest.raises(FatalError, match=f"^no Ray cluster at {address} .*engine.address=HOST:PORT"):
                open_engine(EngineConfig("ray", address=address), tmp_path / "run", 1).__enter__()
        assert time.monotonic() - begun < 30
    assert list(tmp_path.iterdir()) == []


def test_something_else_at_rays_address_gets_one_line_within_seconds(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gatito[ray]'")
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, socketserver.TCPServer(("127.0.0.1", 0), Web) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        for server in (silent, web.socket):
            address = f"127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(
                FatalError, match=f"^no Ray cluster at {address} .something else than Ray listens there"
            ):
                open_engine(EngineConfig("ray", address=address), tmp_path / "run", 1).__enter__()
        web.shutdown()
    with pytest.raises(FatalError, match="^no Ray cluster at '' .an address is HOST:PORT or auto"):
        open_engine(EngineConfig("ray", address=""), tmp_path / "run", 1).__enter__()
    assert time.monotonic() - begun < 30
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_ray_cluster_joins_no_other_one(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'gatito[ray]'")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # as where a cluster runs already
    with open_engine(EngineConfig("ray"), tmp_path / "run", 1):
        assert sum(node["Resources"].get("CPU", 0) for node in ray.nodes()) == 1


def test_no_slurm_here_gets_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(FatalError, match="there is no sinfo here: start gatito on a login node"):
        open_engine(EngineConfig("slurm"), tmp_path / "run", 1).__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, line",
    [
        (["engine=kubernetes"], "unknown engine 'kubernetes'"),
        (["engine.name=kubernetes"], "unknown engine.name 'kubernetes'"),
        (["engine=ray", "engine.cpus=0"], "engine.cpus must be at least 1"),
        (["engine=ray", "engine.addres=x"], "Did you mean 'address'?"),
    ],
)
def test_a_wrong_setting_gets_one_line(words, line, gatito_inside, tmp_path):
    fails_with(gatito_inside(*words, "tasks=[cartpole]", "tracking=none"), line)
    assert list(tmp_path.iterdir()) == []


def test_engines_are_not_part_of_a_runs_name_or_method(gatito_inside, tmp_path):
    done = gatito_inside("engine.cpus=2", "stages=[report]", "tasks=[cartpole]", "tracking=none")
    assert "classic-nano-seed0-tasks" in done.stderr and "engine" not in done.stderr
