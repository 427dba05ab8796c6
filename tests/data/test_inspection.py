"""Claims about `tuner inspect`: what it counts is what pandas counts, and one object says it to programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tuner.answers.inspection import Inspection
from tuner.cli.app import app

PUMPS = Path(__file__).parents[2] / "search_spaces" / "data" / "pumps.csv"
TYPES = {
    "pump_id": "categorical", "read": "datetime", "site": "categorical", "model": "categorical",
    "installed": "datetime",
    "hours": "count", "inlet_bar": "numeric", "outlet_bar": "numeric", "flow_m3h": "numeric", "power_kw": "numeric",
    "temperature_c": "numeric", "vibration_mm_s": "numeric", "filter": "boolean", "alarms": "count",
    "state": "categorical",
}  # fmt: skip


def inspected(*words: str) -> dict[str, Any]:
    ran = CliRunner().invoke(app, ["inspect", *words, "--json"])
    assert (ran.exit_code, ran.stderr) == (0, "")
    Inspection.model_validate_json(ran.stdout)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_it_counts_what_pandas_counts(ending: str, tmp_path: Path) -> None:
    """Rows, missing and different values, ranges, levels, repeated rows; the same of text and of typed columns."""
    frame = pd.read_csv(PUMPS, parse_dates=["read", "installed"])
    frame = pd.concat([frame, frame.tail(3)], ignore_index=True)
    path = tmp_path / f"pumps{ending}"
    frame.to_csv(path, index=False) if ending == ".csv" else frame.to_parquet(path, index=False)
    found = inspected(str(path))
    assert (found["kind"], found["rows"], found["shape"]) == ("table", len(frame), [len(frame.columns)])
    assert found["incomplete"] == frame.isna().any(axis=1).sum()
    assert found["duplicates"] == frame.duplicated().sum() == 3
    assert found["group"] == "pump_id"
    columns = {one["name"]: one for one in found["columns"]}
    assert {name: one["type"] for name, one in columns.items()} == TYPES
    for name, one in columns.items():
        series = frame[name].dropna()
        assert one["modelled"]
        assert one["missing"] == frame[name].isna().sum()
        assert one["distinct"] == series.nunique()
        if TYPES[name] in ("categorical", "boolean"):
            assert sorted(count for _, count in one["levels"]) == sorted(series.value_counts().head(5).tolist())
        elif TYPES[name] == "datetime":
            assert pd.to_datetime([one["low"], one["high"]], unit="s").tolist() == [series.min(), series.max()]
        else:
            assert (one["low"], one["high"]) == (series.min(), series.max())


def test_what_looks_odd_is_said(tmp_path: Path) -> None:
    """Columns that are left out and why, copies of the label, values far out, cells of another type, sentinels."""
    draw = np.random.default_rng(0)
    kind = draw.choice(["good", "bad"], 80)
    pd.DataFrame(
        {
            "row": range(80),
            "same": 7,
            "copy": np.where(kind == "good", 1, 2),
            "far": [*draw.random(79).round(3), 1e7],
            "odd": [str(value) if row % 30 else "n.d." for row, value in enumerate(draw.random(80).round(3))],
            "sentinel": np.where(draw.random(80) < 0.1, -999, draw.random(80).round(3)),
            "one": [*np.arange(79) % 9 / 4, -9999],
            "prose": [f"a sentence of its own for row {row}, as people write it" for row in range(80)],
            "kind": kind,
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    found = inspected(str(tmp_path / "t.csv"), "--label", "kind")
    columns = {one["name"]: one for one in found["columns"]}
    left_out = {name: one["type"] for name, one in columns.items() if not one["modelled"]}
    assert left_out == {"row": "identifier", "same": "constant", "prose": "text"}
    assert "tells the label" in " ".join(columns["copy"]["notes"])
    assert columns["far"]["scaling"] == "robust"
    assert columns["odd"]["odd"] == ["n.d."]
    assert columns["sentinel"]["missing"] > 0 and columns["sentinel"]["low"] >= 0
    assert "-999 counts as a missing value" in " ".join(found["notes"])
    said = "-9999.0 in line 81 may stand for a missing value: read: {missing: ['-9999.0']}."
    assert said in columns["one"]["notes"]


@pytest.mark.parametrize("rows", [80, 900, 3000])
@pytest.mark.parametrize("share", [0.5, 0.03])
def test_what_does_not_repeat_tells_no_label(rows: int, share: float, tmp_path: Path) -> None:
    """Random columns, of numbers that differ in each row, of few values, of yes and no; of copies all are said, also
    of a label that few rows have, and one that is wrong in a row of 3,000."""
    draw = np.random.default_rng(rows)
    fault = np.arange(rows) < max(9, rows * share)
    draw.shuffle(fault)
    frame = pd.DataFrame({"x": draw.normal(size=rows), "few": draw.integers(0, rows // 3, rows), "fault": fault})
    frame["tenths"], frame["yes"] = frame["x"].round(1), draw.random(rows) < 0.5
    frame["copy"] = np.where(fault, "bad", "good")
    frame["worse"] = np.where(fault, draw.integers(5, 9, rows), draw.integers(0, 5, rows))
    frame.loc[:0, "worse"] = 8 if rows == 3000 else frame["worse"][0]
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = inspected(str(tmp_path / "t.csv"), "--label", "fault")
    assert [one["name"] for one in found["columns"] if one["tells"]] == ["copy", "worse"]


def test_people_see_a_line_for_each_column(tmp_path: Path) -> None:
    """Whatever breaks lines in its name or its levels; a repeated row and a group are said below."""
    frame = pd.DataFrame({"two\nlines": ["a\nb", "c"] * 20, "user": [row // 4 for row in range(40)], "x": range(40)})
    frame["x"] %= 4
    frame.to_csv(tmp_path / "t.csv", index=False)
    ran = CliRunner().invoke(app, ["inspect", str(tmp_path / "t.csv")])
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["two", "user", "x"]
    assert "a b (20), c (20)" in lines[1]
    assert "(data.split: {group: user})" in ran.stdout


def test_arrays_and_bundled_sets_are_inspected_too(tmp_path: Path) -> None:
    """Rows, shape, columns that never vary."""
    rows = np.random.default_rng(0).random((30, 4))
    rows[:, 2] = 5
    np.save(tmp_path / "a.npy", rows)
    found = inspected(str(tmp_path / "a.npy"))
    assert (found["kind"], found["rows"], found["shape"], found["features"]) == ("array", 30, [4], 4)
    low, high = rows.min(), rows.max()
    said = [f"values from {low:g} to {high:g}, none missing.", "1 of 4 columns are the same in all rows."]
    assert (found["notes"], found["scaling"]) == (said, None)
    assert inspected("sklearn:digits")["kind"] == "images"
    np.save(tmp_path / "windows.npy", rows.reshape(15, 4, 2))
    assert inspected(str(tmp_path / "windows.npy"))["kind"] == "array"  # as validate scales it
