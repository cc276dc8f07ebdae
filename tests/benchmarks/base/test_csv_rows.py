import csv
import io
import math
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.base.csv_rows import columns, read_csv, to_csv
from benchmarks.base.errors import GatitoError
from tests.properties import few, numbers, texts


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    value: float = field(metadata={"column": "return"})
    bound: float | None
    solved: bool | None
    sure: bool


ROWS = [
    Row("a/b", 7, 0.1 + 0.2, None, None, True),
    Row('with, comma and "quotes"', -3, -0.0, 1e-300, True, False),
    Row("ünïcode", 2**60, -1.7976931348623157e308, -1 / 3, False, True),
]
HEADER = "name,count,return,bound,solved,sure"


def write(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_read_back_to_the_last_digit(tmp_path):
    text = to_csv(ROWS, Row)
    assert columns(Row) == tuple(HEADER.split(","))
    assert text.splitlines()[:2] == [HEADER, "a/b,7,0.30000000000000004,,,1"]
    rows = read_csv(write(tmp_path, text), Row, "none")
    assert rows == ROWS
    assert math.copysign(1, rows[1].value) == -1
    assert [[type(cell) for cell in vars(row).values()] for row in rows] == [
        [type(cell) for cell in vars(row).values()] for row in ROWS
    ]


def test_an_empty_table_has_a_header(tmp_path):
    assert to_csv([], Row) == HEADER + "\n"
    assert read_csv(write(tmp_path, HEADER + "\n"), Row, "none") == []


def test_a_missing_csv_file_gets_a_remedy(tmp_path):
    with pytest.raises(GatitoError, match=r"rows\.csv is missing: run it first\.$"):
        read_csv(tmp_path / "rows.csv", Row, "run it first.")


@pytest.mark.parametrize("header", ["", "name,count,value,bound,solved,sure", HEADER + ",more"])
def test_other_columns_are_rejected(tmp_path, header):
    with pytest.raises(GatitoError, match=f"the columns are {header} instead of {HEADER}"):
        read_csv(write(tmp_path, header), Row, "none")


@pytest.mark.parametrize(
    "line, message",
    [
        ("x,1,2.0,,", "5 cells instead of 6"),
        ("x,1,2.0,,,1,9", "7 cells instead of 6"),
        ("", "0 cells instead of 6"),
        ("x,1.5,2.0,,,1", "'1.5'"),
        ("x,,2.0,,,1", "''"),
        ("x,1,two,,,1", "'two'"),
        ("x,1,,,,1", "''"),
        ("x,1,nan,,,1", "'nan' is not a finite number"),
        ("x,1,-inf,,,1", "'-inf' is not a finite number"),
        ("x,1,2.0,inf,,1", "'inf' is not a finite number"),
        ("x,1,2.0,,yes,1", "'yes' is neither 1 nor 0"),
        ("x,1,2.0,,2,1", "'2' is neither 1 nor 0"),
        ("x,1,2.0,,,", "'' is neither 1 nor 0"),
    ],
)
def test_an_invalid_line_is_reported_with_its_number(tmp_path, line, message):
    good = "x,1,2.0,,,1"
    path = write(tmp_path, f"{HEADER}\n{good}\n{line}\n{good}\n")
    with pytest.raises(GatitoError) as refused:
        read_csv(path, Row, "none")
    assert str(refused.value).startswith(f"{path}, line 3: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_binary_file_is_rejected(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(GatitoError, match=r"rows\.csv"):
        read_csv(path, Row, "none")


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "'=x", "''=x", "'x", "x=1", ""])
def test_spreadsheet_formulas_are_escaped_and_read_back(tmp_path, text):
    path = write(tmp_path, to_csv([Row(text, 1, -2.0, None, None, True)], Row))
    assert not re.search(r"(^|,)[=+@]", path.read_text().splitlines()[1])
    assert read_csv(path, Row, "none")[0].name == text


@dataclass(frozen=True)
class Optional:
    name: str
    cost: float | None = field(default=None, metadata={"optional": True})


def test_an_optional_column_exists_if_a_row_has_a_value(tmp_path):
    assert to_csv([Optional("a"), Optional("b")], Optional) == "name\na\nb\n"
    for rows in ([Optional("a"), Optional("b")], [Optional("a", 0.0), Optional("b")]):
        assert read_csv(write(tmp_path, to_csv(rows, Optional)), Optional, "none") == rows
    with pytest.raises(GatitoError, match="the columns are name,price instead of name"):
        read_csv(write(tmp_path, "name,price\na,1\n"), Optional, "none")


@few
@given(
    rows=st.lists(
        st.builds(
            Row,
            texts | st.sampled_from(["=1+1", "'=x", "@", "-", "\t", "\r", "\n", '"', "a\r\nb", ",", "'", ""]),
            st.integers(),
            numbers,
            st.none() | numbers,
            st.none() | st.booleans(),
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_whatever_is_in_the_cells_comes_back(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    path.write_bytes(to_csv(rows, Row).encode())
    assert read_csv(path, Row, "none") == rows


@few
@given(text=texts)
def test_no_cell_begins_as_a_formula(text):
    [_, cells] = csv.reader(io.StringIO(to_csv([Row(text, 1, 1.0, None, None, True)], Row), newline=""))
    assert not cells[0].startswith(tuple("=+-@\t\r"))
