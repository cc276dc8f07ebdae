"""Checksums of the CSV files of a results folder, so that no edited number is shown as a result.

The seal is ``results.json`` beside the files: ``{"sha256": {"scores.csv": "…", "tasks.csv": "…", …}}``. Code that
writes such files calls :func:`seal` afterwards; code that reads them calls :func:`check_seal` first. A folder without a
seal gets one by ``seal(folder, ["scores.csv", "tasks.csv", "costs.csv", "curves.csv"])``; a compressed file is listed
as ``scores.csv.gz``.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.base.files import file_digest, read_json, update_text

SEAL = "results.json"


def seal(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of these files of a results folder; checksums of other files are kept.

    If the seal is damaged, other files lose their checksums and are refused until they are written again.
    """
    path = folder / SEAL
    sealed = {}
    with contextlib.suppress(FatalError, FileNotFoundError):
        sealed = read_json(path, {"sha256": dict})["sha256"]
    sealed |= {name: file_digest(folder / name) for name in names}
    kept = {name: value for name, value in sealed.items() if (folder / name).exists()}
    update_text(path, json.dumps({"sha256": kept}, indent=1, sort_keys=True) + "\n")


def check_seal(folder: Path, names: Iterable[str], remedy: str) -> None:
    """Reject files of a results folder that were changed after gatito wrote them.

    Args:
        folder: a results folder. Without a seal, there is a warning, since changes cannot be detected.
        names: the names of the files to check, if they exist.
        remedy: the advice for a changed file.

    Raises:
        GatitoError: names the first file that was changed or added.
    """
    path = folder / SEAL
    if not path.exists():
        console.warn(f"{folder} has no {SEAL}, so changes of its numbers cannot be detected.")
        return
    for name in changed_files(folder, names, remedy):
        raise GatitoError(f"{folder / name} was changed after gatito wrote it: {remedy}")


def changed_files(folder: Path, names: Iterable[str], remedy: str = "") -> Iterator[str]:
    """Those of the files of a results folder with a seal that are there and not as they were sealed."""
    sealed = read_json(folder / SEAL, {"sha256": dict}, remedy[:1].upper() + remedy[1:])["sha256"]
    for name in names:
        if (folder / name).exists() and file_digest(folder / name) != sealed.get(name):
            yield name
