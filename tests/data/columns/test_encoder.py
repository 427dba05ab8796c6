"""Columns of a table as a matrix, and back."""

import json
import string
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_tables import repeated, source, spec

from tuner.data.columns.encoder import TableEncoder
from tuner.data.columns.fields import OTHER
from tuner.data.columns.typed import TypedTable, typed
from tuner.data.source_table import SourceTable
from tuner.errors import DataError
from tuner.spec.data import ReadSpec, Scaling


def encoded(table: TypedTable, encoder: TableEncoder, rows: Sequence[int] | None = None) -> np.ndarray:
    numbers = np.arange(table.rows) if rows is None else np.array(rows)
    return encoder.encode_typed(table, numbers)


def fitted(cells: dict[str, list[str]], train: int | None = None, **data: object) -> tuple[TypedTable, TableEncoder]:
    data = {"scaling": "none", **data}
    table = typed(source(cells), spec(**data))
    return table, TableEncoder.fit(table, np.arange(table.rows if train is None else train), spec(**data))


MIXED = {
    "size": repeated("1.5", "2.25", "-3"),
    "count": repeated("3", "0", "11", "2"),
    "ok": repeated("yes", "no"),
    "colour": repeated("red", "blue", "green", "blue"),
    "day": repeated("2024-01-05", "2024-06-15", "2025-12-31"),
}


def test_levels_are_one_hot_and_moments_go_round() -> None:
    """Column by column: the number, 0 or 1, a column for each level and one for all others, cosine and sine."""
    table, encoder = fitted(MIXED)
    rows = encoded(table, encoder)
    assert encoder.names == (
        "size", "count", "ok", "colour=blue", "colour=green", "colour=red", "colour=(other)",
        "day", "day (month cos)", "day (month sin)", "day (weekday cos)", "day (weekday sin)",
    )  # fmt: skip
    frame = pd.DataFrame(MIXED)
    one_hot = pd.get_dummies(frame["colour"]).astype(float)
    np.testing.assert_array_equal(rows[:, 3:6], one_hot.to_numpy())
    days = pd.to_datetime(frame["day"])
    np.testing.assert_allclose(rows[:, 8], (np.cos(2 * np.pi * (days.dt.month - 1) / 12) + 1) / 2)
    np.testing.assert_allclose(rows[:, 11], (np.sin(2 * np.pi * days.dt.day_of_week / 7) + 1) / 2, atol=1e-15)
    seconds = (days - pd.Timestamp(0)).dt.total_seconds()
    np.testing.assert_allclose(rows[:, 7], (seconds - seconds.mean()) / seconds.std(ddof=0))


def test_a_table_comes_back_with_its_names_types_and_levels() -> None:
    """Decoding what was encoded gives the table that pandas reads from the same text."""
    table, encoder = fitted(MIXED)
    again = encoder.decode(encoded(table, encoder))
    assert list(again.columns) == list(MIXED)
    assert [str(kind) for kind in again.dtypes.iloc[[0, 1, 4]]] == ["float64", "int64", "datetime64[us]"]
    assert again["size"].tolist() == [float(cell) for cell in MIXED["size"]]
    assert again["count"].tolist() == [int(cell) for cell in MIXED["count"]]
    assert again["ok"].tolist() == MIXED["ok"]
    assert again["colour"].tolist() == MIXED["colour"]
    assert again["day"].dt.strftime("%Y-%m-%d").tolist() == MIXED["day"]


CELLS = {
    "numeric": st.floats(-1e12, 1e12).map(repr),
    "categorical": st.text(string.ascii_letters + " äß=,'", min_size=1, max_size=8).map(str.strip).filter(bool),
    "boolean": st.sampled_from(["yes", "no"]),
    "datetime": st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2050-01-01")).map(lambda at: at.isoformat()),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_table_survives_encoding_and_json(data: st.DataObject) -> None:
    """Declared types, random cells, a fifth of them missing: the decoded values are those that were read, and an
    encoder that was written and read again gives the same bits."""
    kinds = data.draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    cells = {
        f"c{n}": data.draw(st.lists(st.one_of(*[CELLS[kind]] * 4, st.just("")), min_size=12, max_size=12))
        for n, kind in enumerate(kinds)
    }
    declared = {f"c{n}": {"type": kind, "levels": 50} for n, kind in enumerate(kinds)}
    scaling = data.draw(st.sampled_from(get_args(Scaling)))
    block = spec(columns=declared, scaling=scaling, missing="mask", indicators=data.draw(st.booleans()))
    try:
        table = typed(source(cells), block)
    except DataError:
        return  # nothing but missing cells
    encoder = TableEncoder.fit(table, np.arange(12), block)
    rows = encoded(table, encoder)
    again = TableEncoder.from_json(encoder.model_dump_json())
    np.testing.assert_array_equal(encoded(table, again), rows)
    for column in table.columns:
        whole = ~column.missing
        decoded = encoder.decode(rows)[column.name][whole]
        if column.type == "categorical":
            kept = next(one.levels for one in encoder.columns if one.name == column.name)
            read = [column.levels[int(place)] for place in column.values[whole]]
            assert decoded.tolist() == [level if level in kept else OTHER for level in read]
        elif column.type == "datetime":
            back = (pd.to_datetime(decoded) - pd.Timestamp(0)).dt.total_seconds()
            # Of seconds since 1970 float64 tells quarter microseconds apart; a logarithm and back loses 40 of them.
            exact = 1e-5 + (2e-14 * np.abs(column.values[whole]).max() if scaling == "log1p" else 0)
            np.testing.assert_allclose(back, column.values[whole], atol=exact, rtol=0)
        elif column.type == "boolean":
            assert [word == "yes" for word in decoded] == (column.values[whole] == 1).tolist()
        else:
            size = np.abs(column.values[whole]).max()
            np.testing.assert_allclose(decoded.astype(float), column.values[whole], atol=1e-9 * max(1, size), rtol=0)


def test_rare_and_unseen_levels_are_others() -> None:
    """The commonest so many are told apart, none that training has once alone; a level of validation rows, or of new
    ones, is one of the others."""
    levels = ["a"] * 10 + ["b"] * 8 + ["c"] * 6 + ["d"] * 1 + ["e"] * 15
    table, encoder = fitted({"l": levels}, train=25, columns={"l": {"levels": 2}})
    assert encoder.columns[0].levels == ("a", "b", OTHER)
    rows = encoded(table, encoder)
    np.testing.assert_array_equal(rows.sum(0), [10, 8, 22])
    new = encoder.read_table(source({"l": ["a", "z", ""]}))
    np.testing.assert_array_equal(new.encoded_NF, [[1, 0, 0], [0, 0, 1], [np.nan] * 3])
    assert new.odd == {}


@pytest.mark.parametrize(("how", "size", "level"), [("mean", 2.25, "b"), ("median", 2.125, "b")])
def test_missing_values_are_filled_with_what_training_rows_have(how: str, size: float, level: str) -> None:
    """Mean or median of numbers, the commonest level; of validation rows as of training rows, and of new ones."""
    columns = {
        "x": ["1.5", "2.0", "3.25", "", "2.25", "100"],
        "l": ["b", "b", "a", "a", "b", ""],
        "y": ["1", "2", "3", "4", "5", "9.5"],
    }
    table, encoder = fitted(columns, train=5, missing=how, columns={"l": {"type": "categorical"}})
    rows = encoded(table, encoder)
    assert rows[3, 0] == size
    assert encoder.decode(rows)["l"].tolist() == ["b", "b", "a", "a", "b", level]
    new = encoder.read_table(source({"x": [""], "l": [""], "y": ["1"]}))
    assert encoder.decode(new.encoded_NF).iloc[0].tolist() == [size, level, 1.0]


def test_an_indicator_tells_where_and_has_no_weight() -> None:
    """Behind its column, 1 where that is missing."""
    table, encoder = fitted(
        {"x": repeated("1.5", "", "2.5"), "y": repeated("1", "2.5")}, missing="mask", indicators=True
    )
    assert encoder.names == ("x", "x is missing", "y")
    np.testing.assert_array_equal(encoded(table, encoder)[:3, 1], [0, 1, 0])
    assert [column.weight for column in encoder.columns] == [1, 0, 1]


def test_new_rows_are_read_as_those_that_were_trained_on() -> None:
    """From a table with types as from text, in another order, among other columns; cells of other types are named."""
    _, encoder = fitted(MIXED)
    text = {name: cells[:2] for name, cells in reversed(MIXED.items())} | {"more": ["x", "y"]}
    expected = encoder.read_table(source(text)).encoded_NF
    typed_table = pa.table(
        {
            "colour": pa.array(["red", "blue"]).dictionary_encode(),
            "size": pa.array([1.5, 2.25]),
            "day": pa.array(pd.to_datetime(MIXED["day"][:2])),
            "ok": pa.array([True, False]),
            "count": pa.array([3, 0], pa.int32()),
        }
    )
    given_types = SourceTable(typed_table, "data", False, "row", np.array([1, 2]), ReadSpec())
    np.testing.assert_array_equal(encoder.read_table(given_types).encoded_NF, expected)
    odd = encoder.read_table(source({**text, "size": ["1.5", "big"], "ok": ["maybe", "no"]}))
    assert odd.odd == {"size": ("big", 1, 1), "ok": ("maybe", 0, 1)}
    assert np.isnan(odd.encoded_NF[1, 0])
    infinite = encoder.read_table(source({**text, "size": ["1.5", "-Inf"]}))
    assert infinite.odd == {"size": ("-Inf", 1, 1)}
    assert np.isnan(infinite.encoded_NF[1, 0])
    with pytest.raises(DataError, match="must have the model's columns, missing: size, count; it has"):
        encoder.read_table(source({name: cells for name, cells in text.items() if name not in ("size", "count")}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda known: {**known, "version": 2},
        lambda known: {**known, "fields": [{**known["fields"][0], "kind": "sound"}]},
        lambda known: {**known, "missing": "guess"},
        lambda known: {**known, "fields": [{**known["fields"][3], "levels": 3}]},
        lambda known: {**known, "more": 1},
        lambda known: [],
    ],
)
def test_other_json_is_refused(damage) -> None:
    """One sentence, no traceback."""
    _, encoder = fitted(MIXED)
    with pytest.raises(DataError, match=r"preprocessing: expected the columns of a table, got .+"):
        TableEncoder.from_json(json.dumps(damage(json.loads(encoder.model_dump_json()))))
