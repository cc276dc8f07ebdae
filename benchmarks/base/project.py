"""Where the project's own files are: its code, and the configuration and trained networks that come with it.

In a checkout, ``conf/`` and ``results/`` lie beside the code. A wheel brings them in a folder ``gatito_data/`` beside
the code. Either may be read-only: what a run writes goes below the working folder.
"""

from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
"""The folder that holds ``gatito.py`` and the packages: the checkout, or ``site-packages``."""
_INSTALLED = CODE / "gatito_data"
DATA = _INSTALLED if _INSTALLED.is_dir() else CODE
"""The folder that holds ``conf/`` and ``results/``."""
CONF = DATA / "conf"
"""The configuration."""


def find(path: str | Path) -> Path:
    """Where to read a path such as ``results/experts``: in the working folder, or else what came with the project."""
    shipped = DATA / path  # an absolute path stays as it is
    return Path(path) if Path(path).exists() or not shipped.exists() else shipped


def is_checkout() -> bool:
    """Whether the code lies in a Git checkout of its own, and is not installed somewhere below another project's."""
    return (CODE / ".git").exists()


def fetch_anew(path: Path) -> str:
    """How to get a damaged file or folder again that came with the project."""
    if path.resolve().is_relative_to(_INSTALLED):
        return "Install gatito anew (pip install --force-reinstall --no-deps, with its wheel)"
    return f"Fetch it anew (git checkout -- {path})"
