"""CSV files in long format: one dataclass per kind of row; every cell is checked against its type when read.

Spreadsheets interpret a cell that begins with ``=`` as a formula. Such a text is written with a leading apostrophe,
which spreadsheets hide and :func:`read_csv` removes.
"""

import csv
import dataclasses
import gzip
import io
import math
import re
import types
import typing
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.base.errors import GatitoError

_Row = TypeVar("_Row")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MOST_BYTES = 2**30  # a compressed file can be a thousand times smaller than its content


def to_csv(rows: Sequence[Any], kind: type) -> str:
    """CSV text with the fields of ``kind`` as columns.

    None is an empty cell, a boolean 1 or 0, a float has all its digits. A field with ``optional`` in its metadata has
    no column if it is None in every row.
    """
    fields = [
        field
        for field in _fields(kind)
        if not _is_optional(field) or any(getattr(row, field.name) is not None for row in rows)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_column, fields))
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_cell(getattr(row, field.name)) for field in fields]
        # Python before 3.13 does not quote a carriage return, which readers take for the end of a line.
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoting if has_return else writer).writerow(cells)
    return text.getvalue()


def read_csv(path: Path, kind: type[_Row], remedy: str) -> list[_Row]:
    """Read the result of :func:`to_csv`, from the file itself or from the same name with ``.gz``.

    Args:
        path: the file.
        kind: the dataclass of its rows.
        remedy: the advice if the file is missing.

    Raises:
        GatitoError: if it is missing, has other columns, or a cell does not fit its type (with the line number).
    """
    compressed = path.with_name(f"{path.name}.gz")
    if not path.exists() and not compressed.exists():
        raise GatitoError(f"{path} is missing: {remedy}")
    hints = typing.get_type_hints(kind)
    rows = []
    try:
        content = path.read_bytes() if path.exists() else _decompressed(compressed)
        reader = csv.reader(io.StringIO(content.decode(), newline=""))
        header = tuple(next(reader, ()))
        fields = [field for field in _fields(kind) if not _is_optional(field) or _column(field) in header]
        expected = tuple(map(_column, fields))
        if header != expected:
            raise GatitoError(f"{path}: the columns are {','.join(header)} instead of {','.join(expected)}.")
        parsers = [(field.name, hints[field.name]) for field in fields]
        for line in reader:
            if len(line) != len(header):
                raise GatitoError(f"{path}, line {reader.line_num}: {len(line)} cells instead of {len(header)}.")
            try:
                cells = zip(parsers, line, strict=True)
                rows.append(kind(**{name: _parse(cell, hint) for (name, hint), cell in cells}))
            except ValueError as error:
                raise GatitoError(f"{path}, line {reader.line_num}: {error}.") from None
    except (UnicodeDecodeError, csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise GatitoError(f"{path} is not a CSV file: {error}.") from None
    return rows


def repeated(rows: Sequence[_Row], key: Callable[[_Row], tuple[object, ...]]) -> list[str]:
    """Each row whose key another one has too, as its line of the file and the key."""
    keys = [key(row) for row in rows]
    counts = Counter(keys)
    return [
        f"line {number + 2} ({', '.join(map(str, found))})" for number, found in enumerate(keys) if counts[found] > 1
    ]


def _decompressed(path: Path) -> bytes:
    with gzip.open(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise GatitoError(f"{path} is larger than {_MOST_BYTES:,} bytes: decompress it yourself if you trust it.")
    return content


def columns(kind: type) -> tuple[str, ...]:
    """The names of all columns: the fields' names, or the ``column`` in their metadata."""
    return tuple(map(_column, _fields(kind)))


def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)  # type: ignore[arg-type]


def _column(field: dataclasses.Field[Any]) -> str:
    return field.metadata.get("column", field.name)


def _is_optional(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("optional"))


def _cell(value: Any) -> Any:  # noqa: ANN401
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return repr(float(value)) if isinstance(value, float) else value


def _parse(cell: str, hint: Any) -> Any:  # noqa: ANN401
    if isinstance(hint, types.UnionType):  # such as float | None
        if cell == "":
            return None
        [hint] = [option for option in typing.get_args(hint) if option is not types.NoneType]
    if hint is bool:
        if cell not in ("0", "1"):
            raise ValueError(f"'{cell}' is neither 1 nor 0")
        return cell == "1"
    if hint is float and not math.isfinite(float(cell)):
        raise ValueError(f"'{cell}' is not a finite number")
    if hint is str and cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return hint(cell)
