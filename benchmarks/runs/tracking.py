"""Logs: JSONL files are the record, and Weights & Biases mirrors them; its failures do no harm.

A working process writes a :class:`Log`; the main process mirrors it with a :class:`Mirror`. A line is one JSON object
with a ``step`` and metrics under the field's usual names (``charts/episodic_return`` …).
"""

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.artifacts import write_text
from benchmarks.base.errors import unknown
from benchmarks.base.settings import setting
from benchmarks.runs.stage import JOB_TYPES
from benchmarks.runs.wandb_service import (
    Variables,
    answers,
    has_key,
    kill_services,
    services,
    within,
)

LOG = "log.jsonl"
_MOST_SECONDS = 90  # for one call of W&B: to open a run, to send lines, to upload an artifact
_CLOSING_SECONDS = 10  # for finishing a run after W&B has failed
LogMore = Callable[[Any], object]
"""Logs more than curves to an open W&B run; see :mod:`benchmarks.runs.wandb`."""


@dataclass
class TrackingConfig:
    """JSONL logs, which are always written, and Weights & Biases."""

    backend: str = setting("wandb", "wandb, or none: the JSONL logs only.", choices=("none", "wandb"))
    project: str | None = setting(None, "The W&B project; null: WANDB_PROJECT, or gatito.")
    entity: str | None = setting(None, "The W&B team or user; null: WANDB_ENTITY, or the account's default.")
    mode: str | None = setting(
        None,
        "online, offline, or null: WANDB_MODE, or online if an API key is set.",
        choices=("offline", "online"),
    )

    def resolved(self) -> "TrackingConfig":
        """The settings, with W&B's environment variables for unset ones."""
        variables = Variables.read()
        return replace(self, project=self.project or variables.project, entity=self.entity or variables.entity)


class Log:
    """An append-only JSONL log in an artifact's folder."""

    def __init__(self, folder: Path, keep_until: float = -1) -> None:
        """Open the log and drop lines after step ``keep_until``, whose work will be repeated."""
        self.path = folder / LOG
        kept = [line for line in read_log(self.path) if line["step"] <= keep_until]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._start = time.monotonic()
        self._earlier = kept[-1]["seconds"] if kept else 0.0

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line: ``step``, ``seconds`` of work so far, and the metrics (plain numbers)."""
        seconds = round(self._earlier + time.monotonic() - self._start, 3)
        line = {"step": int(step), "seconds": seconds} | {name: float(value) for name, value in metrics.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """All complete lines of a log; an incomplete last line is left out, and a missing file is an empty log."""
    lines = []
    with contextlib.suppress(FileNotFoundError):
        for text in path.read_bytes().decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(text)
                if isinstance(line, dict) and all(
                    isinstance(line.get(key), int | float) for key in ("step", "seconds")
                ):
                    lines.append(line)
    return lines


class Mirror:
    """Copies the lines of one log to one W&B run; a failure causes one warning and ends only the mirroring."""

    def __init__(self, tracker: "Tracker", folder: Path, job_type: str, config: Mapping[str, Any]) -> None:
        self._path = folder / LOG
        self._offset = 0
        self._inode = 0
        self._last_step = self._sent_before = -1.0
        self._run: Any = tracker.start_run(folder, job_type, config)
        self._tracker = tracker

    def pump(self) -> None:
        """Send the lines that are new since the last call."""
        if self._run is None or not self._path.exists():
            return
        if not self._tracker.attempt(self._send):
            self._close()

    def _send(self) -> None:
        with self._path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:  # a worker has reopened the log to resume
                self._inode, self._offset, self._sent_before = inode, 0, self._last_step
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            values = json.loads(line)
            values["global_step"] = values.pop("step")
            if values["global_step"] > self._sent_before:
                self._last_step = values["global_step"]
                self._run.log(values)

    def finish(self, summary: Mapping[str, float] | None = None, log_more: LogMore | None = None) -> None:
        """Send the remaining lines, call ``log_more`` with the W&B run if there is one, and close the run."""
        self.pump()
        if self._run is not None:
            run = self._run
            if summary:
                self._tracker.attempt(lambda: run.summary.update(dict(summary)))
            if log_more is not None:
                self._tracker.attempt(lambda: log_more(run))
            self._close()

    def _close(self) -> None:
        run, self._run = self._run, None
        self._tracker.close(run)


def pump(mirrors: Iterable[Mirror]) -> None:
    """Send the new lines of several logs, such as those of parallel jobs."""
    for mirror in mirrors:
        mirror.pump()


def _give_up() -> None:
    """Stop wandb's service, so that this process does not wait for it at its end."""
    import wandb

    kill_services()
    with contextlib.suppress(Exception, SystemExit):  # wandb may exit with the code of the service that was killed
        within(_MOST_SECONDS, wandb.teardown)


def use_writable_folders(folder: Path) -> None:
    """Have W&B keep its logs and uploads below ``folder`` where the user's own folders cannot be written.

    Its service would log to the terminal otherwise, and artifacts could not be uploaded.
    """
    from wandb import env

    for variable, known in ((env.CACHE_DIR, Path(env.get_cache_dir())), (env.DATA_DIR, Path(env.get_data_dir()))):
        existing = next(path for path in (known, *known.absolute().parents) if os.access(path, os.F_OK))
        if not os.environ.get(variable) and not os.access(existing, os.W_OK | os.X_OK):
            os.environ[variable] = str(folder.absolute())


class Tracker:
    """Starts the W&B runs of one gatito run: grouped by suite and name, job type by stage."""

    def __init__(self, config: TrackingConfig, *, group: str, exp_name: str, seed: int, folder: Path) -> None:
        """``group`` is ``SUITE/NAME``; ``folder`` is the gatito run's folder."""
        if config.backend not in ("wandb", "none"):
            raise unknown("tracking backend", config.backend, ("wandb", "none"))
        if config.mode not in (None, "online", "offline"):
            raise unknown("tracking mode", config.mode, ("online", "offline"))
        self._config = config.resolved()
        self._group = group
        self._common = {"suite": group.partition("/")[0], "exp_name": exp_name, "seed": seed}
        self._folder = folder
        self._variables = Variables.read()
        self._works = config.backend == "wandb" and not self._variables.disabled

    def mirror(self, folder: Path, job_type: str, **config: Any) -> Mirror:  # noqa: ANN401
        """A mirror of the log in ``folder``; ``config`` should have the ``env_id`` if there is one."""
        return Mirror(self, folder, job_type, config)

    def write(
        self,
        folder: Path,
        job_type: str,
        metrics: Mapping[str, float],
        *,
        log_more: LogMore | None = None,
        **config: Any,  # noqa: ANN401
    ) -> None:
        """Log a stage's results in one line, and mirror them; ``log_more`` as in :meth:`Mirror.finish`."""
        Log(folder).write(0, metrics)
        self.mirror(folder, job_type, **config).finish(metrics, log_more)

    def start_run(self, folder: Path, job_type: str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """A separate W&B run for one artifact, or None if W&B is off or fails.

        Raises:
            ValueError: if no stage declares the job type.
        """
        if job_type not in JOB_TYPES:  # the workspace would leave its runs out
            raise ValueError(f"{job_type} is not a job type: declare it in benchmarks/runs/stage.py")
        if not self._works:
            return None
        runs: list[Any] = []
        earlier = services()
        if not self.attempt(lambda: runs.append(self._init(folder, job_type, config))):
            kill_services(but=earlier)  # one that does not answer while it starts would outlive this process
        return runs[0] if runs else None

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Call W&B; any failure causes one warning and switches mirroring off."""
        if not self._works:
            return False
        try:
            within(_MOST_SECONDS, action)
        except (Exception, SystemExit) as error:
            self._works = False
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            console.warn(f"Weights & Biases failed ({first_line}); the run continues, {LOG} files have everything.")
            if isinstance(error, TimeoutError):
                _give_up()
        return self._works

    def close(self, run: Any) -> None:  # noqa: ANN401
        """Finish a W&B run, also after a failure: what it was sent is kept, and nothing waits for it at the end."""
        if self._works:
            self.attempt(run.finish)
        else:
            with contextlib.suppress(Exception, SystemExit):
                within(_CLOSING_SECONDS, run.finish)

    def _init(self, folder: Path, job_type: str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        name = "/".join([self._common["exp_name"], *folder.relative_to(self._folder).parts])
        self._folder.mkdir(parents=True, exist_ok=True)
        use_writable_folders(self._folder / "wandb")
        run = wandb.init(
            project=self._config.project,
            entity=self._config.entity,
            group=self._group,
            job_type=job_type,
            name=name,
            id=hashlib.sha256(f"{folder.resolve()}{time.time_ns()}".encode()).hexdigest()[:12],
            config={**self._common, **config},
            dir=self._variables.folder or self._folder,
            mode="online" if self._mode == "online" else "offline",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        run.define_metric("global_step", hidden=True)
        run.define_metric("*", step_metric="global_step")
        return run

    @functools.cached_property
    def _mode(self) -> str:
        """``online`` or ``offline``; determined once."""
        mode = self._config.mode or self._variables.mode or ("online" if has_key() else "offline")
        if mode == "online" and not answers():
            console.warn(
                "Weights & Biases does not answer: this run is mirrored offline; `wandb sync` uploads it later."
            )
            return "offline"
        return mode
