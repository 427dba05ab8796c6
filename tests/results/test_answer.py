"""What is made to be looked at is what the exported model gives, and is made once."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from studies import tiny

import tuner
from tuner.data.split import split_rows
from tuner.ledger.ledger import Ledger
from tuner.report.pictures import COLUMNS, beside, is_image

ROWS = np.random.default_rng(5).random((90, 5, 4)) * 16


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answer_of() -> Path:
    """The one study's one folder."""
    (study,) = Path(".tuner/answers").iterdir()
    (answer,) = study.iterdir()
    return answer


def table(name: str) -> tuple[list[str], list[list[Any]]]:
    read = json.loads((answer_of() / "study" / name).read_text())
    return read["columns"], read["data"]


@pytest.fixture
def images(workspace: Path) -> tuner.Study:
    """A study of rows that are images of 5 by 4."""
    np.save("rows.npy", ROWS)
    return tuner.run(tiny(data={"source": "rows.npy"}, search={"trials": 18}), workers=0)


def validation_rows(count: int) -> NDArray[np.int64]:
    return split_rows(count, 0.2, 0.1, 3).validation


def test_a_tables_worst_rows_and_features_are_those_of_the_exported_model(workspace: Path) -> None:
    """Row numbers, errors, and the feature that is worst, recomputed from the export and the raw data."""
    from sklearn.datasets import load_iris

    study = tuner.run(tiny(), workers=0)
    model = tuner.load_model(study.export("best"))
    raw = load_iris().data
    numbers = validation_rows(len(raw))
    scores = model.score(raw[numbers])
    columns, rows = table("worst_rows.json")
    assert columns == ["row", "error", "worst feature", "its value", "its reconstruction"]
    order = np.argsort(-scores, kind="stable")[:20]
    np.testing.assert_allclose([row[1] for row in rows], scores[order], rtol=1e-4)
    assert [row[0] for row in rows][:5] == (numbers[order] + 1).tolist()[:5]
    rebuilt, names = model.reconstruct(raw), list(model.names)
    for number, _, feature, value, guess in rows:
        place = number - 1, names.index(feature)
        assert (value, guess) == pytest.approx((raw[place], rebuilt[place]), rel=1e-4)
    columns, rows = table("feature_errors.json")
    assert columns == ["feature", "error", "share"]
    assert sorted(row[0] for row in rows) == sorted(names)
    assert sum(row[1] for row in rows) / len(rows) == pytest.approx(study.best.value, rel=1e-5)
    assert sum(row[2] for row in rows) == pytest.approx(1)


def test_pictures_are_of_the_best_trials_and_show_originals_above_reconstructions(images: tuner.Study) -> None:
    """The same rows for each of them, and the study's are the best trial's; the pixels are the export's."""
    complete = sorted((t.value, t.number) for t in images.records if t.state == "complete")
    owners = {name.split("/")[0] for name in files(answer_of())}
    assert f"trial-{images.best.number}" in owners
    assert {"study"} < owners <= {"study", *(f"trial-{number}" for _, number in complete[:3])}
    model = tuner.load_model(images.export("best"))
    shown = ROWS[validation_rows(len(ROWS))][:18]
    expected = beside(shown, model.reconstruct(shown))
    (picture,) = (answer_of() / "study").glob("images/reconstructions+step+0+*.png")
    found = np.asarray(Image.open(picture)).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
    (own,) = (answer_of() / f"trial-{images.best.number}").glob("images/reconstructions+step+0+*.png")
    assert own.read_bytes() == picture.read_bytes()
    assert table("worst_rows.json")[0] == ["row", "error"]


def test_files_that_are_gone_are_made_again_to_the_same_bytes(images: tuner.Study) -> None:
    """`tuner sync` to another MLflow, with nothing left of `.tuner` but what the study trained."""
    before, name = files(answer_of()), answer_of()
    shutil.rmtree(".tuner/answers")
    shutil.rmtree(".tuner/prepared")
    Path("mlflow.db").rename("mlflow-old.db")
    shutil.copy("mlflow-old.db", "mlflow.db")
    republish()
    assert answer_of() == name
    assert files(answer_of()) == before


def republish() -> None:
    from tuner.api.publishing import sync

    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.studies()[0]
    with ledger.lease(record.id, "publish"):
        ledger.outbox.publish_anew(record.id, ledger.outbox.tracking_store(record.id) or "")
    ledger.close()
    (done,) = sync()
    assert (done.waiting, done.aside, done.error) == (0, (), None)


def test_a_study_that_goes_on_has_new_files_alone(images: tuner.Study) -> None:
    """The old ones go, for they show what was best before."""
    before = answer_of()
    tuner.run(tiny(data={"source": "rows.npy"}, search={"trials": 27}), workers=0)
    assert answer_of() != before
    assert "answer" not in {row.kind for row in waiting()}


def waiting() -> list[Any]:
    ledger = Ledger.open("sqlite:///tuner.db")
    try:
        return ledger.outbox.waiting(1, 100)
    finally:
        ledger.close()


def test_data_that_is_gone_is_the_reason_that_is_told(images: tuner.Study) -> None:
    """Without the rows there is nothing to show; the study stands in MLflow all the same."""
    from tuner.api.publishing import sync

    shutil.rmtree(".tuner")
    Path("rows.npy").unlink()
    ledger = Ledger.open("sqlite:///tuner.db")
    with ledger.lease(1, "publish"):
        ledger.outbox.publish_anew(1, ledger.outbox.tracking_store(1) or "")
    ledger.close()
    (done,) = sync()
    assert done.waiting == 0
    assert len(done.aside) == 1
    assert done.aside[0].startswith("answer: ")
    assert "rows.npy" in done.aside[0]


@pytest.mark.parametrize(
    ("shape", "is_one"),
    [
        ((8, 8), True),
        ((8, 8, 1), True),
        ((8, 8, 3), True),
        ((8, 8, 4), True),
        ((4, 512), True),
        ((8,), False),
        ((8, 8, 2), False),
        ((3, 8), False),
        ((8, 8, 8, 3), False),
        ((2000, 8), False),
    ],
)
def test_rows_that_can_be_looked_at(shape: tuple[int, ...], is_one: bool) -> None:
    """Gray, colours with or without transparency, of a size that a screen has and an eye can see."""
    assert is_image(shape) == is_one


@pytest.mark.parametrize("shape", [(5, 4), (4, 4, 4), (2, 6)])
def test_report_and_mlflow_agree_on_what_an_image_is(shape: tuple[int, ...], workspace: Path) -> None:
    """Where rows are images both show pictures of them and no table of features, otherwise the other way round."""
    np.save("rows.npy", np.random.default_rng(5).random((60, *shape)))
    study = tuner.run(tiny(data={"source": "rows.npy"}, search={"trials": 2, "epochs": 1}), workers=0)
    written = files(answer_of())
    page = study.report("report.html").read_text()
    expected = is_image(shape)
    assert any(name.startswith("study/images/") for name in written) == expected
    assert ("study/feature_errors.json" in written) == (not expected)
    assert ("data:image/png" in page) == expected
    assert ("Features with the largest errors" in page) == (not expected)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4)])
def test_a_picture_is_the_rows_magnified(shape: tuple[int, ...]) -> None:
    """Each original stands above its reconstruction, black to white over the originals' range."""
    raw = np.random.default_rng(1).random((COLUMNS + 1, *shape)) * 100 - 30
    rebuilt = raw[::-1] * 2
    pixels = beside(raw, rebuilt)
    factor = 10
    channels = 1 if shape[2:] in ((), (1,)) else shape[2]
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    for place in range(COLUMNS + 1):
        band, column = divmod(place, COLUMNS)
        for below, rows in enumerate((raw, rebuilt)):
            y, x = band * (2 * 30 + 8) + below * 30, column * 54
            cell = pixels[y : y + 30 : factor, x : x + 50 : factor].astype(float)
            wanted = np.clip((rows[place] - raw.min()) / (raw.max() - raw.min()), 0, 1) * 255
            np.testing.assert_allclose(cell, wanted.reshape(3, 5, channels), atol=0.51)
    assert Image.open(io.BytesIO(_png(pixels))).size == pixels.shape[1::-1]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from tuner.report.pictures import image_files

    squeezed = pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
    return next(content for name, content in image_files(squeezed, "k", "s", ["o"], 0).items() if name.endswith(".png"))
