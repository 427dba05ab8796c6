"""What the cells of a column are found to be."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from text_tables import N, repeated, source, spec

from tuner.data.columns.typed import TypedTable, typed
from tuner.data.source_table import SourceTable
from tuner.errors import DataError
from tuner.spec.data import ReadSpec

MANY = [f"2024-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}" for n in range(2000)]


def cells_of_numbers(rows: int) -> list[str]:
    return [str(n % 7 + 0.5) for n in range(rows)]


def found(cells: Sequence[str], name: str = "c", **data: object) -> TypedTable:
    """A table of this column and one more, so that it may be left out."""
    read = data.get("read", {})
    table = source({name: cells, "other": cells_of_numbers(len(cells))}, **read)
    return typed(table, spec(**data))


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (repeated("1.5", "-2", "3e2"), "numeric", [1.5, -2, 300]),
        (repeated("3", "0", "11"), "count", [3, 0, 11]),
        (repeated("3", "-1", "11"), "numeric", [3, -1, 11]),
        (repeated("0", "1"), "boolean", [0, 1]),
        (repeated("yes", "No", "YES", "no"), "boolean", [1, 0, 1, 0]),
        (repeated("True", "False"), "boolean", [1, 0]),
        (repeated("20.6%", "1%"), "numeric", [0.206, 0.01]),
        (repeated("20,628.7", "1,000", "3"), "numeric", [20628.7, 1000, 3]),
        (repeated("$3", "$4.5"), "numeric", [3, 4.5]),
        (repeated("NA", "1.5", "", "n/a", "2.5"), "numeric", [np.nan, 1.5, np.nan, np.nan, 2.5]),
        (repeated("1.5", "2.5", " 3.5 "), "numeric", [1.5, 2.5, 3.5]),
        (repeated("2024-01-02", "1969-12-31"), "datetime", [1704153600, -86400]),
        (repeated("2024-01-02T03:04:05", "2024-01-02T03:04:05.5"), "datetime", [1704164645, 1704164645.5]),
        (repeated("31/12/2023", "01/02/2024"), "datetime", [1703980800, 1706745600]),
        (repeated("12/31/2023", "01/02/2024"), "datetime", [1703980800, 1704153600]),
        (repeated("Feb 1 2000", "Mar 1 2000"), "datetime", [949363200, 951868800]),
        (repeated("Feb-1-2000", "Mar-1-2000"), "datetime", [949363200, 951868800]),
        (repeated("b", "a", "a"), "categorical", [1, 0, 0]),
        (repeated("b", "", "a"), "categorical", [1, np.nan, 0]),
        (repeated("NA", "DE", "FR"), "categorical", [2, 0, 1]),
        (repeated("None", "High", "Low"), "categorical", [2, 0, 1]),
        (repeated("?", "Private", "State"), "categorical", [np.nan, 0, 1]),
        (repeated("-999", *map(str, np.linspace(1, 2, 19))), "numeric", [np.nan, 1]),
        (repeated("-999", "-9999", *map(str, np.linspace(1, 2, 18))), "numeric", [np.nan, np.nan, 1]),
        (repeated("-999", "999", *map(str, np.linspace(1, 2, 18))), "numeric", [np.nan, np.nan, 1]),
        (repeated("99", "9", *map(str, np.linspace(1, 98, 38))), "numeric", [99, 9, 1]),
        (repeated("-999", *map(str, np.linspace(-1500, 2000, 19))), "numeric", [-999, -1500]),
        (repeated("007", "008"), "count", [7, 8]),
        (repeated("2020-01", "2020-03", "2021-02"), "datetime", [1577836800, 1583020800]),
        (repeated("2019-20", "2020-21", "2010-11"), "categorical", [1, 2, 0]),
        (repeated("2009-10", "2010-11", "2011-12"), "categorical", [0, 1, 2]),
        (repeated("($5)", "$1,200.50", "(3)"), "numeric", [-5, 1200.5, -3]),
        (repeated("1.2-", "3", "4-"), "numeric", [-1.2, 3, -4]),
    ],
)  # fmt: skip
def test_a_columns_type_and_values_are_found(cells: list[str], kind: str, values: list[float]) -> None:
    """What a reader would say of the cells; levels are numbered by the alphabet."""
    (column, _) = found(cells).columns
    assert column.type == kind
    np.testing.assert_allclose(column.values[: len(values)], values, rtol=1e-15, atol=0)


ODD = {
    "numbers, a fifth n.d.": (["n.d." if n % 5 == 2 else f"{n / 8}" for n in range(200)], "numeric", "identifier"),
    "numbers that repeat, a fifth n.d.": (
        ["n.d." if n % 5 == 2 else f"{n % 97 / 8}" for n in range(400)], "numeric", "categorical"),
    "numbers, seven odd texts": (
        [f"> {n}" if n % 30 == 2 else f"{n / 8}" for n in range(200)], "numeric", "identifier"),
    "percentages, one text": (["n.d.", *(f"{n / 8}%" for n in range(99))], "numeric", "identifier"),
    "timestamps, one text": ([*MANY[:-1], "unknown"], "datetime", "identifier"),
    "days that repeat, one bad": (
        [*(f"2024-01-{n % 28 + 1:02}" for n in range(199)), "2024-02-31"], "datetime", "categorical"),
    "days in two forms": (
        [f"2024-01-{n % 28 + 1:02}" if n % 3 else f"{n % 28 + 1:02}.01.2024" for n in range(200)], "datetime",
        "categorical"),
    "months, one text": ([*(f"20{n // 12:02}-{n % 12 + 1:02}" for n in range(99)), "?!"], "datetime", "identifier"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_numbers_and_dates_are_not_thrown_away_for_some_odd_cells(case: str) -> None:
    """The column is refused with its odd cells, all of which are listed; said to be missing, they leave the rest. By
    rules 4 it was left out, or became levels."""
    cells, kind, before = ODD[case]
    with pytest.raises(DataError, match=r"Where this stands for a missing value, say data\.read\.missing"):
        found(cells)
    odd = typed(source({"c": cells}), spec(), strict=False).odd["c"].texts
    table = found(cells, read={"missing": odd})
    assert table.columns[0].type == kind
    assert table.columns[0].missing.tolist() == [text in odd for text in cells]
    old = typed(source({"c": cells, "other": cells_of_numbers(len(cells))}), spec(), rules=4)
    kinds = {one.name: one.type for one in (*old.columns, *old.left_out)}
    assert kinds["c"] == before


@pytest.mark.parametrize(
    "cells",
    [
        [f"A/5 {n}" if n % 4 == 0 else str(7919 * n % 104729) for n in range(200)],  # tickets
        [*(str(250 + n % 100) for n in range(300)), *(f"V{n % 40}" for n in range(100))],  # codes of diagnoses
        [("0", "1", "2", "3+")[n % 4] for n in range(200)],
    ],
)
def test_codes_of_which_most_are_numbers_stay_text(cells: list[str]) -> None:
    """Names with many different texts among them, levels with more than a few; names say how many are numbers."""
    table = found(cells)
    kinds = {one.name: one.type for one in (*table.columns, *table.left_out)}
    assert kinds["c"] in ("identifier", "categorical")
    assert all("75% of its cells are numbers" in one.why for one in table.left_out)


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("n", [str(n) for n in range(N)], "identifier"),
        ("customer_id", [str(7919 * n % 104729) for n in range(N)], "identifier"),
        ("customerId", [str(7919 * n % 104729) for n in range(N)], "identifier"),
        ("n", [str(2**60 + 7919 * n) for n in range(N)], "identifier"),
        ("n", [f"Name {n}" for n in range(N)], "identifier"),
        ("n", [f"A long text with the number {n}, as people write them in remarks." for n in range(N)], "text"),
        ("n", ["7.0"] * N, "constant"),
        ("n", ["same"] * N, "constant"),
        ("n", [""] * N, "constant"),
        ("n", ["NA"] * N, "constant"),
    ],
)
def test_a_column_that_says_nothing_is_left_out_with_a_word(name: str, cells: list[str], kind: str) -> None:
    """Names, prose and constants; the other column stays."""
    table = found(cells, name)
    assert [column.name for column in table.columns] == ["other"]
    assert [(one.name, one.type) for one in table.left_out] == [(name, kind)]
    assert table.left_out[0].why


def test_what_is_measured_is_no_identifier() -> None:
    """Whole numbers that differ in every row, but by no rule and under no such name."""
    cells = [str(7919 * n % 104729) for n in range(N)]
    assert [column.type for column in found(cells, "income").columns] == ["count", "numeric"]


def test_years_that_count_up_are_a_time() -> None:
    """A series by year has its year; the same numbers under another name only number its rows."""
    years = [str(1871 + n) for n in range(N)]
    assert found(years, "YEAR").columns[0].type == "count"
    assert [one.type for one in found(years, "n").left_out] == ["identifier"]


def test_na_of_r_is_missing_where_it_is_so_in_numbers() -> None:
    """In a file whose numbers have NA, levels have it for the same; codes of countries do not."""
    table = source(
        {"x": repeated("NA", "1.5", "2.5"), "y": repeated("NA", "high", "low"), "z": repeated("NA", "DE", "FR")}
    )
    columns = {column.name: column for column in typed(table, spec()).columns}
    assert [int(columns[name].missing.sum()) for name in "xyz"] == [14, 14, 0]
    assert columns["y"].levels == ("high", "low")
    assert columns["z"].levels == ("DE", "FR", "NA")


def test_sentinels_are_said_and_known_as_they_are_written() -> None:
    """Both in one note; a new file has -999.0 as this one had."""
    table = found(repeated("-999.0", "-9999.0", *map(str, np.linspace(1, 2, 18))))
    assert table.columns[0].format.missing == ("-9999", "-999", "-999.0", "-9999.0")
    assert "column c: -9999 and -999 count as a missing value (4 in all)" in table.notes[0]


@pytest.mark.parametrize("missing", ["error", "mask"])
@pytest.mark.parametrize("kind", ["text", "floats", "whole floats"])
def test_infinity_is_refused_and_not_missing(kind: str, missing: str) -> None:
    """In text and in typed columns, also where missing values are masked; said to be missing, it is. By rules 4 it was
    a missing value without a word."""
    cells = ["inf", *(f"{n / 2 if kind != 'whole floats' else n * 7 % 23}" for n in range(39))]
    rows = source({"a": cells, "other": cells_of_numbers(N)})
    if kind != "text":
        columns = {name: pa.array([float(cell) for cell in rows.table[name].to_pylist()]) for name in ("a", "other")}
        rows = SourceTable(pa.table(columns), "t.parquet", False, "line", rows.places, ReadSpec())
    with pytest.raises(
        DataError, match=r"column a, line 2: must be a finite number, got 'inf' .* say data\.read\.missing"
    ):
        typed(rows, spec(missing=missing))
    said = typed(rows, spec(missing=missing, read={"missing": ["inf"]}))
    old = typed(rows, spec(missing=missing), rules=4)
    assert [table.columns[0].missing.tolist() for table in (said, old)] == [[True] + [False] * 39] * 2


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (repeated("20%", "4", "30.5%"), "column c: 1 different text without %, '4' first, count as percentages like"),
        (
            repeated("02139", "94110", "10001"),
            "column c: 14 cells have leading zeros, as codes have; data.columns: {'c':",
        ),
    ],
)
def test_numbers_that_may_be_something_else_are_said(cells: list[str], said: str) -> None:
    """Bare numbers among percentages, and codes; nothing is said of plain numbers, or of codes that are declared so."""
    table = found(cells)
    assert table.notes[0].startswith(said)
    assert table.columns[0].type in ("numeric", "count")
    assert found(repeated("0", "0.5", "10")).notes == ()
    assert found(repeated("02139", "94110"), columns={"c": {"type": "numeric"}}).notes == ()


@pytest.mark.parametrize(
    ("declared", "cells", "kind", "levels"),
    [
        ("categorical", repeated("1", "2", "3"), "categorical", ("1", "2", "3")),
        ("numeric", repeated("0", "1"), "numeric", ()),
        ("count", repeated("0", "1"), "count", ()),
        ("boolean", repeated("0", "1", "1"), "boolean", ("0", "1")),
        ("boolean", repeated("0", "0"), "boolean", ("0", "1")),
        ("categorical", [f"Name {n}" for n in range(N)], "categorical", tuple(sorted(f"Name {n}" for n in range(N)))),
        ("numeric", [str(n) for n in range(N)], "numeric", ()),
    ],
)
def test_a_declared_type_holds(declared: str, cells: list[str], kind: str, levels: tuple[str, ...]) -> None:
    """Also against what would be found."""
    column = found(cells, columns={"c": {"type": declared}}).columns[0]
    assert (column.name, column.type, column.levels) == ("c", kind, levels)


@pytest.mark.parametrize(
    ("columns", "data", "said"),
    [
        (
            {"a": [*repeated("1.5", "2.5")[:-1], "<0.5"], "b": repeated("1", "2.5")},
            {},
            "column a, line 41: must be a number, got '<0.5' (1 of 40 cells). Where this stands for a missing value,"
            " say data.read.missing: ['<0.5']; where it is a level, data.columns: {'a': {type: categorical}}.",
        ),
        (
            {"a": [*repeated("1.5", "2.5")[:-1], "x"], "b": ["it's", *repeated("1", "2.5")[1:]]},
            {},
            "column a, line 41: must be a number, got 'x' (1 of 40 cells); column b, line 2: must be a number, got"
            " \"it's\" (1 of 40 cells). Where this stands for a missing value, say data.read.missing: ['x', 'it''s'];",
        ),
        (
            {"a": repeated("1", "2")},
            {"columns": {"a": {"type": "boolean"}}},
            "column a, line 2: must be yes or no, got '1' (40 of 40 cells)",
        ),
        (
            {"a": [""] * N},
            {"columns": {"a": {"type": "boolean"}}},
            "must have a column to model, but all are left out (a: it has no values)",
        ),
        (
            {"a": repeated("1.5", "two")},
            {"columns": {"a": {"type": "numeric"}}},
            "column a, line 3: must be a number, got 'two' (20 of 40 cells)",
        ),
        (
            {"a": repeated("2024-01-01", "soon")},
            {"columns": {"a": {"type": "datetime"}}},
            "column a, line 3: must be a date (ISO8601), got 'soon'",
        ),
        (
            {"a": [*MANY[:-1], "31.01.2024"]},
            {},
            "column a, line 2001: must be a date (ISO8601), got '31.01.2024' (1 of 2000 cells). Where this stands for a"
            " missing value, say data.read.missing: ['31.01.2024'];",
        ),
        (
            {"a": [f"about {n}" if n % 10 < 2 and n < 100 else f"{n / 8}" for n in range(400)]},
            {},
            "column a, line 2: must be a number, got 'about 0' (20 of 400 cells). Where this stands for a missing"
            " value, say data.read.missing: ['about 0', 'about 1', 'about 10', 'about 11', 'about 20', 'about 21',"
            " 'about 30', 'about 31', 'about 40', 'about 41', 'about 50', 'about 51'] and 8 more, which tuner init"
            " writes; where it is a level",
        ),
        ({"a": repeated("1", "2.5")}, {"exclude": ["b"]}, "data.exclude: there is no column b; it has a."),
        ({"price": repeated("1", "2.5")}, {"label": "prize"}, "data.label: there is no column prize; did you mean"),
        ({"a": repeated("1", "2.5")}, {"columns": {"A": {"weight": 2}}}, "data.columns: there is no column A"),
        ({"a": repeated("1", "2.5")}, {"exclude": ["a"]}, "must keep at least one column"),
        ({"a": ["1"] * N}, {}, "must have a column to model, but all are left out (a: it is the same in all rows)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(columns: dict[str, list[str]], data: dict[str, object], said: str) -> None:
    """All such columns at once, with counts, lines, and advice that is right when it is typed as it stands."""
    with pytest.raises(DataError) as refused:
        typed(source(columns), spec(**data))
    assert str(refused.value).startswith(said)


def test_the_advice_works_as_printed() -> None:
    """What the sentence says to write makes the column one of numbers with a missing value."""
    cells = [*repeated("1.5", "2.5")[:-1], "it's"]
    with pytest.raises(DataError, match=r"data.read.missing: \['it''s'\]"):
        typed(source({"a": cells}), spec())
    read = {"missing": ["it's"]}
    (column,) = typed(source({"a": cells}, **read), spec(read=read)).columns
    assert (column.type, int(column.missing.sum())) == ("numeric", 1)


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array([1, 2, None] * 10), "count", [1, 2, np.nan]),
        (pa.array([1.5, None, -2.0] * 10), "numeric", [1.5, np.nan, -2]),
        (pa.array([True, False, None] * 10), "boolean", [1, 0, np.nan]),
        (pa.array(["b", "a", None] * 10), "categorical", [1, 0, np.nan]),
        (pa.array(["b", "a", None] * 10).dictionary_encode(), "categorical", [1, 0, np.nan]),
        (pa.array(["NA", "a", "b"] * 10), "categorical", [0, 1, 2]),
        (pa.array([86400, 0, None] * 10, pa.timestamp("s")), "datetime", [86400, 0, np.nan]),
        (pa.array([1, 0, None] * 10, pa.date32()), "datetime", [86400, 0, np.nan]),
        (pa.array([1500, 0, None] * 10, pa.duration("ms")), "numeric", [1.5, 0, np.nan]),
        (pa.array([61, 0, None] * 10, pa.time32("s")), "count", [61, 0, np.nan]),
    ],
)
def test_a_table_with_types_keeps_them(array: pa.Array, kind: str, values: list[float]) -> None:
    """Parquet, Feather, pandas and the like say what a column holds."""
    table = SourceTable(pa.table({"c": array}), "t.parquet", False, "row", np.arange(1, 31), ReadSpec())
    (column,) = typed(table, spec()).columns
    assert column.type == kind
    np.testing.assert_array_equal(column.values[:3], values)
