"""The Hugging Face Hub: send a folder of artifacts there, and fetch one, pinned and checksummed.

A repository of gatito's holds ``gatito.json``, which names its kind and the sha256 of every file. Only the files that
it names are fetched, only formats that cannot run code, and none is used before its checksum is verified.
"""

import logging
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.errors import FatalError, GatitoError, text_of
from benchmarks.base.files import (
    MANIFEST,
    TEMPORARY,
    content_digest,
    file_digest,
    make_folder,
    place_folder,
    read_json,
    write_json,
)
from benchmarks.base.settings import setting

DESCRIPTION = "gatito.json"
KINDS = ("generalist", "experts", "recordings")
_NOUNS = {"generalist": "a generalist", "experts": "experts", "recordings": "recordings"}
FOLDER = ".hub"
"""Below the runs folder: what was fetched, as ``OWNER/NAME/REVISION``."""
_FORMAT = 1
_NEEDED = {"generalist": (MANIFEST, "network.json", "model.safetensors"), "experts": ("experts.csv",)}
_ANSWER_SECONDS = 20.0  # the client itself would wait forever
_SAFE = (".safetensors", ".json", ".jsonl", ".csv")
_FILE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_CARD = "README.md"
_BESIDE = (".gitattributes", _CARD, "LICENSE")  # files that a repository may have beside ours
_PINS = "pins.json"
_NETWORK = ("huggingface_hub", "httpx", "httpx2", "requests")  # versions of the client use one of them
_WORD = re.compile(r"(generalist|experts)=hub(?::(.*))?")


@dataclass
class HubConfig:
    """What ``stages=[push]`` sends, and where to."""

    repo: str | None = setting(None, "The repository on the Hugging Face Hub, OWNER/NAME.")
    what: str = setting(
        "generalist",
        "What is sent: the run's generalist, its experts, or its recordings as Minari datasets.",
        choices=KINDS,
    )
    private: bool = setting(False, "Whether a new repository is private.")


def hub_words(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with ``generalist=hub:NAME`` as ``generalist=released generalist.hub=NAME``."""
    words = []
    for argument in arguments:
        found = _WORD.fullmatch(argument)
        words += [argument] if found is None else [f"{found[1]}=released", f"{found[1]}.hub={found[2] or ''}"]
    return words


def fetch(repository: str, kind: str, runs_folder: Path) -> tuple[str, Path]:
    """Fetch what a repository holds, unless it is here.

    A name without a revision means the one that was newest when it was first fetched here: runs do not change when
    others push.

    Args:
        repository: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        kind: what it must hold, of :data:`KINDS`.
        runs_folder: the folder of all runs.

    Returns:
        The name with its full revision, and the folder of the files.

    Raises:
        FatalError: if the repository cannot be read, holds something else, or a file is not the one that it names.
    """
    key = f"{'experts' if kind == 'experts' else 'generalist'}=hub:{repository}"
    if not _REPOSITORY.fullmatch(repository):
        raise FatalError(f"{key} is no repository: write OWNER/NAME, or OWNER/NAME@REVISION.")
    name, _, wanted = repository.partition("@")
    root = runs_folder / FOLDER / name
    pins = _read_pins(root / _PINS)
    with _one_line(f"{key} cannot be fetched", "check its name, your network, and for a private one HF_TOKEN"):
        revision = pins.get(wanted)
        if revision is None:
            revision = str(_api().model_info(name, revision=wanted or None, timeout=_ANSWER_SECONDS).sha)
        folder = root / revision
        if not folder.exists():
            _download(name, revision, kind, key, folder)
    try:
        _verify(folder, _read_description(folder, kind))
    except GatitoError as error:
        remedy = f"name another one, or remove the folder {folder} if it was changed, and it is fetched again"
        raise FatalError(f"{key} {error}: {remedy}.") from None
    if pins.get(wanted) != revision:
        write_json(root / _PINS, pins | {wanted: revision})
    if wanted != revision:
        console.note(f"{key} is revision {revision}: pin it with hub:{name}@{revision}")
    return f"{name}@{revision}", folder


def _download(name: str, revision: str, kind: str, key: str, folder: Path) -> None:
    """Download the files that the repository's description names, and verify them."""
    api = _api()
    with _folder_in(folder.parent) as place:
        new = place / "new"
        try:
            _get(api, name, DESCRIPTION, revision, new)
            files = _read_description(new, kind)
            for file in files:
                _get(api, name, file, revision, new)
            _verify(new, files)
        except GatitoError as error:
            raise FatalError(f"{key} {error}: name another one, or another revision.") from None
        shutil.rmtree(new / ".cache", ignore_errors=True)  # the client's
        place_folder(new, folder)


@contextmanager
def _folder_in(parent: Path) -> Iterator[Path]:
    """A temporary folder in ``runs_folder/.hub/OWNER/NAME``, which is made, and removed if it stays empty."""
    make_folder(parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", suffix=TEMPORARY, dir=parent) as place:
            yield Path(place)
    finally:
        with suppress(OSError):  # it is not empty
            for folder in (parent, *parent.parents[:2]):
                folder.rmdir()


def _get(api: Any, name: str, file: str, revision: str, folder: Path) -> None:  # noqa: ANN401
    from huggingface_hub.errors import EntryNotFoundError

    try:
        api.hf_hub_download(name, file, revision=revision, local_dir=folder)
    except EntryNotFoundError:
        if file == DESCRIPTION:
            raise GatitoError(f"holds nothing of gatito's (there is no {file})") from None
        raise GatitoError(f"has no {file}, which its {DESCRIPTION} names") from None


def _read_description(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """The files of a repository, with their sha256 under ``sha256``.

    Raises:
        GatitoError: what the repository does, as a sentence without its subject.
    """
    try:
        facts = read_json(folder / DESCRIPTION, {"format": int, "kind": str, "files": dict})
    except (FatalError, OSError):
        raise GatitoError(f"has a damaged {DESCRIPTION}") from None
    if facts["kind"] != kind:
        raise GatitoError(f"holds {_NOUNS.get(facts['kind'], 'something else')}, not {_NOUNS[kind]}")
    if facts["format"] != _FORMAT:
        raise GatitoError(f"has format {facts['format']}, which this version of gatito does not read")
    for file, about in facts["files"].items():
        if not _FILE.fullmatch(file) or Path(file).suffix not in _SAFE or ".." in Path(file).parts:
            raise GatitoError(f"names the file {text_of(file)[:80]}, which gatito does not read")
        if not (isinstance(about, dict) and isinstance(about.get("sha256"), str)):
            raise GatitoError(f"has a damaged {DESCRIPTION} ({file} has no sha256)")
    for file in _NEEDED.get(kind, ()):
        if file not in facts["files"]:
            raise GatitoError(f"has no {file}, which belongs to {_NOUNS[kind]}")
    return facts["files"]


def _verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare files with their checksums.

    Raises:
        GatitoError: as :func:`_read_description`.
    """
    for file, facts in files.items():
        if not (folder / file).is_file() or content_digest(folder / file) != facts["sha256"]:
            raise GatitoError(f"has a damaged {file} (another sha256 than {DESCRIPTION} names)")


def _read_pins(path: Path) -> dict[str, str]:
    """The revisions that were newest when they were first fetched, by what was asked for; empty for all."""
    remedy = "Remove it: what it names is fetched again."
    pins = read_json(path, dict, remedy) if path.exists() else {}
    if not all(isinstance(pin, str) and re.fullmatch(r"\w+", pin) for pin in pins.values()):
        raise FatalError(f"{path} is damaged (a pin is no revision). {remedy}")
    return pins


def check_push(config: HubConfig) -> None:
    """Check that the repository may be written to, before anything is made.

    Raises:
        FatalError: if there is no token, or the repository holds something else.
    """
    if config.repo is None or not _REPOSITORY.fullmatch(config.repo) or "@" in config.repo:
        instead = f", not {config.repo}" if config.repo else ""
        raise FatalError(f"stages=[push] needs a repository: hub.repo=OWNER/NAME{instead}.")
    api = _api()
    from huggingface_hub import get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if not get_token():
        raise FatalError("stages=[push] needs a token of the Hugging Face Hub: set HF_TOKEN, or run hf auth login.")
    with _one_line(f"hub.repo={config.repo} cannot be read", "check its name, your token and your network"):
        try:
            # list_repo_files tries for half a minute
            found = api.repo_info(config.repo, repo_type=_type(config.what), timeout=_ANSWER_SECONDS)
        except RepositoryNotFoundError:
            return  # it will be made
        files = {each.rfilename for each in found.siblings or ()}
        others = sorted(files - set(_BESIDE))
        if others and DESCRIPTION not in files:
            raise FatalError(
                f"hub.repo={config.repo} holds something else ({', '.join(others[:3])}): give a repository of "
                "gatito's, or a new name."
            )
        if DESCRIPTION in files:
            with tempfile.TemporaryDirectory() as place:
                api.hf_hub_download(config.repo, DESCRIPTION, repo_type=_type(config.what), local_dir=place)
                try:
                    kind = read_json(Path(place) / DESCRIPTION, {"kind": str})["kind"]
                except FatalError:
                    raise FatalError(
                        f"hub.repo={config.repo} has a damaged {DESCRIPTION}: give another repository."
                    ) from None
            if kind != config.what:
                holds = _NOUNS.get(kind, "something else")
                raise FatalError(
                    f"hub.repo={config.repo} holds {holds}, not {_NOUNS[config.what]}: give another repository, or "
                    f"hub.what={kind}."
                )


def push(folder: Path, card: str, config: HubConfig, facts: dict[str, Any]) -> str:
    """Send the files of a folder, in one commit that replaces all earlier files.

    Args:
        folder: the files; a description and the card are added to them.
        card: the text of ``README.md``.
        config: the repository.
        facts: further facts for the description.

    Returns:
        The address of the commit.

    Raises:
        FatalError: if the Hub refuses.
    """
    added = (folder / DESCRIPTION, folder / _CARD)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in added]
    described = {
        path.relative_to(folder).as_posix(): {"sha256": file_digest(path), "bytes": path.stat().st_size}
        for path in files
    }
    write_json(folder / DESCRIPTION, {"format": _FORMAT, "kind": config.what, "files": described} | facts)
    (folder / _CARD).write_text(card, encoding="utf-8")
    api, name, kind = _api(), str(config.repo), _type(config.what)
    with _one_line(f"hub.repo={config.repo} cannot be written", "check its name, and that your token may write there"):
        api.create_repo(name, repo_type=kind, private=config.private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            delete_patterns="*",
            commit_message=f"gatito: {config.what}",
        )
    return str(commit.commit_url)


def _type(what: str) -> str:
    return "dataset" if what == "recordings" else "model"


def _api() -> Any:  # noqa: ANN401
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise FatalError("the Hub needs the package huggingface_hub: pip install 'gatito[hub]'.") from None
    disable_progress_bars()
    for client in _NETWORK:
        logging.getLogger(client).setLevel(logging.CRITICAL)  # what fails is said in one line
    return HfApi(library_name="gatito")


@contextmanager
def _one_line(problem: str, remedy: str) -> Iterator[None]:
    """Errors of the client and of the network as one line."""
    try:
        yield
    except FatalError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        if module not in _NETWORK and not (isinstance(error, OSError) and not error.filename):
            raise
        reason = textwrap.shorten(text_of(error), 200, placeholder=" ...")
        raise FatalError(f"{problem} ({reason}): {remedy}.") from None
