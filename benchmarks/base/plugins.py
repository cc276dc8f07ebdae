"""Plugins: modules of other packages that register their own entries when they are imported.

A plugin is named in the setting ``plugins``, or by an entry point of group ``gatito.plugins`` in the metadata of an
installed package. Every process of a run imports all of them.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence

from benchmarks.base.registry import import_module

GROUP = "gatito.plugins"
_loaded: dict[str, None] = {}  # in the order in which they were imported


def load_plugins(names: Sequence[str]) -> None:
    """Import these modules, each once per process. The working folder is searched last.

    Raises:
        FatalError: if a module cannot be imported, or registers a name that is taken.
    """
    search_working_folder()
    for name in names:
        if name not in _loaded:
            import_module(name, f"plugin {name}")
            _loaded[name] = None


def installed_plugins() -> list[str]:
    """The modules that installed packages name under the entry point group ``gatito.plugins``."""
    return sorted(point.value.partition(":")[0] for point in importlib.metadata.entry_points(group=GROUP))


def loaded_plugins() -> tuple[str, ...]:
    """The plugins of this process, for other processes to import."""
    return tuple(_loaded)


def search_working_folder() -> None:
    """Allow imports from the working folder, last in the search order, so that it cannot hide installed packages."""
    folder = os.getcwd()  # noqa: PTH109
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
