"""Which agents of a run are scored."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.tasks import Suite
from generalist.config.codec import CodecConfig
from generalist.config.generalist import GeneralistConfig
from generalist.config.ida import IdaConfig
from generalist.config.settings import ControlsConfig, DistillConfig, ModelConfig
from generalist.stages import Generalist
from tests.conftest import make_run, make_task


@dataclass
class Config:
    ida: IdaConfig
    amplifier: dict[str, Any] = field(default_factory=lambda: {"name": "search"})
    generalist: GeneralistConfig = field(default_factory=GeneralistConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    codec: CodecConfig = field(default_factory=lambda: CodecConfig(critic=0.5))
    distill: DistillConfig = field(default_factory=DistillConfig)
    controls: ControlsConfig = field(default_factory=lambda: ControlsConfig(agents=[]))


class Teachers:
    def __init__(self, folder):
        self.folder = folder

    def recordings(self):
        return {"toy/counter": Artifact(self.folder / "recording", "trajectories", {}, {})}

    def training_steps(self, suite):
        return 0


@pytest.mark.parametrize(
    "every, amplified, students",
    [(1, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), (2, [2, 4, 5], [1, 2, 3, 4, 5]), (4, [4, 5], [3, 4, 5]), (9, [5], [4, 5])],
)
def test_some_rounds_are_scored_with_the_network_before_each(tmp_path, every, amplified, students):
    run = make_run(tmp_path, Suite("toy", (make_task(),)))
    agents = Generalist(run, Config(IdaConfig(rounds=5, score_every=every)), Teachers(tmp_path)).agents()
    rounds = {name: [agent.id.round for agent in agents if agent.id.name == name] for name in ("amplified", "control")}
    assert rounds == {"amplified": amplified, "control": students}
    assert [agent.id.round for agent in agents if agent.id.name == "generalist"] == [None, *students]
