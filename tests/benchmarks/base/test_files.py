from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.base import files
from benchmarks.base.errors import FatalError
from benchmarks.base.files import make_folder, replace_folder, update_text, write_text


def filled(folder, text):
    with replace_folder(folder) as new:
        write_text(new / "data.txt", text)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_in_one_step(tmp_path, monkeypatch, exchange):
    if not exchange:  # a system without renameat2
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    filled(tmp_path / "a", "old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    filled(tmp_path / "link", "new")
    assert (tmp_path / "a/data.txt").read_text() == "new" and (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "link"]


def test_a_kill_while_a_folder_is_replaced_loses_nothing(tmp_path):
    filled(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / "a") as new:
        write_text(new / "data.txt", "new")
        raise KeyboardInterrupt
    assert (tmp_path / "a/data.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_kill_left_is_removed_by_the_next_replacement(tmp_path):
    for name in (".a.x1.tmp", ".ab.x1.tmp", ".a.txt"):
        write_text(tmp_path / name / "data.txt", "half")
    filled(tmp_path / "a", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.txt", ".ab.x1.tmp", "a"]


def test_two_replacements_of_a_folder_wait_for_each_other(tmp_path):
    with ThreadPoolExecutor() as pool:
        with replace_folder(tmp_path / "a") as new:
            second = pool.submit(filled, tmp_path / "a", "second")
            with pytest.raises(TimeoutError):
                second.result(0.2)
            write_text(new / "data.txt", "first")
        second.result(10)
    assert (tmp_path / "a/data.txt").read_text() == "second"


def test_a_folder_that_cannot_be_made_gets_one_line(tmp_path):
    write_text(tmp_path / "file", "")
    for folder in (tmp_path / "file", tmp_path / "file/below", "/proc/gatito/run"):
        with pytest.raises(FatalError, match="cannot be made: .* Choose another"):
            make_folder(type(tmp_path)(folder))


def test_an_unchanged_file_is_not_rewritten(tmp_path, monkeypatch):
    update_text(tmp_path / "a", "x")
    monkeypatch.setattr(files, "write_bytes", lambda *_: pytest.fail("written"))
    update_text(tmp_path / "a", "x")
