"""Paths of the project's own files: its code, and the configuration and trained networks that come with it.

In a checkout, ``conf/`` and ``results/`` are next to the code. A wheel installs them as ``gatito_data/`` next to the
code. Both may be read-only: runs write below the working folder.
"""

from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
"""The folder that holds ``gatito.py`` and the packages: the checkout, or ``site-packages``."""
_INSTALLED = CODE / "gatito_data"
DATA = _INSTALLED if _INSTALLED.is_dir() else CODE
"""The folder that holds ``conf/`` and ``results/``."""
CONF = DATA / "conf"
"""The folder of the configuration."""

_EXTRAS = {"box2d": "box2d", "pygame": "box2d", "swig": "box2d", "mujoco": "mujoco", "sb3_contrib": "contrib"}


def install_remedy(text: str) -> str:
    """The remedy for a missing package, by its name in an error's text: the extra that installs it, if one does."""
    extra = next((extra for package, extra in _EXTRAS.items() if package in text.lower()), None)
    return f"pip install 'gatito[{extra}]'" if extra else "install its package"


def find(path: str | Path) -> Path:
    """Resolve a path such as ``results/experts`` in the working folder, else among the project's own files."""
    shipped = DATA / path  # an absolute path is unchanged
    return Path(path) if Path(path).exists() or not shipped.exists() else shipped


def is_checkout() -> bool:
    """Whether the code is in a Git checkout of its own, as opposed to installed, perhaps below another checkout."""
    return (CODE / ".git").exists()


def restore_remedy(path: Path) -> str:
    """The remedy for a damaged file or folder that came with the project."""
    if path.resolve().is_relative_to(_INSTALLED):
        return "Reinstall gatito (pip install --force-reinstall --no-deps, with its wheel)"
    return f"Restore it (git checkout -- {path})"
