"""Small runs that rounds begin with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.play.policy import Policy
from benchmarks.tasks import Suite
from generalist.config.ida import IdaConfig
from generalist.config.recipe import NetworkRecipe
from generalist.distill.distill import distill
from generalist.ida.rounds import Ida
from tests.conftest import make_run
from tests.generalist.network.test_conditioning import record as record_expert


def start_ida(
    folder: Path, suite: Suite, expert: Policy, recipe: NetworkRecipe, config: IdaConfig, options: Mapping[str, Any]
) -> Ida:
    """The rounds of a run whose expert is recorded and whose first generalist is trained."""
    run = make_run(folder / "runs" / "r", suite)
    recordings = {task.name: record_expert(run.folder, task, expert, episodes=5) for task in suite}
    start = distill(run, recordings, replace(recipe, distill=config.first(recipe.distill)))
    return Ida(run, config, options, start, recordings, recipe)
