"""Settings are defined once: dataclasses have defaults and help texts, from which pages and fingerprints follow."""

import re
import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest
import yaml

from benchmarks.base import renamed
from benchmarks.base.errors import FatalError
from benchmarks.base.settings import (
    build,
    check_settings,
    decisive,
    describe,
    setting,
    undescribed,
    values_quoted,
    words_as_lists,
)
from experts.recipe import TaskEntry
from gatito_configuration import PAGE, Config, page
from generalist.amplifiers import AMPLIFIERS
from generalist.config.settings import DaggerConfig, DistillConfig, ModelConfig
from tests.conftest import ROOT

ALL_KEYS = {known.key for known in describe(Config)} | {known.key for known in describe(TaskEntry, "suite.tasks.*")}
ALL_KEYS |= {known.key for name in AMPLIFIERS for known in describe(AMPLIFIERS.load(name), "amplifier")}


def test_the_page_of_settings_is_up_to_date():
    assert PAGE.read_text() == page(), "run python -m gatito_configuration"


def test_every_key_has_a_help_text():
    amplifiers = [key for name in AMPLIFIERS for key in undescribed(AMPLIFIERS.load(name), f"amplifier={name}")]
    assert undescribed(Config) + undescribed(TaskEntry) + amplifiers == []


def test_every_renamed_key_is_gone_and_its_successor_exists():
    for old, new in (renamed.KEYS | renamed.INVERTED).items():
        # One amplifier's removed key may be another's key.
        assert old not in ALL_KEYS or old.startswith("amplifier."), old
        assert set(re.findall(r"[a-z_]+\.[\w.*]+", new)) <= ALL_KEYS, new
    for old, new in renamed.OPTIONS.items():
        assert not (ROOT / "conf" / f"{old.replace('=', '/')}.yaml").exists()
        assert (ROOT / "conf" / f"{new.replace('=', '/')}.yaml").exists()


def test_an_old_key_names_its_successor():
    assert renamed.explain("distill.windows") == "distill.windows is now distill.batch_size."
    assert renamed.explain("distill.batch_size") is None
    line = renamed.first_old_key({"suite": {"tasks": {"a-b": {"expert": {"steps": 3}}}}})
    assert line == "suite.tasks.a-b.expert.steps is now suite.tasks.a-b.expert.env_steps."
    assert "means the opposite" in str(renamed.explain("generalist.draws"))
    with pytest.raises(FatalError, match=r"^amplifier.proofs is now amplifier.confirmation_rollouts\.$"):
        build(AMPLIFIERS.load("search"), {"proofs": 3}, "amplifier")


def test_presets_state_differences_only():
    """A preset's settings without its name and without the key that selects it in its group."""
    for name, kind in (("model", ModelConfig), ("codec", Config.__dataclass_fields__["codec"].default_factory)):
        for path in sorted((ROOT / "conf" / name).glob("*.yaml")):
            for key, value in yaml.safe_load(path.read_text()).items():
                assert key == "name" or getattr(kind(), key) != value, f"{path}: {key}"


def test_fingerprints_contain_non_default_decisive_settings():
    assert decisive(DistillConfig()) == {}
    assert decisive(DistillConfig(log_every=1, device="cpu", held_out=["a"])) == {}
    assert decisive(DistillConfig(updates=3, dagger=DaggerConfig(rounds=2))) == {"updates": 3, "dagger": {"rounds": 2}}


@dataclass
class Toy:
    share: float = setting(0.5, "A share.", above=0, at_most=1)
    words: list[str] = setting(["a"], "Words.", choices=("a", "b"))
    nested: DaggerConfig = setting(DaggerConfig, "More.")
    bare: int = field(default=1)


@pytest.mark.parametrize(
    "toy, line",
    [
        (Toy(share=0), "toy.share must be above 0 and at most 1, not 0."),
        (Toy(share=float("nan")), "toy.share must be above 0 and at most 1, not nan."),
        (Toy(words=["b", "c"]), "unknown toy.words 'c'"),
        (replace(Toy(), nested=DaggerConfig(env_steps=0)), "toy.nested.env_steps must be at least 1, not 0."),
        (Toy(bare=float("inf")), "toy.bare must be a finite number, not inf."),  # type: ignore[arg-type]
    ],
)
def test_out_of_range_values_get_one_line(toy, line):
    check_settings("toy", Toy())
    with pytest.raises(FatalError) as error:
        check_settings("toy", toy)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "typed, quoted",
    [
        ("name=größe", 'name="größe"'),
        ("runs=[a, größe-*,b]", 'runs=[a, "größe-*",b]'),
        ("runs_folder=./Übung 1/x", 'runs_folder="./Übung 1/x"'),
        ("name=a,ö", 'name=a,"ö"'),
        ("+a={b:ä,c:1}", '+a={b:"ä",c:1}'),
        ("name='ä'", "name='ä'"),
        ("tasks=[a,b]", "tasks=[a,b]"),
        ("runs=[toy-variant=nll, b*]", 'runs=["toy-variant=nll", b*]'),
        ("seed=range(start=1,stop=3)", "seed=range(start=1,stop=3)"),
        ("--config-dir=größe", "--config-dir=größe"),
    ],
)
def test_values_get_the_quotes_that_hydra_needs(typed, quoted):
    assert values_quoted([typed]) == [quoted]


def test_a_single_word_is_accepted_for_a_list():
    given = ["tasks=cartpole", "stages=list,report", "controls.agents=[]", "name=x", "ida.tasks=null", "+runs=a*"]
    wanted = [
        "tasks=[cartpole]",
        "stages=[list,report]",
        "controls.agents=[]",
        "name=x",
        "ida.tasks=null",
        "+runs=[a*]",
    ]
    assert words_as_lists(given, Config) == wanted
    assert words_as_lists(["-m", "tasks=a,b", "seed=0,1"], Config) == ["-m", "tasks=[a],[b]", "seed=0,1"]


@pytest.mark.parametrize(
    "words", ["import gatito", "import gatito, sys; sys.argv = ['gatito', '--help']; gatito.main()"]
)
def test_the_command_line_starts_without_heavy_packages(words):
    heavy = ("torch", "stable_baselines3", "wandb", "scipy", "matplotlib", "altair")
    code = f"import atexit, sys; atexit.register(lambda: print('LOADED', [m for m in {heavy} if m in sys.modules]))\n"
    done = subprocess.run([sys.executable, "-c", code + words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_only_experiments_make_a_sweep_without_m():
    """Others are composed once: whether they make a sweep is not looked up in them."""
    saying = [path for path in (ROOT / "conf").rglob("*.yaml") if "MULTIRUN" in path.read_text(encoding="utf-8")]
    assert saying and {path.parent.name for path in saying} == {"experiment"}
