import json

import pytest

from benchmarks.base import artifacts
from benchmarks.base.artifacts import Artifact, atomic_write, write_text
from benchmarks.base.errors import GatitoError


def finished(folder, config=None):
    artifact = Artifact(folder, "thing", config or {"a": 1})
    artifact.start()
    write_text(folder / "data.txt", "some content")
    artifact.finish(1.0, answer=42)
    return artifact


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_only_a_finished_artifact_of_the_same_config_and_inputs_is_complete(tmp_path):
    artifact = Artifact(tmp_path / "a", "thing", {"a": 1}, {"from": "x"})
    artifact.start()
    assert not artifact.is_complete()
    artifact.finish(1.0)
    assert artifact.is_complete()
    assert not Artifact(tmp_path / "a", "thing", {"a": 2}, {"from": "x"}).is_complete()
    assert not Artifact(tmp_path / "a", "thing", {"a": 1}, {"from": "y"}).is_complete()


def test_a_manifest_says_what_made_the_artifact(tmp_path):
    finished(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["config"] == {"a": 1}
    assert manifest["facts"] == {"answer": 42}
    assert manifest["files"]["data.txt"]["bytes"] == 12
    assert len(manifest["files"]["data.txt"]["sha256"]) == 64
    assert "torch" in manifest["packages"]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[5] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, words",
    [
        (flip_a_bit, "checksum"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "11 bytes instead of 12"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, damage, words):
    artifact = finished(tmp_path / "a")
    damage(tmp_path / "a" / "data.txt")
    with pytest.raises(GatitoError, match=words) as error:
        artifact.is_complete()
    assert "data.txt" in str(error.value)
    assert f"Remove the folder {tmp_path / 'a'}" in str(error.value)


@pytest.mark.parametrize("damage", [lambda text: text[:40], lambda text: text.replace("answer", "bnswer")])
def test_a_damaged_manifest_is_named(tmp_path, damage):
    artifact = finished(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(GatitoError, match=r"manifest.json is damaged"):
        artifact.is_complete()


def test_a_kill_while_finishing_loses_nothing(tmp_path, monkeypatch):
    artifact = Artifact(tmp_path / "a", "thing", {"a": 1})
    artifact.start()
    write_text(tmp_path / "a" / "checkpoint.safetensors", "all the work")
    write_text(tmp_path / "a" / ".data.txt.x7", "half a write")

    def killed(folder, body):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(artifacts, "write_manifest", killed)
        artifact.finish(1.0)
    artifact.start()
    assert (tmp_path / "a" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "a" / ".data.txt.x7").exists()
    artifact.finish(1.0)
    assert artifact.is_complete()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["manifest.json"]


def test_work_for_the_same_config_is_kept_to_resume_from_and_other_work_is_cleared(tmp_path):
    artifact = Artifact(tmp_path / "a", "thing", {"a": 1})
    artifact.start()
    write_text(tmp_path / "a" / "checkpoint", "half way")
    artifact.start()
    assert (tmp_path / "a" / "checkpoint").exists()
    Artifact(tmp_path / "a", "thing", {"a": 2}).start()
    assert not (tmp_path / "a" / "checkpoint").exists()


def test_the_same_artifact_is_taken_over_from_a_neighbouring_run(tmp_path):
    finished(tmp_path / "run1" / "stage" / "x")
    mine = Artifact(tmp_path / "run2" / "stage" / "x", "thing", {"a": 1})
    other = Artifact(tmp_path / "run3" / "stage" / "x", "thing", {"a": 2})
    assert mine.adopt(tmp_path) and mine.is_complete()
    assert not other.adopt(tmp_path)


def test_a_damaged_neighbour_is_not_taken_over(tmp_path):
    finished(tmp_path / "run1" / "stage" / "x")
    flip_a_bit(tmp_path / "run1" / "stage" / "x" / "data.txt")
    assert not Artifact(tmp_path / "run2" / "stage" / "x", "thing", {"a": 1}).adopt(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
