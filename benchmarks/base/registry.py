"""Registries: the names that settings and suite files use, and the objects that they stand for.

The project lists its own entries where a registry is defined; a plugin registers its entries in the same way:

    from gatito import FAMILIES

    FAMILIES.register("grid-world", "my_package.grid_world")
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from benchmarks.base.errors import FatalError, unknown
from benchmarks.base.names import check_name

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name. An entry is an object, or its path ``package.module`` or ``package.module:attribute``.

    A path is imported when the entry is first loaded, so that listing the names imports nothing.

    Attributes:
        kind: what an entry is, for error messages, such as ``environment family``.
        added: the names that plugins have registered.
    """

    def __init__(self, kind: str, entries: Mapping[str, str | Entry]) -> None:
        """Args: what an entry is, and the project's own entries."""
        self.kind = kind
        self.added: list[str] = []
        self._entries: dict[str, str | Entry] = dict(entries)

    def register(self, name: str, entry: str | Entry) -> None:
        """Add an entry. To register the same one again changes nothing.

        Raises:
            FatalError: if the name is taken by another entry, or cannot be a name.
        """
        check_name(f"{self.kind} name", name)
        if name in self._entries and self._entries[name] != entry:
            raise FatalError(
                f"the {self.kind} {name!r} exists already ({_described(self._entries[name])}), so "
                f"{_described(entry)} cannot be registered under this name: choose another."
            )
        if name not in self._entries:
            self.added.append(name)
            self._entries[name] = entry

    def load(self, name: str, what: str | None = None) -> Entry:
        """The entry of a name.

        Args:
            name: of the entry.
            what: what the name stands for in the error message; None: :attr:`kind`.

        Raises:
            FatalError: if there is no such name (naming the valid ones), or its path leads nowhere.
        """
        if name not in self._entries:
            raise unknown(what or self.kind, name, self._entries)
        entry = self._entries[name]
        return cast(Entry, import_object(entry, f"{self.kind} {name!r}")) if isinstance(entry, str) else entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def import_object(path: str, what: str) -> Any:  # noqa: ANN401
    """The object at ``package.module:attribute``, or the module at ``package.module``.

    Args:
        path: the object's path.
        what: what the object is, for error messages.

    Raises:
        FatalError: if the module cannot be imported or has no such attribute.
    """
    name, colon, attribute = path.partition(":")
    module = import_module(name, what)
    if not colon:
        return module
    if not hasattr(module, attribute):
        public = [found for found in vars(module) if not found.startswith("_")]
        raise unknown(f"attribute of module {name} for {what}", attribute, public)
    return getattr(module, attribute)


def import_module(name: str, what: str) -> Any:  # noqa: ANN401
    """A module by name.

    Args:
        name: ``package.module``.
        what: what needs it, for error messages.

    Raises:
        FatalError: if there is no such module, or it raises while it is imported.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise FatalError(f"{what}: {name!r} is no module; write package.module, or package.module:attribute.")
    try:
        return importlib.import_module(name)
    except FatalError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise FatalError(
                f"{what}: there is no module {error.name}: install its package, or run gatito in the folder that "
                "holds it."
            ) from error
        raise FatalError(
            f"{what}: module {name} needs {error.name}, which is not installed: pip install it."
        ) from error
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        raise FatalError(
            f"{what}: module {name} raised {type(error).__name__} while it was imported"
            f"{f' ({text})' if text else ''}: mend it, or leave it out."
        ) from error


def _described(entry: object) -> str:
    return entry if isinstance(entry, str) else getattr(entry, "__qualname__", type(entry).__qualname__)
