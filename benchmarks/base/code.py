"""Digests of code that is not the project's: what it makes is made again when it changes."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

from benchmarks.base.files import digest, file_digest


def package_spec(module: str) -> ModuleSpec | None:
    """How a module's top package is imported; None for a module that no file defines, such as a notebook's."""
    try:
        return importlib.util.find_spec(module.partition(".")[0])
    except ValueError:  # __main__
        return None


def code_digest(module: str) -> str:
    """Digest of all Python files of a module's top package, or of its file; of nothing if it has neither."""
    spec = package_spec(module)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    files = {file.relative_to(folder).as_posix(): file for folder in folders for file in sorted(folder.rglob("*.py"))}
    if not folders and spec and spec.origin and Path(spec.origin).is_file():
        files = {Path(spec.origin).name: Path(spec.origin)}
    return digest({name: file_digest(file) for name, file in files.items()} | {"files": len(files)})
