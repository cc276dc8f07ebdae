"""Defaults that artifacts depend on are recorded in ``default_settings.json``, with the artifacts' format.

A fingerprint leaves out settings that have their defaults. If a default changed and the format did not, gatito would
take artifacts that were made with the old default for those of the new one.

Run as ``python -m tests.test_default_settings`` to write the record anew.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.base.artifacts import FORMAT, write_json
from benchmarks.base.settings import describe
from benchmarks.report.clips import ClipsConfig
from experts.recipe import ExpertRecipe
from experts.record import RecordConfig
from generalist.amplifiers import AMPLIFIERS
from generalist.config.codec import CodecConfig
from generalist.config.ppo import MultitaskConfig
from generalist.config.settings import DistillConfig, ModelConfig
from tests.conftest import ROOT

RECORD = ROOT / "tests" / "default_settings.json"
HASHED = {
    "model": ModelConfig,
    "codec": CodecConfig,
    "distill": DistillConfig,
    "record": RecordConfig,
    "clips": ClipsConfig,
    "suite.tasks.*.expert": ExpertRecipe,
    "controls.multitask": MultitaskConfig,
    **{f"amplifier={name}": AMPLIFIERS.load(name) for name in AMPLIFIERS},
}
"""Settings whose differences from their defaults are part of fingerprints."""

_OFF = ("null", "false", "0", "", "[]", "{}")  # as the record has them


def current() -> dict[str, Any]:
    rows = [row for group, kind in HASHED.items() for row in describe(kind, group) if row.decides]
    return {"format": FORMAT, "defaults": {row.key: row.default for row in rows}}


def advice(recorded: Mapping[str, Any], today: Mapping[str, Any]) -> str:
    """The remedy for a record that differs from the current defaults; ``""`` if it does not."""
    before, now = recorded["defaults"], today["defaults"]
    changed = [key for key in before.keys() & now.keys() if before[key] != now[key]]
    if changed and recorded["format"] == today["format"]:
        return f"the default of {', '.join(sorted(changed))} changed: raise benchmarks.base.artifacts.FORMAT"
    # Earlier runs lack a new setting: a comparison takes them for runs without it (benchmarks/scoring/comparison.py).
    new = [key for key in now.keys() - before.keys() if now[key] not in _OFF]
    if new and recorded["format"] == today["format"]:
        return f"let the new {', '.join(sorted(new))} be off by default, or raise benchmarks.base.artifacts.FORMAT"
    return "" if recorded == today else "run python -m tests.test_default_settings"


def test_a_changed_default_raises_the_format_of_artifacts():
    assert not advice(json.loads(RECORD.read_text()), current())


@pytest.mark.parametrize(
    "today, line",
    [
        ({"format": 1, "defaults": {"a.x": "1"}}, ""),
        ({"format": 1, "defaults": {"a.x": "2"}}, "the default of a.x changed: raise"),
        ({"format": 2, "defaults": {"a.x": "2"}}, "run python"),
        ({"format": 1, "defaults": {"a.x": "1", "a.new": "null"}}, "run python"),
        ({"format": 1, "defaults": {"a.x": "1", "a.new": "3"}}, "let the new a.new be off by default, or raise"),
        ({"format": 2, "defaults": {"a.x": "1", "a.new": "3"}}, "run python"),
        ({"format": 1, "defaults": {}}, "run python"),
    ],
)
def test_only_a_changed_default_needs_a_new_format(today, line):
    text = advice({"format": 1, "defaults": {"a.x": "1"}}, today)
    assert text.startswith(line) and bool(text) == bool(line)


if __name__ == "__main__":
    problem = advice(json.loads(RECORD.read_text()), current()) if RECORD.exists() else ""
    if "FORMAT" in problem:
        raise SystemExit(problem)
    write_json(RECORD, current())
