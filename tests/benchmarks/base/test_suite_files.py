"""Suites by the path of their file."""

import pytest

from benchmarks.base.errors import FatalError
from benchmarks.base.suite_files import name_suite_files, typed_suite

SUITE = "name: odd\ntasks:\n  odd-pole: {env_id: CartPole-v1, expert: {hyperparameters: {learning_rate: 1e-3}}}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SUITE)
    (tmp_path / "a, b").mkdir()
    (tmp_path / "a, b" / "süite ~1.yml").write_text(SUITE.replace("odd", "even"))
    return tmp_path


def named(*arguments):
    stored = {}
    return name_suite_files(arguments, stored.__setitem__), stored


@pytest.mark.parametrize("path", ["./mine.yaml", "mine.yaml", "'./mine.yaml'", "a, b/süite ~1.yml"])
def test_a_path_becomes_a_readable_name_without_slashes(folder, path):
    [before, name], stored = named("seed=1", f"suite={path}")
    option = name.removeprefix("suite=")
    assert before == "seed=1" and set(stored) == {option}
    assert not set(option) & set("/ ,~ü'")
    plain = path.strip("'")
    assert typed_suite(name) == f"suite={plain if '/' in plain else './' + plain}"


def test_an_absolute_path_and_numbers_are_read_as_in_any_settings(folder):
    [name], stored = named(f"suite={folder}/mine.yaml")
    [content] = stored.values()
    assert content["tasks"]["odd-pole"]["expert"]["hyperparameters"] == {"learning_rate": 0.001}
    assert typed_suite(name) == f"suite={folder}/mine.yaml"


def test_a_sweep_names_several_suites(folder):
    [name], stored = named("suite=classic,./mine.yaml")
    assert name == "suite=classic,.%2Fmine.yaml" and len(stored) == 1


@pytest.mark.parametrize("suite", ["classic", "classic,mixed", "mine", "folder/suite"])
def test_names_are_unchanged(folder, suite):
    assert named(f"suite={suite}", "suite_x=./mine.yaml") == ([f"suite={suite}", "suite_x=./mine.yaml"], {})
    assert typed_suite(f"suite={suite}") == f"suite={suite}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["mine.yaml", "no such file"]),
        ("", ["bad.yaml", "not a suite"]),
        ("[1, 2]", ["bad.yaml", "not a suite"]),
        ("7", ["bad.yaml"]),
        ("name: x\n a: [", ["bad.yaml", "not valid YAML"]),
        ("name: x\nname: y\n", ["bad.yaml", "duplicate key"]),
    ],
)
def test_an_invalid_suite_file_is_reported_with_its_path(folder, text, words):
    if text is not None:
        (folder / "bad.yaml").write_text(text)
    with pytest.raises(FatalError) as refused:
        named("suite=./bad.yaml")
    assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)


def test_a_folder_is_rejected(folder):
    with pytest.raises(FatalError, match="is a folder"):
        named("suite=a, b")
