"""The stages of a run, in their order: the only list of them.

All code that names a stage uses :data:`STAGES`: the command line and its help, failures, messages such as "run with
stages=[record] first", and the job types and the workspace of Weights & Biases. A new stage is an entry here, and a
function that the entry point binds to its name.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError, unknown
from benchmarks.base.memory import return_freed_memory


def _unbound(plan: object) -> None:
    raise RuntimeError("the entry point has bound no function to this stage")


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: as in ``stages=[…]``.
        help: its description in ``gatito --help``; may have several lines.
        needs: the stages whose artifacts it reads, if the run has them.
        default: whether a run without ``stages=[…]`` includes it.
        of_run: whether it writes into one run's folder, and tasks can fail in it.
        of_results: whether it reads results folders, named by ``runs=[…]``, and nothing of the run.
        has_jobs: whether it runs jobs on the run's engine.
        job_types: the job types of the W&B runs that it starts.
        make: the function that makes it; the entry point binds it (see :func:`bind`).
    """

    name: str
    help: str
    needs: tuple[str, ...] = ()
    default: bool = False
    of_run: bool = True
    of_results: bool = False
    has_jobs: bool = False
    job_types: tuple[str, ...] = ()
    make: Callable[[Any], None] = _unbound


_ALL = (
    Stage("list", "print the tasks of the suite: name, environment, expert, reference, metric", of_run=False),
    Stage(
        "experts",
        "train one expert per task with stable-baselines3, gate each against its reference",
        default=True,
        has_jobs=True,
        job_types=("experts",),
    ),
    Stage(
        "record",
        "record experts (with their action distributions) and the random policy",
        needs=("experts",),
        default=True,
        has_jobs=True,
        job_types=("record",),
    ),
    Stage(
        "distill",
        "train one transformer on all recordings",
        needs=("record",),
        default=True,
        has_jobs=True,
        job_types=("distill", "dagger"),
    ),
    Stage(
        "controls",
        "train the controls: a specialist and a clone per task, retrieval, multi-task RL",
        needs=("record",),
        default=True,
        has_jobs=True,
        job_types=("controls", "multitask-rl"),
    ),
    Stage(
        "ida",
        "amplify, record and distil in rounds, if ida.rounds is above 0",
        needs=("experts", "record", "distill"),
        default=True,
        has_jobs=True,
        job_types=("ida", "finetune", "scale"),
    ),
    Stage(
        "evaluate",
        "play 100 test episodes per task and agent, write scores.csv",
        needs=("experts", "record", "distill", "controls", "ida"),
        default=True,
        has_jobs=True,
        job_types=("evaluate",),
    ),
    Stage(
        "clips",
        "make clips of expert and generalist side by side",
        needs=("experts", "record", "distill", "controls"),
        default=True,
        has_jobs=True,
    ),
    Stage(
        "report",
        "print the tables, write table.md, .csv, .tex, plots and index.html",
        needs=("evaluate",),
        default=True,
        job_types=("report",),
    ),
    Stage(
        "export",
        "write every recording as a Minari dataset below results/runs/<name>/minari/,\n"
        "and every trained expert as a zip of stable-baselines3's below results/runs/<name>/sb3/",
        needs=("record",),
    ),
    Stage(
        "release",
        "copy the run's experts to results/experts/ and its generalist to results/<suite>/generalist/,\n"
        "for experts=released and generalist=released",
        needs=("experts",),
    ),
    Stage(
        "push",
        "send the run's generalist, experts or recordings to the Hugging Face Hub:\n"
        "gatito stages=[push] hub.repo=OWNER/NAME",
        needs=("experts", "record", "distill"),
    ),
    Stage("compare", "report several runs together: gatito stages=[compare] runs=[A,B]", of_run=False, of_results=True),
    Stage(
        "verify",
        "recompute every number of results folders from their rows: gatito stages=[verify] runs=[A,results/B]",
        of_run=False,
        of_results=True,
    ),
    Stage(
        "plan",
        "print what the run will cost: jobs, longest job, wall time on workers=N, memory, disk",
        of_run=False,
    ),
    Stage(
        "play",
        "play a board game in the terminal against the generalist, or with generalist=none against the expert:\n"
        "gatito stages=[play] suite=games tasks=[connect-four]",
        needs=("experts", "distill", "ida"),
        of_run=False,
    ),
    Stage(
        "chat",
        "talk with a generalist that has learned to reply, line by line: gatito stages=[chat] generalist=released",
        needs=("experts", "record", "distill", "ida"),
        of_run=False,
    ),
    Stage("workspace", "save a Weights & Biases workspace for the suite", of_run=False),
)

STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _ALL}
"""All stages by name, in their order."""

DEFAULT_STAGES = tuple(stage.name for stage in _ALL if stage.default)
"""The stages of a run without ``stages=[…]``."""

JOB_TYPES = tuple(job_type for stage in _ALL for job_type in stage.job_types)
"""The job types of all W&B runs."""


def bind(makers: Mapping[str, Callable[[Any], None]]) -> dict[str, Stage]:
    """The stages with the functions that make them.

    Raises:
        ValueError: if the names are not those of :data:`STAGES`.
    """
    if set(makers) != set(STAGES):
        raise ValueError(f"no function, or no stage, for {sorted(set(makers) ^ set(STAGES))}")
    return {name: replace(stage, make=functools.partial(_make, makers[name])) for name, stage in STAGES.items()}


def _make(make: Callable[[Any], None], plan: Any) -> None:  # noqa: ANN401
    try:
        make(plan)
    finally:
        return_freed_memory()


def check_stages(names: Collection[str]) -> None:
    """Reject unknown stages, and an empty list.

    Raises:
        GatitoError: names the valid ones.
    """
    if not names:
        raise GatitoError("stages=[] names no stage: name one or more, such as stages=[list], or leave it out.")
    for name in names:
        if name not in STAGES:
            raise unknown("stage", name, STAGES)


def run_first(*names: str) -> str:
    """The remedy if artifacts of these stages are missing: ``run with stages=[record] first``."""
    check_stages(names)
    return f"run with stages=[{','.join(names)}] first"


def require(artifacts: Mapping[str, Artifact], *stages: str) -> None:
    """Check that artifacts are finished.

    Args:
        artifacts: by task name, or ``""`` for all tasks.
        stages: the names of the stages that make them.

    Raises:
        GatitoError: names the first missing artifact, and the stages to run.
    """
    for name, artifact in artifacts.items():
        if not artifact.is_complete():
            missing = name or artifact.kind
            raise GatitoError(f"{missing} is not in {artifact.folder} as configured: {run_first(*stages)}.")


def help_text() -> str:
    """The stages with their descriptions, for ``gatito --help``."""
    width = max(map(len, STAGES)) + 1
    lines = []
    for stage in STAGES.values():
        first, *others = stage.help.splitlines()
        lines += [f"{stage.name:<{width}}{first}", *(" " * width + line for line in others)]
    return "\n".join(lines)
