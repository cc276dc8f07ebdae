"""Jobs on a Ray cluster: an existing one by its address, or a fresh one on this machine.

Ray places jobs by cores, GPUs and memory, and starts a job again whose node is lost. Nothing large goes through its
object store: jobs read and write the shared runs folder.
"""

import logging
import os
import socket
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle

from benchmarks.base.errors import FatalError, text_of
from benchmarks.base.interrupts import Terminated, delayed_interrupts
from benchmarks.runs.engines.job import Outcome
from benchmarks.runs.engines.remote import Answer, Batch, Call, RemoteEngine, shared_folder
from benchmarks.runs.engines.settings import EngineConfig
from benchmarks.runs.engines.software import Software

_CONNECT_SECONDS = 5.0
_CHECK_SECONDS = 120.0
_OBJECT_STORE_BYTES = 100_000_000  # jobs and answers are small
_GIGABYTE = 1_000_000_000
_HTTP2_SETTINGS = b"\0\0\0\4"  # the length of its content in three bytes, and its kind
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _HTTP2_SETTINGS + bytes(5)
_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's own default is 15, which starves jobs beside other work
}


@contextmanager
def open_ray(config: EngineConfig, folder: Path, workers: int | None) -> Iterator["RayEngine"]:
    """Connect to the cluster, or start one on this machine, and check its nodes.

    Raises:
        FatalError: if there is no cluster at the address, it has other versions of Python or Ray, it has no node with
            room for a job, or a node lacks the run's folder or has other software.
    """
    ray = _import_ray()
    try:
        with delayed_interrupts():  # a half-started Ray crashes its process; and Ray has its own answer to SIGTERM
            _connect(ray, config, workers)
        capacity = _capacity(ray, config)
        _check_nodes(ray, folder)
        yield RayEngine(ray, config, folder, capacity)
    finally:
        with delayed_interrupts():
            ray.shutdown()


class RayEngine(RemoteEngine):
    """Runs jobs as Ray tasks."""

    def __init__(self, ray: Any, config: EngineConfig, folder: Path, capacity: int) -> None:  # noqa: ANN401
        """An engine on the cluster that ``ray`` is connected to."""
        super().__init__(folder, capacity, config.cpus)
        self._ray, self._config = ray, config

    def send(self, calls: Sequence[Call], labels: Sequence[str], workers: int) -> Batch:
        """Send calls as Ray tasks; those beyond ``workers`` wait here."""
        return _RayBatch(self._ray, self._config, calls, labels, workers)


class _RayBatch:
    def __init__(
        self,
        ray: Any,  # noqa: ANN401
        config: EngineConfig,
        calls: Sequence[Call],
        labels: Sequence[str],
        workers: int,
    ) -> None:
        self._ray, self._workers = ray, max(1, workers)
        self._waiting = list(zip(range(len(calls)), calls, labels, strict=True))[::-1]
        self._working: dict[Any, int] = {}
        memory = int(config.memory_gb * _GIGABYTE) if config.memory_gb else None
        task = ray.remote(num_cpus=config.cpus, num_gpus=config.gpus, memory=memory, max_retries=config.retries)
        self._task = task(_sent(_perform))

    def answers(self) -> list[tuple[int, Answer]]:
        while self._waiting and len(self._working) < self._workers:
            place, call, label = self._waiting.pop()
            sent = self._task.options(name=label or "gatito").remote(sys.path, cloudpickle.dumps(call))
            self._working[sent] = place
        ended, _ = self._ray.wait(list(self._working), num_returns=len(self._working), timeout=0)
        return [(self._working.pop(sent), self._answer(sent)) for sent in ended]

    def _answer(self, sent: Any) -> Answer:  # noqa: ANN401
        try:
            return cloudpickle.loads(self._ray.get(sent))
        except self._ray.exceptions.RayTaskError as error:  # of gatito's own code on the worker
            return Answer(Outcome(bug=str(error)))
        except self._ray.exceptions.RayError as error:
            return Answer(Outcome(death=f" with its worker or node ({_short(text_of(error))})"))

    def cancel(self) -> None:
        self._waiting.clear()
        for sent in self._working:
            with suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.cancel(sent, force=True)
        self._ray.wait(list(self._working), num_returns=len(self._working), timeout=10) if self._working else None
        self._working.clear()


def _sent(function: Any) -> Any:  # noqa: ANN401
    """The same function under no module, so that Ray sends its code: the worker has yet to find gatito's."""
    copy = type(function)(function.__code__, {"__builtins__": __builtins__}, function.__name__)
    copy.__module__ = "__main__"
    return copy


def _perform(paths: list[str], content: bytes) -> bytes:
    import sys

    sys.path += [path for path in paths if path not in sys.path]
    import cloudpickle

    from benchmarks.runs.engines.remote import perform

    return cloudpickle.dumps(perform(cloudpickle.loads(content)))


def _look(paths: list[str], content: bytes) -> str:
    """The error if this node cannot do the run's jobs; empty if it can."""
    import os
    import platform
    import sys

    sys.path += [path for path in paths if path not in sys.path]
    try:
        import cloudpickle

        from benchmarks.runs.engines.remote import unseen

        folder, working_folder, software = cloudpickle.loads(content)
    except (ImportError, AttributeError, TypeError) as error:
        return (
            f"worker {os.uname().nodename} (Python {platform.python_version()}, {sys.executable}) cannot import this "
            f"gatito ({error}): give all machines the same environment and checkout."
        )
    return software.difference() or unseen(folder, working_folder)


def _import_ray() -> Any:  # noqa: ANN401
    os.environ.update({name: value for name, value in _SETTINGS.items() if name not in os.environ})
    try:
        import ray
    except ImportError:
        raise FatalError("engine=ray needs the package ray: pip install 'gatito[ray]'.") from None
    return ray


def _use_token() -> None:
    """Send the token of this user, if there is one: then ``ray start`` has made a cluster that asks for it.

    Ray does so itself, but only for ``address="auto"``.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that it does
    with suppress(ImportError):  # Ray before 2.60
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _connect(ray: Any, config: EngineConfig, workers: int | None) -> None:  # noqa: ANN401
    try:
        if config.address is None:
            slots = {"num_cpus": workers * config.cpus} if workers else {}
            # Without an address, it would join a cluster that runs here.
            ray.init("local", **slots, object_store_memory=_OBJECT_STORE_BYTES, include_dashboard=False, **_silent())
        else:
            _knock(config.address)
            _use_token()
            ray.init(address=config.address, **_silent())
    except SystemExit:  # Ray's own answer to SIGTERM
        raise Terminated from None
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        reason = text_of(error)
        if "ersion mismatch" in reason:
            raise FatalError(f"the Ray cluster at {config.address} has other versions: {_short(reason)}") from None
        hint = " If it runs: all machines need the same RAY_AUTH_MODE and token." if "to connect" in reason else ""
        where = "can be started here" if config.address is None else f"at {config.address or repr('')}"
        raise FatalError(
            f"no Ray cluster {where} ({_short(reason)}): start one with ray start --head, or give its address, "
            f"engine.address=HOST:PORT.{hint}"
        ) from None


def _short(text: str) -> str:
    return textwrap.shorten(text, 200, placeholder=" ...")


def _silent() -> dict[str, Any]:
    return {"logging_level": logging.ERROR, "log_to_driver": False}


def _knock(address: str) -> None:
    """Fail within seconds if nobody listens there, or something else than Ray; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not address or (colon and not port.isdecimal()):
        raise ValueError("an address is HOST:PORT or auto")
    if colon:
        with socket.create_connection((host, int(port)), _CONNECT_SECONDS) as server:
            if "RAY_USE_TLS" not in os.environ and not _speaks_http2(server):
                raise ValueError("something else than Ray listens there")


def _speaks_http2(server: socket.socket) -> bool:
    """Whether a server answers as gRPC does, which Ray speaks: by HTTP/2 settings (RFC 9113, section 3.4)."""
    try:
        server.sendall(_HTTP2_PREFACE)
        return server.recv(len(_HTTP2_SETTINGS), socket.MSG_WAITALL)[3:] == _HTTP2_SETTINGS[3:]
    except OSError:  # silence, or a closed connection
        return False


def _capacity(ray: Any, config: EngineConfig) -> int:  # noqa: ANN401
    needs = {"CPU": config.cpus, "GPU": config.gpus, "memory": int((config.memory_gb or 0) * _GIGABYTE)}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        min(int(node.get(name, 0) // need) for name, need in needs.items() if need) for node in nodes
    )  # a job lies on one node
    if not room:
        have = "; ".join(
            f"{node.get('CPU', 0):g} cores, {node.get('GPU', 0):g} GPUs, {node.get('memory', 0) / _GIGABYTE:.0f} GB"
            for node in nodes
        )
        raise FatalError(
            f"no node of the Ray cluster has room for a job (its nodes: {have or 'none'}): lower engine.cpus, "
            "engine.gpus or engine.memory_gb."
        )
    return room


def _check_nodes(ray: Any, folder: Path) -> None:  # noqa: ANN401
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(_sent(_look))
    with shared_folder(folder.resolve()) as shared:
        content = cloudpickle.dumps((shared, Path.cwd(), Software.here()))
        nodes = [node for node in ray.nodes() if node["Alive"]]
        looks = []
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            looks.append(look.options(scheduling_strategy=there).remote(sys.path, content))
        for node, sent in zip(nodes, looks, strict=True):
            try:
                problem = ray.get(sent, timeout=_CHECK_SECONDS)
            except ray.exceptions.RayError as error:
                if not any(other["Alive"] and other["NodeID"] == node["NodeID"] for other in ray.nodes()):
                    continue  # it has left the cluster since
                problem = f"Ray node {node['NodeManagerAddress']} does not start a job ({_short(text_of(error))})."
            if problem:
                raise FatalError(problem)
