"""Data sets that packages ship, as files of a folder with a space file for each: what a search is judged on.

Tables come from scikit-learn, statsmodels, lifelines, vega_datasets and plotly (`pip install` the three in the middle),
images from scikit-learn and a map of heights from matplotlib, cut into patches. Large sets are cut down to ROWS drawn
rows, so that a few hundred trainings of each take minutes. What a space file says of a table's columns is what
`tuner init` writes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tuner.data.initial import space_file
from tuner.data.inspection import inspect
from tuner.data.sources import Sources
from tuner.spec.data import DataSpec

ROWS = 900


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        family: sets of one family are alike, and are left out together.
        source: writes it into a folder, and returns what a space file names.
        code: length of the code; None for what `tuner init` proposes.
        loss: of the reconstruction.
    """

    family: str
    source: Callable[[Path], str]
    code: int | None = None
    loss: str = "auto"


def _bundled(name: str) -> Callable[[Path], str]:
    return lambda _: f"sklearn:{name}"


def _digits(folder: Path) -> str:
    from sklearn.datasets import load_digits

    np.save(folder / "digits.npy", load_digits().data[:ROWS].astype(np.float32))
    return "digits.npy"


def _table(package: str, inside: str) -> Callable[[Path], str]:
    """ROWS drawn lines of a package's CSV file, as they stand."""

    def write(folder: Path) -> str:
        lines = (_place(package) / inside).read_text(encoding="utf-8").splitlines(keepends=True)
        rows = lines[1:]
        if len(rows) > ROWS:
            chosen = np.sort(np.random.default_rng(0).choice(len(rows), ROWS, replace=False))
            rows = [rows[number] for number in chosen]
        path = folder / Path(inside).name
        path.write_text("".join([lines[0], *rows]), encoding="utf-8")
        return path.name

    return write


def _gapminder(folder: Path) -> str:
    import pandas as pd

    path = folder / "gapminder.csv"
    table = pd.read_csv(_place("plotly") / "package_data/datasets/gapminder.csv.gz")
    table.sample(ROWS, random_state=0).to_csv(path, index=False)
    return path.name


def _patches(name: str, load: Callable[[], NDArray[Any]], side: int) -> Callable[[Path], str]:
    """ROWS drawn square patches of a picture, one a row."""

    def write(folder: Path) -> str:
        picture = np.asarray(load(), np.float32)
        drawn = np.random.default_rng(0)
        tops = drawn.integers(0, picture.shape[0] - side, ROWS)
        lefts = drawn.integers(0, picture.shape[1] - side, ROWS)
        places = zip(tops, lefts, strict=True)
        rows = np.stack([picture[top : top + side, left : left + side].reshape(-1) for top, left in places])
        np.save(folder / f"{name}.npy", rows)
        return f"{name}.npy"

    return write


def _picture(name: str) -> NDArray[Any]:
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image(name))


def _heights() -> NDArray[Any]:
    with np.load(_place("matplotlib") / "mpl-data/sample_data/jacksboro_fault_dem.npz") as file:
        return np.asarray(file["elevation"])


def _place(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed: pip install {package.replace('_', '-')}")
    return Path(found.origin).parent


SETS: dict[str, DataSet] = {
    "digits": DataSet("digits", _digits, 8, "mse"),
    "digits_bce": DataSet("digits", _digits, 8, "bce"),
    "breast_cancer": DataSet("breast_cancer", _bundled("breast_cancer"), 5, "mse"),
    "wine": DataSet("wine", _bundled("wine"), 4, "mse"),
    "diabetes": DataSet("diabetes", _bundled("diabetes"), 3, "mse"),
    "flower": DataSet("pictures", _patches("flower", lambda: _picture("flower.jpg").mean(axis=2), 8), 8, "mse"),
    "china": DataSet("pictures", _patches("china", lambda: _picture("china.jpg"), 6), 12, "mse"),
    "heights": DataSet("heights", _patches("heights", _heights, 8), 6, "mse"),
    "star98": DataSet("star98", _table("statsmodels", "datasets/star98/star98.csv")),
    "fair": DataSet("fair", _table("statsmodels", "datasets/fair/fair.csv")),
    "anes96": DataSet("anes96", _table("statsmodels", "datasets/anes96/anes96.csv")),
    "births": DataSet("births", _table("statsmodels", "treatment/tests/results/cataneo2.csv")),
    "gbsg2": DataSet("gbsg2", _table("lifelines", "datasets/gbsg2.csv")),
    "actg175": DataSet("actg175", _table("lifelines", "datasets/ACTG175.csv")),
    "weather": DataSet("weather", _table("vega_datasets", "_data/seattle-weather.csv")),
    "gapminder": DataSet("gapminder", _gapminder),
}


def declaration(name: str, folder: Path) -> dict[str, Any]:
    """What a space file says of a set, whose data are written into the folder: data, loss and the code's length."""
    chosen = SETS[name]
    source = chosen.source(folder)
    if chosen.code is not None:
        return {"name": name, "data": {"source": source}, "loss": chosen.loss, "space": {"bottleneck": chosen.code}}
    written = yaml.safe_load(space_file(inspect(DataSpec(source=source), Sources(folder))))
    return {"name": name, "data": written["data"], "loss": chosen.loss, "space": written["space"]}
