"""Claims about `tuner init`: its file is a study, whatever the table and its columns are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tuner.cli.app import app
from tuner.data.initial import bottleneck
from tuner.errors import TunerError
from tuner.spec.reader import read_spec

DRAW = np.random.default_rng(0)
ODD_NAMES = [
    'it\'s: "a"',
    "tab\tname",
    "two\nlines",
    "größe €",
    "yes",
    "#1",
    "null",
    "a: b",
    "- c",
    "{d}",
    "[e",
    "x" * 300,
]
NAMED = pd.DataFrame({name: DRAW.normal(size=40) for name in ODD_NAMES})
GAPS = pd.DataFrame(
    {
        "x\ny": [None if row % 7 == 0 else round(row * 0.37, 2) for row in range(60)],
        "odd: one": ["n.d." if row % 20 == 3 else str(row / 8) for row in range(60)],
        "far #": [*np.round(DRAW.random(59), 3), 1e7],
        "patient": [f"p{row // 4}" for row in range(60)],
        "level": DRAW.choice(["a'b", "c: d", "e\nf"], 60),
        "when": pd.date_range("2024-01-01", periods=60, freq="D").strftime("%d.%m.%Y"),
    }
)
ZOO = {
    "odd names": NAMED,
    "gaps, odd cells, outliers, groups, levels and dates": GAPS,
    "one column of levels": pd.DataFrame({"only": list("xyz") * 10}),
    "one column of dates": pd.DataFrame({"only": pd.date_range("2024-01-01", periods=99, freq="7h").astype(str)}),
    "odd cells": pd.DataFrame(
        {
            "lab": ["n.d." if row % 5 == 2 else f"{row / 8}" for row in range(120)],
            "at": ["unknown" if row == 7 else f"2024-01-{row % 28 + 1:02} 10:{row % 60:02}" for row in range(120)],
            "paid": [f"{row % 28 + 1:02}.01.2024" if row % 3 else f"2024-01-{row % 28 + 1:02}" for row in range(120)],
            "level": ["-999" if row % 40 == 2 else f"{row * 29 % 83 / 8}" for row in range(120)],
            "owed": [f"({row / 4})" if row % 3 else f"{row}" for row in range(120)],
        }
    ),
    "three rows": pd.DataFrame({"a": [1, 2, 4], "b": [0.5, 3, 1]}),
    "levels alone": pd.DataFrame({"a": list("xyzx") * 5, "b": list("uv") * 10}),
    "wide": pd.DataFrame(DRAW.normal(size=(20, 300))),
    "yes and no": pd.DataFrame({"a": ["yes", "no"] * 10, "b": [True, False] * 10}),
}
REFUSED = {
    "empty": ("", "must hold a table, got an empty file."),
    "header alone": ("a,b\n", "must have rows below the header, got none."),
    "identifiers alone": ("id\n" + "".join(f"{row}\n" for row in range(30)), "all are left out (id: it numbers rows"),
    "one row": ("a,b\n1.5,2\n", "must have at least 3 rows and 1 column, got 1 and 2."),
}


def tuner(*words: str) -> tuple[int, str, str]:
    ran = CliRunner().invoke(app, list(words))
    if isinstance(ran.exception, TunerError):  # which `main` prints
        return ran.exception.exit_code, ran.stdout, f"{ran.exception}\n"
    return ran.exit_code, ran.stdout, ran.stderr


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_what_init_writes_is_a_study(name: str, ending: str, workspace: Path) -> None:
    """`tuner validate` finds no mistake in it, unedited, and it models the columns that `inspect` says."""
    frame = ZOO[name].rename(columns=str)
    path = workspace / f"table{ending}"
    frame.to_csv(path, index=False) if ending == ".csv" else frame.to_parquet(path)
    code, text, errors = tuner("init", str(path))
    assert (code, errors) == (0, "")
    (workspace / "s.yaml").write_text(text, encoding="utf-8")
    code, output, errors = tuner("validate", "s.yaml")
    assert (code, errors) == (0, ""), errors
    assert "No mistakes found." in output
    spec = read_spec(workspace / "s.yaml")
    assert spec.data.source == str(path)
    assert spec.data.scaling == "standard"
    assert spec.data.missing == ("mask" if name.startswith(("gaps", "odd cells")) else "error")


def test_what_was_found_is_declared(workspace: Path) -> None:
    """Texts that stand for nothing, masks, the group that rows belong to, a scaling that bounds outliers; the label."""
    GAPS.to_csv("t.csv", index=False)
    text = tuner("init", "t.csv", "--label", "level")[1]
    Path("s.yaml").write_text(text, encoding="utf-8")
    data = read_spec("s.yaml").data
    assert data.read is not None and data.read.missing == ("n.d.",)
    assert data.missing == "mask"
    assert data.split is not None and data.split.group == "patient"
    assert data.described["far #"].scaling == "robust"
    assert data.label == "level"
    assert all(line.startswith("#") or ":" in line for line in text.splitlines() if line)


def test_numbers_and_dates_among_odd_cells_are_modelled(workspace: Path) -> None:
    """From the table to an answer, unedited: what was left out as names of rows, or became levels without a word."""
    ZOO["odd cells"].to_csv("t.csv", index=False)
    Path("s.yaml").write_text(tuner("init", "t.csv")[1], encoding="utf-8")
    small = ["--set", "search.trials=1", "--set", "search.epochs=1", "--set", "final=none"]
    code, _, said = tuner("run", "s.yaml", "--workers", "0", *small)
    assert code == 0, said
    output = " ".join(tuner("validate", "s.yaml")[1].split())
    assert "5 are modelled: 3 numeric, 2 datetime" in output
    assert read_spec("s.yaml").data.read.missing[:2] == ("n.d.", "unknown")
    assert "-999" in read_spec("s.yaml").data.read.missing  # which is found no more where others are declared


def test_a_copy_of_the_label_is_left_out(workspace: Path) -> None:
    """With a word, whatever it is called; what merely goes with it stays, and so does the group."""
    fault = np.arange(200) % 5 == 0
    frame = pd.DataFrame({"x": DRAW.normal(size=200) + fault, "y": DRAW.normal(size=200), "fault": fault})
    frame['alarm: "a"'], frame["patient"] = np.where(fault, 3, 2), [f"p{row % 20}" for row in range(200)]
    frame.to_csv("t.csv", index=False)
    text = tuner("init", "t.csv", "--label", "fault")[1]
    Path("s.yaml").write_text(text, encoding="utf-8")
    data = read_spec("s.yaml").data
    assert (data.exclude, data.split.group) == (('alarm: "a"',), "patient")
    assert "count, left out: it tells the label" in text
    assert "200 rows, 2 features" in tuner("validate", "s.yaml")[1]


def arrays() -> dict[str, tuple[np.ndarray, dict[str, object]]]:
    """What an array holds, and the keys that `init` writes for it."""
    plain = np.random.default_rng(1).normal(size=(60, 5))
    gaps, far, sentinel, infinite, far_gaps = (plain.copy() for _ in range(5))
    gaps[3, 1] = np.nan
    far[7, 2] = 1e6
    sentinel[[4, 9], 3] = -999
    infinite[5, 0] = np.inf
    far_gaps[3, 1], far_gaps[7, 2] = np.nan, 1e6
    return {
        "plain": (plain, {}),
        "gaps": (gaps, {"missing": "mask", "scaling": "standard"}),
        "far": (far, {"scaling": "robust"}),
        "far channel": (far.reshape(30, 2, 5), {"scaling": "robust"}),
        "sentinel": (sentinel, {"missing": "mask", "scaling": "standard"}),
        "infinite": (infinite, {"missing": "mask", "scaling": "standard", "read": {"missing": ["inf"]}}),
        "far and gaps": (far_gaps, {"missing": "mask", "scaling": "robust"}),
    }


@pytest.mark.parametrize("name", arrays())
def test_what_init_writes_for_an_array_is_a_study(name: str, workspace: Path) -> None:
    """With what is missing in it masked, also where that is written -999, and values far out bounded."""
    rows, expected = arrays()[name]
    np.save("a.npy", rows)
    Path("s.yaml").write_text(tuner("init", "a.npy")[1], encoding="utf-8")
    assert read_spec("s.yaml").data.model_dump(exclude_unset=True, exclude={"source"}, mode="json") == expected
    code, output, errors = tuner("validate", "s.yaml")
    assert (code, errors) == (0, "")
    assert ("-999 counts as a missing value" in " ".join(output.split())) == (name == "sentinel")


def test_a_missing_value_of_an_array_is_refused_with_what_to_do(workspace: Path) -> None:
    """The key that a table's refusal names."""
    np.save("a.npy", arrays()["gaps"][0])
    declared = "name: x\ndata: {source: a.npy}\nspace: {bottleneck: 1, batch_size: 4}\nsearch: {trials: 1}\n"
    Path("s.yaml").write_text(declared, encoding="utf-8")
    said = tuner("validate", "s.yaml")[2]
    assert said == (
        "a.npy: column x1, row 4: must be a finite number, got a missing value (1 such values in all); say"
        " data.missing: mask, mean, median or drop.\n"
    )


@pytest.mark.parametrize(
    "name", ["2020", "null", "true", "1e5", "no", "0x1f", "2020-01-01", "größe", "a b", "new\nline"]
)
def test_a_study_is_called_like_its_file(name: str, workspace: Path) -> None:
    """Names that YAML takes for something else are quoted, and what no study may be called is replaced."""
    path = workspace / f"{name}.csv"
    ZOO["three rows"].to_csv(path, index=False)
    code, text, _ = tuner("init", str(path))
    assert code == 0
    (workspace / "s.yaml").write_text(text, encoding="utf-8")
    spec = read_spec(workspace / "s.yaml")
    plain = name.replace(" ", "-").replace("\n", "-")
    assert spec.name == "".join(char if char.isascii() else "-" for char in plain)
    assert tuner("init", str(path), "--name", "mine")[1].count("name: mine\n") == 1


def test_one_column_of_numbers_is_refused_for_no_code_is_shorter(workspace: Path) -> None:
    """By init, where `inspect` shows it; and by validate, whose sentence names the file once."""
    pd.DataFrame({"only": DRAW.normal(size=30)}).to_csv("t.csv", index=False)
    assert tuner("inspect", "t.csv")[0] == 0
    code, text, said = tuner("init", "t.csv")
    assert (code, text) == (2, "")
    assert said == "t.csv: must have two columns of numbers to model, got one: no code is shorter than its rows.\n"
    declared = "name: x\ndata: {source: t.csv}\nspace: {bottleneck: 1, batch_size: 4}\nsearch: {trials: 1, epochs: 1}\n"
    Path("s.yaml").write_text(declared, encoding="utf-8")
    said = tuner("validate", "s.yaml")[2]
    assert said.startswith("t.csv: space.bottleneck must be less than the 1 feature of a row")


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_in_a_sentence(case: str, workspace: Path) -> None:
    """By inspect and init alike, with nothing on standard output that a space file would hold."""
    content, expected = REFUSED[case]
    (workspace / "t.csv").write_text(content, encoding="utf-8")
    for command in ("inspect", "init"):
        code, text, said = tuner(command, "t.csv")
        assert (code, text) == (2, "")
        assert said.startswith("t.csv: ") and expected in said
        assert said.count("\n") == 1


def test_a_code_is_shorter_than_its_row() -> None:
    """For 2 to 2,000 columns, and too short to hold each of few rows; one column has a code of 1."""
    assert all(1 <= bottleneck(columns, 1000) < columns for columns in range(2, 2001))
    assert all(1 <= bottleneck(400, rows) < max(2, rows - 1) for rows in range(2, 200))
    assert bottleneck(1, 100) == 1
    assert [bottleneck(400, rows) for rows in (28, 105, 1000)] == [7, 26, 32]
