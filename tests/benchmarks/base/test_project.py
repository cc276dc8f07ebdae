"""Where the files are that come with the project."""

import sys
import types
from pathlib import Path

import pytest

import gatito_path
from benchmarks.base import artifacts, project


def test_a_path_is_looked_for_in_the_working_folder_then_among_the_shipped_files(tmp_path, monkeypatch):
    shipped, working = tmp_path / "shipped", tmp_path / "working"
    (shipped / "results" / "experts").mkdir(parents=True)
    working.mkdir()
    monkeypatch.setattr(project, "DATA", shipped)
    monkeypatch.chdir(working)
    assert project.find("results/experts") == shipped / "results" / "experts"
    assert project.find("results/nowhere") == Path("results/nowhere")
    assert project.find(tmp_path / "nowhere") == tmp_path / "nowhere"
    (working / "results" / "experts").mkdir(parents=True)
    assert project.find("results/experts") == Path("results/experts")


def test_the_remedy_for_a_damaged_file_depends_on_where_it_came_from(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "_INSTALLED", tmp_path / "gatito_data")
    assert project.restore_remedy(tmp_path / "gatito_data" / "results" / "x").startswith("Reinstall gatito")
    assert project.restore_remedy(Path("results/x")) == "Restore it (git checkout -- results/x)"


def test_only_a_checkout_tells_a_commit(tmp_path, monkeypatch):
    artifacts.git_commit.cache_clear()
    monkeypatch.setattr(project, "CODE", tmp_path)  # below a repository of somebody else, at most
    assert artifacts.git_commit() is None
    artifacts.git_commit.cache_clear()


def test_another_package_of_the_same_name_that_is_imported_already_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "experts", types.SimpleNamespace(__file__="/mine/experts/__init__.py"))
    with pytest.raises(ImportError, match=r"experts is imported already \(/mine/experts/__init__.py\)"):
        gatito_path.find_own_packages()
