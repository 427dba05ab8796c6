"""Claims about labels: read beside the rows, split like them, never among them, and every mistake one sentence."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from tuner.data.dataset import Dataset
from tuner.data.examine import fingerprint
from tuner.data.labels import Labels
from tuner.data.prepare import Prepared, label_path, prepare
from tuner.data.readers import load
from tuner.data.rows import SplitLabels, open_labels, open_rows
from tuner.data.sources import Sources
from tuner.data.split import split_rows
from tuner.errors import DataError, SpecError
from tuner.spec.data import DataSpec
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import StudySpec

CATS = "60cdc210f46309876fd5bfc71f0092347dfe39806391db29c852290f4be5a458"
WHOLE = "cd862275c6de5beb720a81acafc75b4a02ec1ac1757c334d1d0e50bc432f086e"
FRACTIONS = "dd38fa89634a979098c6f20beecfe31df238965baa3482dcff3946f5b6af0380"
MIXED = "7e1dce39a96f428f4262b891d855dbcfd706da47594f7b33fb1569d7ff73c05f"
TABLE = "a,kind,b\n1,cat,2\n3,dog,4\n5,cat,6\n7,ape,8\n"


def read(folder: Path, name: str, content: str | bytes, **block: object) -> Dataset:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return load(DataSpec.model_validate({"source": name, "label": "kind", **block}), Sources(folder))


def labels_of(data: Dataset) -> Labels:
    assert data.labels is not None
    return data.labels


def npz(**named: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in named.items()})
    return file.getvalue()


def spec(**block: object) -> StudySpec:
    declared = {
        "name": "x",
        "data": {"source": "sklearn:breast_cancer", **block},
        "space": {"bottleneck": 2, "batch_size": 16},
        "search": {"trials": 1, "epochs": 1},
    }
    return spec_from_mapping(declared)


def opened(made: Prepared) -> SplitLabels:
    assert made.labels is not None
    return open_labels(made.labels, (made.train, made.validation, made.test))


def test_a_column_of_text_is_the_label_and_no_feature(tmp_path: Path) -> None:
    """In CSV and in Parquet; classes in alphabetical order; naming it in `exclude` as well changes nothing."""
    frame = pd.read_csv(io.StringIO(TABLE))
    frame.to_parquet(tmp_path / "t.parquet")
    for data in (
        read(tmp_path, "t.csv", TABLE),
        read(tmp_path, "t.csv", TABLE, exclude=["kind"]),
        read(tmp_path, "t.csv", TABLE, columns=["a", "b"]),
        read(tmp_path, "t.parquet", (tmp_path / "t.parquet").read_bytes()),
    ):
        assert data.names == ("a", "b")
        assert data.values.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
        assert labels_of(data).classes == ("ape", "cat", "dog")
        assert labels_of(data).codes.tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["10", "9", "-1", "9"], ("-1", "9", "10")),
        (["0.5", "1.0", "0.5", "2.0"], ("0.5", "1.0", "2.0")),
        (["True", "False", "False", "True"], ("False", "True")),
        (["7", "x", "7", "x"], ("7", "x")),
        (["NA", "None", "nan", "null"], ("NA", "None", "nan", "null")),
        (["1", "1.0", "1", "01"], ("01", "1", "1.0")),
        (["TRUE", "true", "TRUE", "true"], ("TRUE", "true")),
        (["9007199254740993", "9007199254740992"] * 2, ("9007199254740992", "9007199254740993")),
        (['"n/a"', "' a'", '" a"', "a"], (" a", "' a'", "a", "n/a")),
    ],
)
def test_labels_in_a_csv_are_kept_as_they_are_written(
    values: list[str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    """Where all are numbers in the order of numbers, else in that of the alphabet."""
    rows = "\n".join(f"{place},{value}" for place, value in enumerate(values))
    assert labels_of(read(tmp_path, "t.csv", f"a,kind\n{rows}\n")).classes == classes


@pytest.mark.parametrize("values", [["NA", "b", "nan", "b"], ["1", "1.0", "1", "01"], ["None", "null", "b", "b"]])
def test_a_csv_and_a_parquet_of_the_same_text_have_the_same_classes(values: list[str], tmp_path: Path) -> None:
    """Text is text in both."""
    frame = pd.DataFrame({"a": range(4), "kind": values})
    frame.to_parquet(tmp_path / "t.parquet")
    parquet = load(DataSpec(source="t.parquet", label="kind"), Sources(tmp_path))
    assert labels_of(read(tmp_path, "t.csv", frame.to_csv(index=False))).sizes == labels_of(parquet).sizes


@pytest.mark.parametrize("empty", ["", '""'])
def test_an_empty_cell_of_a_csv_is_a_missing_label(empty: str, tmp_path: Path) -> None:
    """Quoted or not, and where the line ends before it."""
    with pytest.raises(DataError, match=r"kind, line 3: every row must have a label, got a missing value \(1 in all\)"):
        read(tmp_path, "t.csv", f"a,kind\n1,NA\n2,{empty}\n3,x\n")
    with pytest.raises(DataError, match=r"kind, line 3: every row must have a label"):
        read(tmp_path, "t.csv", "a,kind\n1,NA\n2\n3,x\n")


def test_other_columns_are_read_as_before(tmp_path: Path) -> None:
    """`NA` in a column of numbers is a missing value; numbers keep their bits."""
    with pytest.raises(DataError, match=r"column a, line 2: must be a number, got a missing value"):
        read(tmp_path, "t.csv", "a,kind\nNA,x\n1,NA\n2,x\n")
    data = read(tmp_path, "t.csv", "a,kind\n0.1,x\n1e3,NA\n007,x\n")
    assert data.values.tolist() == [[0.1], [1000.0], [7.0]]


@pytest.mark.parametrize(
    ("values", "mark", "rules"),
    [
        (["cat", "dog", "cat", "ape"], CATS, (1, 2)),
        (["10", "9", "-1", "9"], WHOLE, (1, 2)),
        (["0.5", "1.0", "0.5", "2.0"], FRACTIONS, (1,)),
        (["1", "1.0", "2", "1"], MIXED, (1,)),
    ],
)
def test_a_study_with_rules_1_reads_its_labels_as_it_did(
    values: list[str], mark: str, rules: tuple[int, ...], tmp_path: Path
) -> None:
    """Fingerprints of the version of 2026-11-26; by newer rules the same where pandas had left the text as it was."""
    (tmp_path / "t.csv").write_text("a,kind\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values)))
    block = DataSpec(source="t.csv", label="kind")
    same = tuple(number for number in (1, 2) if fingerprint(load(block, Sources(tmp_path), number), block) == mark)
    assert same == rules


@pytest.mark.parametrize("kinds", [[3, 1, 3, 2], ["c", "a", "c", "b"], [0.3, 0.1, 0.3, 0.2]])
def test_an_archive_holds_rows_and_labels(kinds: list[object], tmp_path: Path) -> None:
    """The only array beside the label's is the rows'."""
    data = read(tmp_path, "t.npz", npz(x=np.arange(8.0).reshape(4, 2), kind=kinds))
    assert data.values.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert labels_of(data).codes.tolist() == [2, 0, 2, 1]


def test_bundled_sets_have_their_target(tmp_path: Path) -> None:
    """With scikit-learn's names; the rarer class is the anomaly."""
    bunch, data = (
        load_breast_cancer(),
        load(DataSpec(source="sklearn:breast_cancer", label="target"), Sources(tmp_path)),
    )
    labels = labels_of(data)
    assert [labels.classes[code] for code in labels.codes] == bunch.target_names[bunch.target].tolist()
    assert labels.anomaly == "malignant"
    assert labels.sizes == {"benign": 357, "malignant": 212}


@pytest.mark.parametrize(("values", "anomaly"), [([1, 1, 0], "0"), ([0, 0, 1], "1"), ([0, 1], "1"), ([0, 1, 2], None)])
def test_of_two_classes_the_rarer_is_the_anomaly_of_equal_ones_the_second(
    values: list[int], anomaly: str | None
) -> None:
    """Among more than two none is."""
    assert Labels.of("kind", np.array(values), "row", 1).anomaly == anomaly


@pytest.mark.parametrize(
    ("name", "content", "block", "said"),
    [
        ("t.csv", TABLE, {"label": "kin"}, "t.csv: data.label: there is no column kin; did you mean kind?"),
        (
            "t.csv",
            TABLE.replace("dog", ""),
            {},
            "t.csv: data.label: kind, line 3: every row must have a label, got a missing value (1 in all).",
        ),
        (
            "t.csv",
            TABLE.replace("dog", "cat").replace("ape", "cat"),
            {},
            "t.csv: data.label: kind must have 2 to 1,000 different values, got 1.",
        ),
        (
            "t.csv",
            "a,kind\n" + "".join(f"{n},k{n}\n" for n in range(1001)),
            {},
            "t.csv: data.label: kind must have 2 to 1,000 different values, got 1,001.",
        ),
        (
            "t.csv",
            "a,kind\n1,x\n2,y\n3,x\n",
            {"exclude": ["a"]},
            "t.csv: must keep at least one column, but data.exclude and data.label name them all.",
        ),
        (
            "t.npz",
            npz(x=np.ones((4, 2)), kind=[1.0, np.nan, 2.0, np.inf]),
            {},
            "t.npz: data.label: kind, row 2: every row must have a label, got a missing value (2 in all).",
        ),
        (
            "t.npz",
            npz(x=np.ones((4, 2)), kind=[1, 2, 3]),
            {},
            "t.npz: data.label: kind must hold one value for each of 4 rows, got shape (3,).",
        ),
        ("t.npz", npz(x=np.ones((4, 2)), y=[1]), {"array": "x"}, "t.npz: data.label must be one of x, y, got kind."),
        (
            "t.npz",
            npz(x=np.ones((3, 2)), kind=np.array([1j, 2, 3])),
            {},
            "t.npz: data.label: kind must hold text or numbers, got complex128.",
        ),
        (
            "t.npy",
            pickle.dumps(0),
            {},
            "t.npy: data.label names a column of a table or an array of an .npz file, got a .npy file.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(name: str, content: Any, block: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Where, what was expected, what came."""
    with pytest.raises(DataError) as refused:
        read(tmp_path, name, content, **block)
    assert str(refused.value) == said


def test_pickled_labels_are_refused(tmp_path: Path) -> None:
    """An array of objects in an archive is never read."""
    file = io.BytesIO()
    np.savez(file, x=np.ones((3, 2)), kind=np.array(["a", 1, None], dtype=object))
    with pytest.raises(DataError, match="no pickle is ever read"):
        read(tmp_path, "t.npz", file.getvalue())


def test_sources_without_labels_say_so(tmp_path: Path) -> None:
    """Folders of images have none, bundled sets have `target` alone, and what the model sees is no label."""
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"data\.label of a folder of images must be folder"):
        load(DataSpec(source="images", label="kind"), Sources(tmp_path))
    (tmp_path / "x-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match=r"array of an \.npz file, got a \.idx file\."):
        load(DataSpec(source="x-idx3-ubyte", label="kind"), Sources(tmp_path))
    with pytest.raises(DataError, match=r"sklearn:iris: data\.label must be target, got species"):
        load(DataSpec(source="sklearn:iris", label="species"), Sources(tmp_path))
    with pytest.raises(SpecError, match="must be a column that the model never sees, but columns names kind"):
        spec(source="t.csv", columns=["kind"], label="kind")
    with pytest.raises(SpecError, match="must be another array than array, got x twice"):
        spec(source="t.npz", array="x", label="x")


def test_labels_are_in_the_fingerprint_only_where_they_are_declared() -> None:
    """Without them it is what it was before there were any; with them their values and names count."""
    rows = np.arange(12.0).reshape(4, 3)
    data, block = Dataset(rows, ("a", "b", "c"), (3,), "x"), DataSpec(source="x.npy")
    assert fingerprint(data, block) == "f18f989a9845a277c764f12bcaf86cd2b8c2f455429856320566ea078155c692"
    marks = {fingerprint(data, block)}
    for values in (["a", "b", "a", "b"], ["a", "b", "a", "a"], ["a", "c", "a", "c"]):
        labels = Labels.of("kind", np.array(values), "row", 1)
        marks.add(fingerprint(Dataset(rows, data.names, (3,), "x", labels), DataSpec(source="x.npy", label="kind")))
    assert len(marks) == 4


def test_the_labels_file_is_split_like_the_rows(tmp_path: Path) -> None:
    """Row for row, and the prepared rows are the bytes that they are without labels."""
    made, without = (
        prepare(spec(label="target"), Sources(tmp_path), tmp_path),
        prepare(spec(), Sources(tmp_path), tmp_path),
    )
    raw = load(DataSpec(source="sklearn:breast_cancer", label="target"), Sources(tmp_path))
    split, labels = split_rows(569, 0.2, 0.1, 0), opened(made)
    for part in ("train", "validation", "test"):
        assert (getattr(labels, part) == labels_of(raw).codes[getattr(split, part)]).all()
    assert (labels.classes, labels.anomaly) == (2, 1)
    assert without.labels is None
    assert made.sha256 == without.sha256
    assert made.path != without.path
    open_rows(made.path, made.sha256, (made.train, made.validation, made.test))


def test_a_damaged_file_of_labels_is_written_again(tmp_path: Path) -> None:
    """Like the prepared rows: noticed by whoever reads it, mended by the next start."""
    made = prepare(spec(label="target"), Sources(tmp_path), tmp_path)
    path = label_path(Path(made.path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    with pytest.raises(DataError, match="the file of labels is damaged"):
        opened(made)
    assert prepare(spec(label="target"), Sources(tmp_path), tmp_path) is not None
    assert path.read_bytes() == whole
    opened(made)
