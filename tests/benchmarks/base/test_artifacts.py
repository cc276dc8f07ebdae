import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.base import artifacts
from benchmarks.base.artifacts import Artifact, atomic_write, write_text
from benchmarks.base.errors import GatitoError
from tests.properties import few


def finished(folder, config=None):
    artifact = Artifact(folder, "thing", config or {"a": 1})
    artifact.start()
    write_text(folder / "data.txt", "some content")
    artifact.finish(1.0, answer=42)
    return artifact


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_files(tmp_path):
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


def test_a_manifest_contains_the_artifacts_settings_and_inputs(tmp_path):
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
def test_a_damaged_file_is_reported_with_a_remedy(tmp_path, damage, words):
    artifact = finished(tmp_path / "a")
    damage(tmp_path / "a" / "data.txt")
    with pytest.raises(GatitoError, match=words) as error:
        artifact.is_complete()
    assert "data.txt" in str(error.value)
    assert f"Remove the folder {tmp_path / 'a'}" in str(error.value)


@pytest.mark.parametrize("damage", [lambda text: text[:40], lambda text: text.replace("answer", "bnswer")])
def test_a_damaged_manifest_is_reported(tmp_path, damage):
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


def test_unfinished_work_is_kept_for_the_same_settings_only(tmp_path):
    artifact = Artifact(tmp_path / "a", "thing", {"a": 1})
    artifact.start()
    write_text(tmp_path / "a" / "checkpoint", "half way")
    artifact.start()
    assert (tmp_path / "a" / "checkpoint").exists()
    Artifact(tmp_path / "a", "thing", {"a": 2}).start()
    assert not (tmp_path / "a" / "checkpoint").exists()


def test_the_same_artifact_is_adopted_from_another_run(tmp_path):
    finished(tmp_path / "run1" / "stage" / "x")
    mine = Artifact(tmp_path / "run2" / "stage" / "x", "thing", {"a": 1})
    other = Artifact(tmp_path / "run3" / "stage" / "x", "thing", {"a": 2})
    assert mine.adopt(tmp_path) and mine.is_complete()
    assert not other.adopt(tmp_path)


def test_a_damaged_artifact_is_not_adopted(tmp_path):
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


def forge(folder, **changes):
    """Change a manifest and its digest, as an attacker would."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    artifacts.write_manifest(folder, {name: value for name, value in manifest.items() if name != "digest"})


OUTSIDE = ("../../../victim.py", "/tmp/victim.py", "a/../../../../victim.py", "link/victim.py")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_with_a_file_outside_its_folder_is_neither_read_nor_adopted(tmp_path, name):
    source = tmp_path / "run1" / "stage" / "x"
    finished(source)
    (source / "link").symlink_to(tmp_path)
    write_text(tmp_path / "victim.py", "innocent")
    entry = {"bytes": 8, "sha256": artifacts.file_digest(tmp_path / "victim.py")}
    forge(source, files={name: entry})
    with pytest.raises(GatitoError, match="outside of it|symbolic link"):
        artifacts.read_manifest(source)
    assert not Artifact(tmp_path / "run2" / "stage" / "x", "thing", {"a": 1}).adopt(tmp_path)
    assert not (tmp_path / "run2").exists() and (tmp_path / "victim.py").read_text() == "innocent"


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"data.txt": 3}},
        {"files": {"data.txt": {"bytes": "12", "sha256": "x"}}},
        {"facts": None},
        {"fingerprint": 7},
        {"config": "x"},
    ],
)
def test_an_invalid_manifest_is_reported(tmp_path, changes):
    artifact = finished(tmp_path / "a")
    forge(tmp_path / "a", **changes)
    with pytest.raises(GatitoError, match=r"manifest.json is damaged"):
        artifact.is_complete()


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"fingerprint": 3}', "\xff", "[" * 100_000, "1" * 5000])
def test_invalid_json_is_reported_with_a_remedy(tmp_path, content):
    artifact = Artifact(tmp_path / "a", "thing", {"a": 1})
    artifact.start()
    (tmp_path / "a" / "started.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(GatitoError, match=rf"started.json is damaged .*Remove the folder {tmp_path / 'a'} and"):
        artifact.start()
    write_text(tmp_path / "environment.json", "{")
    with pytest.raises(GatitoError, match=rf"Remove the file {tmp_path / 'environment.json'} and"):
        artifacts.read_json(tmp_path / "environment.json", dict)


def test_a_foreign_folder_is_not_cleared(tmp_path):
    write_text(tmp_path / "a" / "thesis.tex", "years of work")
    with pytest.raises(GatitoError, match="has files that gatito did not make"):
        Artifact(tmp_path / "a", "thing", {"a": 1}).start()
    write_text(tmp_path / "a" / "manifest.json", '{"name": "a browser extension"}')
    with pytest.raises(GatitoError, match="has files that gatito did not make"):
        artifacts.clear(tmp_path / "a")
    assert (tmp_path / "a" / "thesis.tex").exists()
    write_text(tmp_path / "file", "")
    with pytest.raises(GatitoError, match="is a file"):
        artifacts.clear(tmp_path / "file")


def test_a_folder_with_an_interrupted_first_write_is_reused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".started.json.x7.tmp").touch()
    finished(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["data.txt", "manifest.json"]


def test_a_linked_folder_is_cleared_and_the_link_is_kept(tmp_path):
    finished(tmp_path / "disk")
    (tmp_path / "a").symlink_to(tmp_path / "disk")
    Artifact(tmp_path / "a", "thing", {"a": 2}).start()
    assert (tmp_path / "a").is_symlink() and not (tmp_path / "disk" / "data.txt").exists()


def test_a_kill_while_clearing_leaves_a_folder_that_can_be_cleared(tmp_path, monkeypatch):
    finished(tmp_path / "a")
    write_text(tmp_path / "a" / "more" / "data.txt", "x")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(artifacts.shutil, "rmtree", killed)
        artifacts.clear(tmp_path / "a")
    artifacts.clear(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_finished_artifact_has_no_temporary_files(tmp_path):
    artifact = Artifact(tmp_path / "a", "thing", {"a": 1})
    artifact.start()
    (tmp_path / "a" / ".shard-000.x7.tmp").mkdir()
    (tmp_path / "a" / ".data.txt.x7.tmp").touch()
    artifact.finish(1.0)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["manifest.json"]


def test_settings_that_replace_an_expert_say_so(tmp_path, capfd):
    Artifact(tmp_path / "a", "expert", {"steps": 1}).start()
    write_text(tmp_path / "a" / "checkpoint.safetensors", "hours")
    Artifact(tmp_path / "a", "expert", {"steps": 2}).start()
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and f"{tmp_path / 'a'} is made again, since its settings have changed" in errors
    assert "name=NAME" in errors


def test_a_killed_adoption_is_repeated(tmp_path, monkeypatch):
    finished(tmp_path / "run1" / "stage" / "x")
    mine = Artifact(tmp_path / "run2" / "stage" / "x", "thing", {"a": 1})

    def killed(folder, body):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(artifacts, "write_manifest", killed)
        mine.adopt(tmp_path)
    assert mine.adopt(tmp_path) and mine.is_complete()
    assert sorted(path.name for path in mine.folder.iterdir()) == ["data.txt", "manifest.json"]


@few
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?", fullmatch=True), st.binary(max_size=50), max_size=4
    ),
    data=st.data(),
)
def test_a_finished_artifact_is_known_until_any_byte_of_it_changes(files, data, tmp_path_factory):
    files = {
        name: content for name, content in files.items() if not any(other.startswith(f"{name}/") for other in files)
    }
    folder = tmp_path_factory.mktemp("artifact") / "a"
    artifact = Artifact(folder, "thing", {"a": 1})
    artifact.start()
    for name, content in files.items():
        artifacts.write_bytes(folder / name, content)
    artifact.finish(1.0)
    assert artifact.is_complete()
    if full := sorted(name for name, content in files.items() if content):
        path = folder / data.draw(st.sampled_from(full))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(GatitoError, match="checksum"):
            artifact.is_complete()
