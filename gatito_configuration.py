"""Every setting of a run, and the page that documents them.

Run as ``python -m gatito_configuration`` to write ``docs/configuration.md``.
"""

from dataclasses import dataclass
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from benchmarks.base import artifacts
from benchmarks.base.errors import GatitoError
from benchmarks.base.project import CODE, CONF
from benchmarks.base.settings import Described, check_settings, describe, keys_text, setting
from benchmarks.report.clips import ClipsConfig
from benchmarks.runs.engines.settings import EngineConfig
from benchmarks.runs.hub import HubConfig
from benchmarks.runs.stage import DEFAULT_STAGES, STAGES, check_stages, help_text
from benchmarks.runs.tracking import TrackingConfig
from benchmarks.scoring.evaluate import EvaluateConfig
from benchmarks.scoring.outside import check_agents
from benchmarks.tasks import Suite, check_suite_file
from experts.recipe import ExpertsConfig, SuiteEntry, TaskEntry
from experts.record import RecordConfig
from generalist import checks
from generalist.amplifiers import AMPLIFIERS
from generalist.config.codec import CodecConfig
from generalist.config.generalist import GeneralistConfig
from generalist.config.ida import IdaConfig
from generalist.config.settings import ControlsConfig, DistillConfig, ModelConfig

PAGE = CODE / "docs" / "configuration.md"
_INTRODUCTION = """\
# Configuration

<!-- Written by `python -m gatito_configuration` from the settings' dataclasses; do not edit. -->

Every key can be set on the command line (`gatito distill.batch_size=32`) or in a YAML file of your own. Groups such as
`model` have presets in `conf/`, which list only differences from the defaults below: `gatito model=mini`.
"""


@dataclass
class Config:
    """Every key of a run."""

    suite: SuiteEntry = setting(SuiteEntry, "Which tasks.")
    model: ModelConfig = setting(ModelConfig, "How large the network is.")
    codec: CodecConfig = setting(CodecConfig, "How observations and actions become numbers.")
    experts: ExpertsConfig = setting(ExpertsConfig, "Where experts come from.")
    record: RecordConfig = setting(RecordConfig, "How much is recorded.")
    distill: DistillConfig = setting(DistillConfig, "How the network is trained.")
    controls: ControlsConfig = setting(ControlsConfig, "Baselines for the generalist.")
    evaluate: EvaluateConfig = setting(EvaluateConfig, "How agents are scored.")
    clips: ClipsConfig = setting(ClipsConfig, "Which clips are made.")
    tracking: TrackingConfig = setting(TrackingConfig, "Where logs go.")
    engine: EngineConfig = setting(EngineConfig, "Where jobs run.")
    generalist: GeneralistConfig = setting(GeneralistConfig, "Which generalist plays.")
    ida: IdaConfig = setting(IdaConfig, "Rounds of amplification and distillation.")
    amplifier: dict[str, Any] = setting({}, "The amplifier of these rounds; see the amplifiers' options.")
    hub: HubConfig = setting(HubConfig, "What is sent to the Hugging Face Hub.")
    stages: list[str] = setting(
        list(DEFAULT_STAGES),
        "The stages to run; they always run in this order.",
        choices=tuple(STAGES),
    )
    seed: int = setting(
        0,
        "Training seed: weights, data order, recorded episodes, and which test episodes all of its agents play.",
        at_least=0,
        below=100,
    )
    tasks: list[str] | None = setting(
        None, "Only these tasks of the suite, such as [cartpole,pendulum] or [metaworld/*]; null: all."
    )
    runs: list[str] = setting(
        [],
        "With stages=[compare] or stages=[verify], the runs to compare or to verify: names or patterns below "
        "runs_folder, or paths.",
    )
    agents: dict[str, Any] = setting(
        {},
        "Agents from outside the project that are scored as well, such as +agents.mine=my_package.module:load; see "
        "docs/agents.md.",
    )
    label: str = setting("default", "A word for this run's difference from the defaults; see the group variant.")
    name: str | None = setting(
        None, "Folder of the run below runs_folder; null: suite, model, seed, and other overrides."
    )
    runs_folder: str = setting("results/runs", "Where runs are written.")
    plugins: list[str] = setting(
        [],
        "Modules of other packages to import in every process, such as [my_package.envs]: they register environment "
        "families, experts, networks, amplifiers and more. Plugins of installed packages load by themselves.",
    )
    workers: int | None = setting(
        None, "Jobs at a time, and threads of distillation; null: one per core, or all of a cluster's.", at_least=1
    )

    @property
    def task_names(self) -> list[str]:
        """The full names of the selected tasks."""
        return Suite.names(self.suite, self.tasks)

    def name_tasks_in_full(self) -> None:
        """Replace short names of tasks in the settings by full names.

        Raises:
            FatalError: if there is no such task.
        """
        suite = Suite.names(self.suite)  # a preset may name tasks that are not selected
        self.distill.name_tasks_in_full(self.task_names, suite)
        self.record.name_tasks_in_full(suite)

    def check(self) -> None:
        """Reject settings that cannot work.

        Raises:
            GatitoError: one line that names the setting.
        """
        check_stages(self.stages)
        for name in self.stages:
            if STAGES[name].of_results and not self.runs:
                raise GatitoError(
                    f"stages=[{name}] needs runs to {name}: runs=[A,B], names or patterns below runs_folder."
                )
        check_settings("", self)
        checks.check_settings(self, self.task_names)
        for group in (self.experts, self.record, self.evaluate):
            group.check()
        check_agents(self.agents, self.controls.agents)
        self.clips.check(("random", "expert", "generalist", *self.controls.agents, *self.agents))
        if "workspace" in self.stages and self.tracking.resolved().entity is None:
            raise GatitoError("a workspace needs a W&B team or user: set tracking.entity=TEAM_OR_USER.")


_schema: Any = OmegaConf.structured(Config)
OmegaConf.set_struct(_schema.amplifier, False)  # its keys are those of the chosen amplifier
ConfigStore.instance().store(name="schema", node=_schema)
# Hydra copies its sources, and the store with all schemas among them, once for each group that --help lists. There is
# one store in a process, so its copy is itself.
setattr(ConfigStore, "__deepcopy__", lambda store, _: store)  # noqa: B010
# Hydra composes all settings once only to learn whether they make a sweep. In gatito's own configuration, without -m,
# only experiments and Hydra's settings say so.
_mode_by_composing = Hydra.get_mode


def _mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:  # noqa: ANN401
    sources = self.config_loader.get_search_path().get_path()
    folders = {source.path for source in sources if source.provider in ("main", "command-line")}
    may_sweep = any(word.lstrip("+~").startswith(("experiment", "hydra")) for word in overrides)
    if may_sweep or config_name != "config" or folders != {str(CONF)}:
        return _mode_by_composing(self, config_name, overrides)
    return None


setattr(Hydra, "get_mode", _mode)  # noqa: B010
OmegaConf.register_new_resolver("stages", help_text, replace=True)  # for gatito --help
OmegaConf.register_new_resolver("keys", lambda: keys_text(Config), replace=True)


def read_config(composed: DictConfig) -> Config:
    """The settings of a run from Hydra's composed config.

    Raises:
        GatitoError: if the suite file is invalid.
    """
    # Merged once more into the schema: keys added with `+` pass composition unchecked.
    as_written = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(as_written, dict)
    check_suite_file(as_written.get("suite"))
    plain = OmegaConf.to_container(composed, resolve=True)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    assert isinstance(config, Config)
    return config


def store_suite(name: str, content: dict[str, Any]) -> None:
    """Register this content as ``suite=NAME``, also in the processes of a sweep's launcher."""
    ConfigStore.instance().store(group="suite", name=name, node=content)


def page() -> str:
    """``docs/configuration.md``."""
    tables: dict[str, list[Described]] = {}
    for known in describe(Config):
        tables.setdefault(known.key.partition(".")[0] if "." in known.key else "The run", []).append(known)
    tables["A task in a suite's file"] = list(describe(TaskEntry, "suite.tasks.GROUP-NAME"))
    tables |= {f"amplifier={name}": list(describe(AMPLIFIERS.load(name), "amplifier")) for name in AMPLIFIERS}
    return _INTRODUCTION + "".join(_table(title, rows) for title, rows in tables.items())


def _table(title: str, rows: list[Described]) -> str:
    lines = [f"| `{row.key}` | `{row.default}` | {_cell(row.help)} | {_cell(row.valid)} |" for row in rows]
    return "\n".join([f"\n## {title}\n", "| key | default | meaning | valid |", "|---|---|---|---|", *lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    artifacts.write_text(PAGE, page())
