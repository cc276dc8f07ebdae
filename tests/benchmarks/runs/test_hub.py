"""The real client of the Hugging Face Hub against a local stand-in: what is pushed comes back, and nothing else."""

import json
import os
import pickle
import shutil
import socket
import sys
import time

import pytest

from benchmarks.base.errors import FatalError
from benchmarks.runs.hub import DESCRIPTION, HubConfig, check_push, fetch, hub_words, push
from tests.hub_server import TOKEN, serve

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install 'gatito[hub]'")
NAME = "someone/tiny"
NEEDED = ("manifest.json", "network.json", "experts.csv")  # by generalists and experts


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in that the client takes for the Hub."""
    from huggingface_hub import constants

    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def staged(tmp_path):
    folder = tmp_path / "staged"
    (folder / "classic").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(os.urandom(5000))
    (folder / "classic" / "gate.json").write_text("{}")
    for name in NEEDED:
        (folder / name).write_text("{}")
    return folder


def pushed(folder, what="generalist"):
    config = HubConfig(repo=NAME, what=what)
    check_push(config)
    return push(folder, "---\nlicense: mit\n---\n# tiny\n", config, {"suite": "classic"})


def test_what_is_pushed_comes_back_to_the_byte(hub, staged, tmp_path):
    address = pushed(staged)
    revision, files = hub.files(NAME)
    assert address.endswith(revision) and set(files) == {
        ".gitattributes", "README.md", DESCRIPTION, "model.safetensors", "classic/gate.json", *NEEDED,
    }  # fmt: skip
    assert json.loads(files[DESCRIPTION])["suite"] == "classic"
    pinned, folder = fetch(NAME, "generalist", tmp_path / "runs")
    assert pinned == f"{NAME}@{revision}"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        DESCRIPTION, "model.safetensors", "classic/gate.json", *NEEDED,
    }  # fmt: skip
    for name in ("model.safetensors", "classic/gate.json"):
        assert (folder / name).read_bytes() == (staged / name).read_bytes()


def test_a_later_push_replaces_all_files_and_changes_no_run(hub, staged, tmp_path):
    pushed(staged)
    first, folder = fetch(NAME, "generalist", tmp_path / "runs")
    (staged / "classic" / "gate.json").unlink()
    (staged / "other.json").write_text("[]")
    pushed(staged)
    assert "classic/gate.json" not in hub.files(NAME)[1] and "other.json" in hub.files(NAME)[1]
    before = len(hub.calls)
    assert fetch(NAME, "generalist", tmp_path / "runs") == (first, folder) and len(hub.calls) == before  # no network
    newest, other = fetch(f"{NAME}@main", "generalist", tmp_path / "runs")
    assert newest != first and (other / "other.json").exists()
    assert fetch(first, "generalist", tmp_path / "elsewhere")[0] == first


def test_a_file_that_was_changed_there_is_refused(hub, staged, tmp_path):
    pushed(staged)
    files = dict(hub.files(NAME)[1])
    files["model.safetensors"] = b"x" * 5000
    hub.commit(NAME, files)
    with pytest.raises(FatalError, match="has a damaged model.safetensors .another sha256 than gatito.json names"):
        fetch(NAME, "generalist", tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("model.safetensors"))


@pytest.mark.parametrize(
    "change, line",
    [
        (lambda files, facts: files.update({DESCRIPTION: b"{"}), "has a damaged gatito.json: name another one"),
        (
            lambda files, facts: files.pop("classic/gate.json"),
            "has no classic/gate.json, which its gatito.json names: name",
        ),
        (lambda files, facts: facts.pop("network.json"), "has no network.json, which belongs to a generalist: name"),
        (lambda files, facts: facts["network.json"].pop("sha256"), "has a damaged gatito.json .network.json has no"),
        (lambda files, facts: facts.update({"network.json": "x"}), "has a damaged gatito.json .network.json has no"),
        (lambda files, facts: facts.clear(), "has no manifest.json, which belongs to a generalist: name"),
    ],
)
def test_a_damaged_repository_gets_one_line_and_is_not_pinned(change, line, hub, staged, tmp_path):
    pushed(staged)
    good = dict(hub.files(NAME)[1])
    bad, facts = dict(good), json.loads(good[DESCRIPTION])
    change(bad, facts["files"])
    if bad[DESCRIPTION] == good[DESCRIPTION]:
        bad[DESCRIPTION] = json.dumps(facts).encode()
    hub.commit(NAME, bad)
    with pytest.raises(FatalError, match=f"^generalist=hub:{NAME} {line}"):
        fetch(NAME, "generalist", tmp_path / "runs")
    assert not (tmp_path / "runs" / ".hub").exists()
    revision = hub.commit(NAME, good)
    assert fetch(NAME, "generalist", tmp_path / "runs")[0] == f"{NAME}@{revision}"


def test_what_was_damaged_after_it_was_fetched_gets_one_line(hub, staged, tmp_path):
    pushed(staged)
    _, folder = fetch(NAME, "generalist", tmp_path / "runs")
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(
        FatalError, match=f"has a damaged model.safetensors .*: name another one, or remove the folder {folder} if"
    ):
        fetch(NAME, "generalist", tmp_path / "runs")
    (folder / DESCRIPTION).unlink()
    with pytest.raises(FatalError, match=f"has a damaged gatito.json: name another one, or remove the folder {folder}"):
        fetch(NAME, "generalist", tmp_path / "runs")
    with pytest.raises(FatalError, match="^experts=hub:.* holds a generalist, not experts: name another one"):
        shutil.rmtree(folder)
        fetch(NAME, "generalist", tmp_path / "runs")
        fetch(NAME, "experts", tmp_path / "runs")
    assert fetch(NAME, "generalist", tmp_path / "runs")[1] == folder
    (folder.parent / "pins.json").write_text('{"": 3}')
    with pytest.raises(FatalError, match="pins.json is damaged .* Remove it: what it names is fetched again"):
        fetch(NAME, "generalist", tmp_path / "runs")


def test_a_hub_that_never_answers_gets_one_line(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr("benchmarks.runs.hub._ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(FatalError, match=f"^generalist=hub:{NAME} cannot be fetched .*your network"):
            fetch(NAME, "generalist", tmp_path / "runs")
        with pytest.raises(FatalError, match=f"^hub.repo={NAME} cannot be read .*your network"):
            check_push(HubConfig(repo=NAME))
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "name", ["policy.pkl", "model.bin", "../outside.json", "/etc/x.json", "a/../../b.json", ".x.json"]
)
def test_files_that_could_run_code_or_leave_the_folder_are_not_fetched(name, hub, tmp_path):
    content = pickle.dumps(1)
    facts = {"format": 1, "kind": "generalist", "files": {name: {"sha256": "0", "bytes": len(content)}}}
    hub.commit(NAME, {DESCRIPTION: json.dumps(facts).encode(), name: content})
    with pytest.raises(FatalError, match="which gatito does not read"):
        fetch(NAME, "generalist", tmp_path / "runs")
    assert not any(name in call for call in hub.calls) and not list(tmp_path.rglob("*.*n"))


def test_what_is_no_gatito_repository_gets_one_line(hub, staged, tmp_path):
    hub.commit("someone/else", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    pushed(staged, "experts")
    for name, kind, line in (
        (
            "someone/else",
            "generalist",
            "^generalist=hub:someone/else holds nothing of gatito's .there is no gatito.json.",
        ),
        (NAME, "generalist", "^generalist=hub:someone/tiny holds experts, not a generalist"),
        ("someone/absent", "experts", "^experts=hub:someone/absent cannot be fetched .*check its name"),
        (f"{NAME}@v9", "experts", "cannot be fetched"),
        ("tiny", "experts", "^experts=hub:tiny is no repository: write OWNER/NAME"),
    ):
        with pytest.raises(FatalError, match=line):
            fetch(name, kind, tmp_path / "runs")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.json"))


def test_a_push_that_cannot_work_gets_one_line_before_anything_is_sent(hub, staged, monkeypatch):
    hub.commit("someone/else", {"config.json": b"{}"})
    pushed(staged)
    before = dict(hub.revisions)
    for config, line in (
        (HubConfig(repo="someone/else"), r"^hub.repo=someone/else holds something else \(config.json\)"),
        (HubConfig(repo=NAME, what="experts"), f"^hub.repo={NAME} holds a generalist, not experts"),
        (HubConfig(), "needs a repository: hub.repo=OWNER/NAME.$"),
    ):
        with pytest.raises(FatalError, match=line):
            check_push(config)
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(FatalError, match="needs a token of the Hugging Face Hub: set HF_TOKEN"):
        check_push(HubConfig(repo=NAME))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(FatalError, match=f"^hub.repo={NAME} cannot be written"):
        push(staged, "# tiny\n", HubConfig(repo=NAME), {})
    assert hub.revisions == before


def test_without_a_network_there_is_one_line(tmp_path, monkeypatch, caplog):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    with pytest.raises(FatalError, match=f"^generalist=hub:{NAME} cannot be fetched .*your network"):
        fetch(NAME, "generalist", tmp_path / "runs")
    with pytest.raises(FatalError, match=f"^hub.repo={NAME} cannot be read .*your network"):
        check_push(HubConfig(repo=NAME))
    assert not caplog.records  # the client's own log would be printed


def test_without_the_client_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FatalError, match=r"the Hub needs the package huggingface_hub: pip install 'gatito\[hub\]'"):
        check_push(HubConfig(repo=NAME))


def test_hub_words_choose_what_is_released():
    assert hub_words(["suite=mixed", "generalist=hub:a/b@v1", "experts=hub:c/d"]) == [
        "suite=mixed", "generalist=released", "generalist.hub=a/b@v1", "experts=released", "experts.hub=c/d",
    ]  # fmt: skip
    assert hub_words(["generalist=hub"]) == ["generalist=released", "generalist.hub="]  # its line tells what to write
