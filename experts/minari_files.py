"""Minari's datasets as files that others made: opened so that no other file is read and no code is run."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.base.errors import GatitoError
from benchmarks.base.files import file_digest, read_json
from benchmarks.base.names import inside
from benchmarks.tasks import Task, spaces

MARK = "gatito"  # the key in a dataset's metadata that marks gatito's own exports


def data_folder(name: str) -> Path:
    """Where the files of a dataset are."""
    if (Path(name) / "data").is_dir():
        return Path(name).resolve() / "data"
    root = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
    return Path(root).resolve() / name / "data"


def open_dataset(task: Task, name: str) -> Any:  # noqa: ANN401
    """The dataset, once it is known that reading it opens no other file and runs no code."""
    minari = minari_package()
    data = data_folder(name)
    if not (data / "metadata.json").is_file():
        raise GatitoError(
            f"dataset {name} of task {task.name} is not in {data.parent}: fetch it with `minari download {name}`, or "
            "give the id of one that `minari list local` shows, or its folder."
        )
    for path in sorted(data.rglob("*")):
        inside(data, path.relative_to(data).as_posix())
        if path.suffix == ".hdf5":
            _check_hdf5(path)
    metadata = read_json(data / "metadata.json", dict, f"Remove the folder {data.parent} and fetch it anew.")
    if "observation_space" in metadata and "action_space" in metadata:
        return minari.MinariDataset(data)
    from minari.dataset._storages import get_minari_storage

    # Else Minari would make the environment that the metadata name, which may be any code.
    storage = get_minari_storage(metadata["data_format"])
    return minari.MinariDataset(storage(data, *spaces(task), jpeg_encoding=bool(metadata.get("jpeg_encoding", True))))


def _check_hdf5(path: Path) -> None:
    """Refuse a file whose datasets lie in other files, or that links to others.

    Raises:
        GatitoError: naming the dataset.
    """
    import h5py
    import h5py.h5o

    seen: set[int] = set()

    def check(group: Any) -> None:  # noqa: ANN401
        for name in group:
            link, place = group.get(name, getlink=True), f"{group.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                raise GatitoError(f"{path}: {place} is a link, which datasets never hold: do not use this dataset.")
            item = group[name]
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise GatitoError(f"{path}: the values of {place} are in other files: do not use this dataset.")
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group) and address not in seen:
                seen.add(address)
                check(item)

    with h5py.File(path, "r") as file:
        check(file)


@contextlib.contextmanager
def damage_named(task: Task, name: str) -> Iterator[None]:
    """Errors of a file that is cut or has another structure, of which h5py and Minari raise many kinds, as one line."""
    try:
        yield
    except (GatitoError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise GatitoError(
            f"dataset {name} of task {task.name} is damaged ({reason[:200]}): remove the folder "
            f"{data_folder(name).parent} and fetch it anew with `minari download`."
        ) from None


def minari_package() -> Any:  # noqa: ANN401
    """The package ``minari``, which not every installation has.

    Raises:
        GatitoError: if it is missing.
    """
    try:
        import h5py  # noqa: F401
        import minari
        import minari.data_collector
    except ImportError as error:
        raise GatitoError(f"Minari datasets need a package ({error}): pip install 'gatito[minari]'.") from None
    return minari


def mark_of(data: Path) -> dict[str, Any] | None:
    """What gatito wrote into the metadata of a dataset that it exported; None: somebody else made it."""
    path = data / "metadata.json"
    mark = read_json(path, dict, f"Remove the folder {data.parent}.").get(MARK) if path.is_file() else None
    return mark if isinstance(mark, dict) else None


def content_digest(path: Path) -> str:
    """Digest of a file, computed once for as long as it does not change."""
    facts = path.stat()
    return _content_digest(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _content_digest(path: Path, size: int, changed: int) -> str:
    return file_digest(path)
