"""Registries: the names in settings and suite files, and the objects that they refer to.

The project lists its own entries where a registry is defined; a plugin registers its entries in the same way:

    from benchmarks.tasks import FAMILIES

    FAMILIES.register("grid-world", "my_package.grid_world")
"""

import importlib
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from benchmarks.base.code import code_digest
from benchmarks.base.errors import FatalError, text_of, unknown
from benchmarks.base.names import check_name
from benchmarks.base.project import install_remedy

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name. An entry is an object, or its path ``package.module`` or ``package.module:attribute``.

    A path is imported when the entry is loaded, so that listing the names imports nothing.

    Attributes:
        kind: the kind of entries for error messages, such as ``environment family``.
        attributes: the attributes that every entry must have.
        reserved: names that cannot be registered.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str | Entry],
        *,
        attributes: Sequence[str] = (),
        reserved: Container[str] = (),
    ) -> None:
        """Args: see the attributes; ``entries`` are the project's own."""
        self.kind, self.attributes, self.reserved = kind, attributes, reserved
        self._entries: dict[str, str | Entry] = dict(entries)
        self._own = frozenset(entries)

    def register(self, name: str, entry: str | Entry) -> None:
        """Add an entry. Registering the same entry again has no effect.

        Raises:
            FatalError: if the name is taken by another entry or reserved, or the entry lacks an attribute.
        """
        check_name(f"{self.kind} name", name)
        if self._entries.get(name) == entry:
            return
        if name in self._entries or name in self.reserved:
            raise FatalError(f"the {self.kind} name {name!r} is taken: register {_path(entry)} under another name.")
        if not isinstance(entry, str):
            self._check(name, entry)
        self._entries[name] = entry

    def load(self, name: str, subject: str | None = None) -> Entry:
        """The entry of a name.

        Args:
            name: the entry's name.
            subject: the kind of name for the error message; None for :attr:`kind`.

        Raises:
            FatalError: if there is no such name (with the valid ones), its path cannot be imported, or the entry lacks
                an attribute.
        """
        if name not in self._entries:
            hint = " One of a plugin needs the module that registers it, in plugins=[…]."
            raise FatalError(f"{unknown(subject or self.kind, name, self._entries)}{hint}")
        entry = self._entries[name]
        if not isinstance(entry, str):
            return entry
        found = import_object(entry, f"{self.kind} {name!r}")
        self._check(name, found)
        return cast(Entry, found)

    def code(self, name: str) -> dict[str, str]:
        """For fingerprints: a digest of the package of an entry that a plugin registered; nothing for the project's."""
        if name in self._own or name not in self._entries:
            return {}
        entry = self._entries[name]
        path = entry if isinstance(entry, str) else getattr(entry, "path", None)
        if isinstance(path, str):
            return {"code": code_digest(path.partition(":")[0])}
        module = getattr(entry, "__module__", None) or getattr(entry, "__name__", None) or type(entry).__module__
        return {"code": code_digest(str(module))}

    def _check(self, name: str, entry: object) -> None:
        missing = [attribute for attribute in self.attributes if not hasattr(entry, attribute)]
        if missing:
            raise FatalError(
                f"the {self.kind} {name!r} ({_path(entry)}) has no {' and no '.join(missing)}: see docs/extending.md."
            )

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def import_object(path: str, subject: str) -> Any:  # noqa: ANN401
    """The object at ``package.module:attribute``, or the module at ``package.module``.

    Args:
        path: the object's path.
        subject: a description of the object for error messages.

    Raises:
        FatalError: if the module cannot be imported or has no such attribute.
    """
    name, colon, attribute = path.partition(":")
    module = import_module(name, subject)
    if not colon:
        return module
    if not hasattr(module, attribute):
        public = [found for found in vars(module) if not found.startswith("_")]
        raise unknown(f"attribute of module {name} for {subject}", attribute, public)
    return getattr(module, attribute)


def import_module(name: str, subject: str) -> Any:  # noqa: ANN401
    """A module by name.

    Args:
        name: ``package.module``.
        subject: the object that needs it, for error messages.

    Raises:
        FatalError: if there is no such module, or it raises while it is imported.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise FatalError(f"{subject}: {name!r} is not a module; write package.module, or package.module:attribute.")
    try:
        return importlib.import_module(name)
    except FatalError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise FatalError(
                f"{subject}: there is no module {error.name}: {install_remedy(error.name)}, or run gatito in the "
                "folder that contains it."
            ) from error
        raise FatalError(
            f"{subject}: module {name} needs {error.name}, which is not installed: pip install it."
        ) from error
    except (Exception, SystemExit) as error:
        text = text_of(error)
        raise FatalError(
            f"{subject}: module {name} raised {type(error).__name__} while it was imported"
            f"{f' ({text})' if text else ''}: fix it, or leave it out."
        ) from error


def _path(entry: object) -> str:
    return entry if isinstance(entry, str) else str(getattr(entry, "__qualname__", type(entry).__qualname__))
