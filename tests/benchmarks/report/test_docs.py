"""README.md, docs/ and the READMEs of results: generated parts match the committed results, and code blocks work."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import gatito as entry
from benchmarks.base import renamed
from benchmarks.base.suite_files import name_suite_files
from benchmarks.report import docs
from benchmarks.runs.hub import hub_words
from benchmarks.runs.stage import STAGES
from gatito_configuration import store_suite
from tests.conftest import ROOT

RESULTS = ROOT / "results"
COMMITTED = sorted(path.parent for path in RESULTS.rglob("tasks.csv") if "runs" not in path.parts)
PAGES = docs.pages(ROOT)
RESULTS_READMES = sorted(path for path in RESULTS.rglob("README.md") if "runs" not in path.relative_to(RESULTS).parts)
TEXTS = [*PAGES, *RESULTS_READMES]
BLOCKS = [
    (page.relative_to(ROOT).as_posix(), language, text)
    for page in TEXTS
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
]
COMMANDS = [
    shlex.split(line, comments=True)
    for _, language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if shlex.split(line, comments=True)
]
COMMANDS += [
    shlex.split(words)
    for page in TEXTS
    for words in re.findall(r"`(gatito [^`…]+)`", page.read_text())
    if words != "gatito suite=toy"  # the README's example suite
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page):
    assert page.read_text() == docs.refreshed(page.read_text(), RESULTS), "run python -m benchmarks.report.docs"


def test_a_stale_part_is_regenerated_and_other_text_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(docs.BLOCKS, "echo", lambda results, *words: " ".join(words))
    text = "a\n<!-- generated: echo b c -->\n<!-- end -->\nd\n<!-- generated: echo e -->\nold\n<!-- end -->\nf\n"
    expected = "a\n<!-- generated: echo b c -->\nb c\n<!-- end -->\nd\n<!-- generated: echo e -->\ne\n<!-- end -->\nf\n"
    assert docs.refreshed(text, tmp_path) == docs.refreshed(expected, tmp_path) == expected
    with pytest.raises(KeyError):
        docs.refreshed("<!-- generated: nothing -->\n<!-- end -->", tmp_path)


def test_the_rounds_of_all_runs_are_in_one_file():
    assert (RESULTS / "ida" / "rounds.csv").read_text() == docs.all_rounds(RESULTS)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.relative_to(RESULTS).as_posix())
def test_the_committed_configuration_matches_the_current_suite(folder):
    suite = yaml.safe_load((folder / "config.yaml").read_text())["suite"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        today = OmegaConf.to_container(compose("config", [f"suite={suite['name']}"]).suite.tasks)
    for key, task in suite["tasks"].items():
        assert task["env_id"] == today[key]["env_id"]
        assert task["expert"]["env_steps"] == today[key]["expert"]["env_steps"]


def test_the_readme_is_a_landing_page_that_names_every_folder():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for folder in ("benchmarks", "experts", "generalist", "conf", "docs", "results", "tests"):
        assert f"`{folder}/`" in text


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_settings_have_current_names(path):
    text = path.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    for key in re.findall(r"\b[a-z_]+\.[a-z_.]+\b", text):
        assert renamed.explain(key) is None, renamed.explain(key)
    for option in renamed.OPTIONS:
        assert option not in text, option


def test_the_docs_name_every_stage():
    text = (ROOT / "docs" / "running.md").read_text()
    for stage in STAGES:
        assert f"`{stage}`" in text, stage


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    assert {page.name for page in PAGES if page.name != "README.md"} == set(re.findall(r": ([\w-]+\.md)$", text, re.M))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_shell_commands_are_valid(command, tmp_path, monkeypatch):
    for _, _, text in BLOCKS:
        if file := re.match(r"# (\w+\.yaml)\n", text):
            (tmp_path / file[1]).write_text(text)
    monkeypatch.chdir(tmp_path)
    match command:
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["pip", "install", "-e", package] | ["pip", "install", package] if "[" in package:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            place, _, extra = package.removesuffix("]").partition("[")
            assert place in (".", f"dist/gatito-{project['version']}-py3-none-any.whl")
            assert extra in project["optional-dependencies"]
        case ["pip", "install", "torch", "--index-url", "https://download.pytorch.org/whl/cpu"]:
            pass
        case ["docker", "build", "-t", "gatito", *arguments, "."]:
            names = re.findall(r"^ARG (\w+)=", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
            assert {argument.partition("=")[0] for argument in arguments[1::2]} <= set(names)
        case ["docker", "run", "--rm", "--user", "$(id -u):$(id -g)", "-v", "$PWD:/work", "gatito", "suite=classic"]:
            pass
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module)
        case ["ray", "start", "--head", "--num-cpus=2"]:
            pass
        case ["gatito", "--help"]:
            pass
        case ["gatito", *overrides] | ["torchrun", _, "gatito.py", *overrides]:
            swept = "-m" in overrides
            single = [re.sub(r"=([^\[,]+),.*", r"=\1", word) if swept else word for word in overrides if word != "-m"]
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                composed = compose("config", name_suite_files(hub_words(single), store_suite))
            assert set(composed.stages) <= set(STAGES)
            OmegaConf.merge(OmegaConf.structured(entry.Config), OmegaConf.to_container(composed, resolve=True))
        case _:
            raise AssertionError(f"no test for {' '.join(command)}")


@pytest.mark.parametrize("name, text", [(name, text) for name, language, text in BLOCKS if language == "python"])
def test_python_blocks_run(name, text, tmp_path):
    # In its own process and folder: examples register classes and write files.
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "experts").symlink_to(RESULTS / "experts")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, f"{name}: {done.stderr}"
