"""Make imports of ``benchmarks``, ``experts`` and ``generalist`` find gatito's own packages; imported first.

These are common names: ``python -m gatito`` puts the working folder first on ``sys.path``, and PYTHONPATH may name
other folders, and their packages would be imported instead. Worker processes inherit ``sys.path`` from their parent.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("benchmarks", "experts", "generalist")


def find_own_packages() -> None:
    """Reorder ``sys.path`` so that :data:`PACKAGES` are gatito's own.

    Raises:
        ImportError: if another package with one of these names is already imported.
    """
    for name in PACKAGES:
        place = getattr(sys.modules.get(name), "__file__", None)
        if place is not None and Path(place).resolve() != HERE / name / "__init__.py":
            raise ImportError(
                f"a package {name} is imported already ({place}), and gatito has one of that name: import gatito in "
                "another process."
            )
    main = getattr(sys.modules["__main__"], "__spec__", None)
    run_as_module = main is not None and main.name == "gatito"
    if run_as_module and not sys.flags.safe_path and Path(sys.path[0]).resolve() != HERE:
        del sys.path[0]  # the working folder; plugins are found there, after all other places
    if not all(_is_ours(name) for name in PACKAGES):
        sys.path.insert(0, str(HERE))


def _is_ours(name: str) -> bool:
    spec = PathFinder.find_spec(name)
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == HERE / name / "__init__.py"


find_own_packages()
