"""Slow: the wheel in a bare environment, used from folders with unusual names and contents."""

import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from benchmarks.base.artifacts import read_manifest
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]

MOST_BYTES = 60_000_000
SCORE = ["stages=[evaluate,report]", "suite=mixed", "tasks=[cartpole]", "generalist=released", "name=ö"]
SCORE += ["evaluate.episodes=2", "clips.agents=[]", "tracking=none"]
TRAIN = ["suite=classic", "tasks=[cartpole]", "experts=released", "controls=none", "name=small", "tracking=none"]
TRAIN += ["record.env_steps=500", "record.random_env_steps=200", "distill.updates=2", "evaluate.episodes=2"]
TRAIN += ["clips.agents=[]", "plugins=[mine]", "workers=2"]
PLUGIN = """
from pathlib import Path

import benchmarks, experts, generalist

for package in (benchmarks, experts, generalist):
    assert "site-packages" in Path(package.__file__).parts, package
"""
LANG = {"LC_ALL": "C", "LANG": "C"}
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # prevents Python's UTF-8 mode


def run(*command, **settings):
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=300, **settings)
    assert done.returncode == 0, done.stderr
    return done


def committed(*patterns):
    return set(run("git", "ls-files", *patterns, cwd=ROOT).stdout.splitlines())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with the wheel only; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("mit Leerzeichen") / "größe"
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    install = ["--python", python, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    run(sys.executable, "-m", "pip", *install)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    with open(os.path.join(site, "needed.pth"), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
        file.write(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory):
    """A user's folder with a plugin, and with packages that have the project's package names."""
    folder = tmp_path_factory.mktemp("Übung") / "ein Ordner"
    for name in ("benchmarks", "experts"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ImportError('of another project')", encoding="utf-8")
    (folder / "mine.py").write_text(PLUGIN, encoding="utf-8")
    return folder


def try_out(environment, working_folder, *command, **variables):
    """Run a command of the environment; nothing of this project is on its path."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = run(str(environment / "bin" / command[0]), *command[1:], cwd=working_folder, env=kept | LANG | variables)
    assert "Traceback" not in done.stderr
    return done


def state(folder):
    """The state of an installation, to detect changes."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_the_wheel_holds_code_configuration_and_released_networks(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = committed("gatito*.py", "benchmarks", "experts", "generalist")
    data = committed("conf", "results/experts", "results/*/generalist")
    assert code | {f"gatito_data/{name}" for name in data} <= names
    assert not {name for name in names if not name.startswith(("gatito", "benchmarks/", "experts/", "generalist/"))}
    assert wheel.stat().st_size < MOST_BYTES


def test_the_wheel_scores_the_released_network_and_reports_from_an_odd_folder(environment, working_folder):
    before = state(environment)
    done = try_out(environment, working_folder, "gatito", *SCORE)
    assert "IQM" in done.stdout
    done = try_out(environment, working_folder, "python", "-m", "gatito", "stages=[report]", *SCORE[1:])
    assert "IQM" in done.stdout
    made = working_folder / "results" / "runs" / "ö"
    assert "<h1>gatito" in (made / "index.html").read_text(encoding="utf-8")
    manifest = read_manifest(made / "generalist")
    assert manifest is not None and manifest["git_commit"] is None
    assert state(environment) == before, "an installation may be read-only"


@pytest.mark.parametrize(
    "command, variables",
    [(["python", "-m", "gatito"], ASCII), (["gatito"], {"PYTHONPATH": "."})],
    ids=("module", "path"),
)
def test_packages_in_the_working_folder_do_not_shadow_the_projects(environment, working_folder, command, variables):
    done = try_out(environment, working_folder, *command, *TRAIN, **variables)
    assert "cartpole" in done.stdout


def test_help_version_and_list_work_without_any_letter_beyond_ascii(environment, working_folder):
    assert try_out(environment, working_folder, "gatito", "--version", **ASCII).stdout.startswith("gatito ")
    assert "suite: atari5" in try_out(environment, working_folder, "gatito", "--help", **ASCII).stdout
    assert "classic/cartpole" in try_out(environment, working_folder, "gatito", "stages=[list]", **ASCII).stdout
