"""The environment of Weights & Biases: its variables, API key, server and service process.

The package ``wandb`` is not needed here; all functions answer within seconds.
"""

import contextlib
import netrc
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PROJECT = "gatito"
_SERVER = "https://api.wandb.ai"
_SERVER_SECONDS = 4
_MODES = {"online": "online", "run": "online", "shared": "online", "offline": "offline", "dryrun": "offline"}


@dataclass(frozen=True)
class Variables:
    """The variables of https://docs.wandb.ai/guides/track/environment-variables that gatito honours.

    Attributes:
        disabled: whether ``WANDB_MODE`` or ``WANDB_DISABLED`` switches W&B off.
        mode: ``online`` or ``offline``; None if ``WANDB_MODE`` is not set.
        project: ``WANDB_PROJECT``, or gatito's default.
        entity: ``WANDB_ENTITY``; None for the account's default.
        folder: ``WANDB_DIR``; None for the run's folder.
    """

    disabled: bool
    mode: str | None
    project: str
    entity: str | None
    folder: Path | None

    @staticmethod
    def read() -> "Variables":
        """Read the current values; an empty variable counts as not set."""
        mode = os.environ.get("WANDB_MODE", "").lower()
        switched_off = os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on")
        folder = os.environ.get("WANDB_DIR")
        return Variables(
            switched_off or mode == "disabled",
            _MODES.get(mode),
            os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
            os.environ.get("WANDB_ENTITY") or None,
            Path(folder) if folder else None,
        )


def has_key() -> bool:
    """Whether a key is set, by ``WANDB_API_KEY`` or ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return any("wandb" in host for host in netrc.netrc().hosts)
    return False


def answers() -> bool:
    """Whether W&B's server, or the proxy on the way to it, accepts a connection within seconds."""
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or _SERVER)
    host = server.hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(server.scheme)
    if proxy:
        server = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    port = server.port or (443 if server.scheme == "https" else 80)

    def connect() -> None:
        socket.create_connection((server.hostname or "", port), timeout=_SERVER_SECONDS).close()

    try:
        within(_SERVER_SECONDS, connect)  # name resolution has no time limit of its own
    except OSError:
        return False
    return True


def within(seconds: float, action: Callable[[], object]) -> None:
    """Call a function in a thread with a time limit.

    Raises:
        TimeoutError: if it is not done in time; the thread keeps running.
        Exception: any error of ``action``.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if errors:
        raise errors[0]


def services() -> set[int]:
    """The service processes (``wandb-core``) of this process, if the system lists them."""
    found: set[int] = set()
    # Not task/*/children: the system leaves children out of it while another one ends.
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended; the others count
            parent = int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
            if parent == os.getpid():
                command = (process / "cmdline").read_bytes().split(b"\0")[0]
                if Path(os.fsdecode(command)).name == "wandb-core":
                    found.add(int(process.name))
    return found


def kill_services(but: Collection[int] = ()) -> None:
    """Kill the service processes of this process, but for those given."""
    for process in services() - set(but):
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
