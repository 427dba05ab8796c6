"""What the winner does with rows: reconstructions, errors by feature, and a picture of its code.

The validation rows are shown, in any state of the study: the test rows are for the last score alone.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.baselines import value_losses
from tuner.analysis.columns import column_quality
from tuner.analysis.trained import Trained
from tuner.answers.parts import ColumnQuality
from tuner.data.encoded import EncodedColumn
from tuner.data.parts import column_sums
from tuner.data.pca import known_means, rows_at_once
from tuner.data.preprocess import Preprocessor
from tuner.data.rows import Rows
from tuner.learning.inference.network import Network
from tuner.report.cells import WorstCell, worst_cells
from tuner.report.pictures import is_image

GROUP = 5  # rows each of the best, the typical and the worst
MOST_FEATURES = 25
MOST_CODES = 1500
MOST_ROWS = 20_000  # that are looked at
MOST_VALUES = 50_000_000  # of them, 0.4 GB in double precision
SIDE = 96  # pixels of a thumbnail at most

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """A validation row: its number in the source from 1, its loss and, of an image, two data URIs.

    Of a table, the column that is reconstructed worst.
    """

    row: int
    error: float
    original: str | None = None
    rebuilt: str | None = None
    worst: WorstCell | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature's mean squared error, and that of the training rows' mean; of a table's column its mean loss."""

    name: str
    error: float
    spread: float


@dataclass(frozen=True, slots=True)
class CodePoint:
    """A row's code in two dimensions, its loss, and its number in the source from 1."""

    x: float
    y: float
    error: float
    row: int


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of the rows' losses: 5 %, 50 %, 95 %, and the largest."""

    low: float
    median: float
    high: float
    worst: float


@dataclass(frozen=True, slots=True)
class Examples:
    """What the winner makes of validation rows.

    Attributes:
        rows: validation rows.
        looked_at: as many of them, the first ones, are counted here.
        errors: quantiles of the rows' losses.
        groups: the best, typical and worst rows, by these names.
        features: the worst first, of a table its columns; none of images.
        feature_count: of a row.
        columns: of a table, how well each column is reconstructed.
        codes: some rows' codes.
        explained: the shares of the code's variance that x and y show.
        code: its length.
    """

    rows: int
    looked_at: int
    errors: Quantiles
    groups: Mapping[str, Sequence[Row]]
    features: Sequence[Feature]
    feature_count: int
    codes: Sequence[CodePoint]
    explained: Sequence[float]
    code: int
    columns: Sequence[ColumnQuality] = ()


def examples(trained: Trained) -> Examples:
    """What the winner makes of validation rows."""
    network, rows, places = trained.network, trained.rows, trained.places
    fitted = trained.prepared.preprocessor
    looked_at = rows.validation[: max(1, min(MOST_ROWS, MOST_VALUES // rows.validation.shape[1]))]
    losses, codes = network.losses(looked_at), network.encode(looked_at)
    low, median, high = (float(np.quantile(losses, share)) for share in (0.05, 0.5, 0.95))
    points, explained = _codes(codes, losses, places)
    by_column = _ByColumn.of(fitted, network, rows, looked_at)
    return Examples(
        rows=len(rows.validation),
        looked_at=len(looked_at),
        errors=Quantiles(low, median, high, float(losses.max())),
        groups=_groups(losses, places, _detailed(fitted, network, looked_at)),
        features=by_column.features,
        feature_count=by_column.count,
        codes=points,
        explained=explained,
        code=int(codes.shape[1]),
        columns=by_column.quality,
    )


_Detailed = Callable[[NDArray[np.intp], list[Row]], list[Row]]  # rows at some places with all that is shown of them


def _detailed(fitted: Preprocessor, network: Network, rows: NDArray[np.float32]) -> _Detailed:
    """What adds to rows their pictures, or of a table the column that is reconstructed worst."""
    if is_image(fitted.shape):
        pictures = _Pictures(fitted, rows, network.reconstruct(rows))
        return lambda places, found: [pictures.beside(row, int(at)) for row, at in zip(found, places, strict=True)]
    if fitted.table is None:
        return lambda _, found: found

    def worst(places: NDArray[np.intp], found: list[Row]) -> list[Row]:
        chosen = np.asarray(rows[places])
        cells = worst_cells(fitted, chosen, network.reconstruct(chosen), network.cells(chosen)) if found else []
        return [replace(row, worst=cell) for row, cell in zip(found, cells, strict=True)]

    return worst


@dataclass(frozen=True, slots=True)
class _ByColumn:
    """What is said of features, or of a table's columns."""

    features: Sequence[Feature] = ()
    count: int = 0
    quality: Sequence[ColumnQuality] = ()

    @classmethod
    def of(cls, fitted: Preprocessor, network: Network, rows: Rows, looked_at: NDArray[np.float32]) -> _ByColumn:
        if is_image(fitted.shape):
            return cls(count=len(fitted.names))
        if fitted.table is None:
            rebuilt = network.reconstruct(looked_at)
            return cls(_features(rows.train, looked_at, rebuilt, fitted.names), len(fitted.names))
        columns = [column for column in fitted.table.columns if column.weight > 0]
        judge = value_losses(network.loss, network.terms)
        quality = column_quality(columns, judge, looked_at, network.reconstruct)
        features = _column_features(columns, known_means(rows.train), network, looked_at)
        return cls(features, len(columns), quality)


class _Pictures:
    """Rows as thumbnails, all from black to white by one range: that of the originals."""

    def __init__(self, preprocessor: Preprocessor, rows: NDArray[np.float32], rebuilt: NDArray[np.float32]) -> None:
        self._preprocessor, self._pairs = preprocessor, (rows, rebuilt)
        raw = preprocessor.inverse(rows[:1000])
        self._low, self._high = float(raw.min()), float(raw.max())

    def beside(self, row: Row, place: int) -> Row:
        """The row at a place, with the original and its reconstruction."""
        both = (self._preprocessor.inverse(rows[place : place + 1])[0] for rows in self._pairs)
        original, rebuilt = map(self._uri, both)
        return replace(row, original=original, rebuilt=rebuilt)

    def _uri(self, raw: Values) -> str:
        from PIL import Image  # noqa: PLC0415 - only images need it

        span = self._high - self._low or 1.0
        grey = np.nan_to_num(np.clip((raw - self._low) / span, 0, 1) * 255).round().astype(np.uint8)
        image = Image.fromarray(grey[..., 0] if grey.ndim == 3 and grey.shape[2] == 1 else grey)
        image.thumbnail((SIDE, SIDE))
        content = io.BytesIO()
        image.save(content, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _groups(losses: Values, places: NDArray[np.int64], detailed: _Detailed) -> dict[str, list[Row]]:
    """Rows by their loss: from the lowest, around the median, from the highest; no row twice."""
    order = np.argsort(losses, kind="stable")
    size = min(GROUP, max(1, len(order) // 3))
    middle = max(size, (len(order) - size) // 2)
    chosen = {"best": order[:size], "typical": order[size:][middle - size : middle], "worst": order[size:][::-1][:size]}
    if len(order) < 3:
        chosen = {"best": order[:size], "worst": order[size:][::-1]}
    return {
        name: detailed(found, [Row(int(places[at]) + 1, float(losses[at])) for at in found])
        for name, found in chosen.items()
    }


def _column_features(
    columns: Sequence[EncodedColumn], mean: Values, network: Network, rows: NDArray[np.float32]
) -> list[Feature]:
    """Each column's mean loss over the rows that have a value, beside the mean predictor's; the worst first."""
    judge = value_losses(network.loss, network.terms)
    lost, spread, observed = np.zeros(len(mean)), np.zeros(len(mean)), np.zeros(len(mean))
    count = rows_at_once(rows.shape[1])
    for start in range(0, len(rows), count):
        part = np.asarray(rows[start : start + count])
        lost += network.cells(part).sum(0)
        spread += judge(part.astype(np.float64), np.broadcast_to(mean, part.shape)).sum(0)
        observed += (~np.isnan(part)).sum(0)
    errors, spreads = (column_sums(columns, values[None])[0] for values in (lost, spread))
    known = np.array([max(1.0, observed[column.first]) for column in columns])
    worst = np.argsort(-errors / known, kind="stable")[:MOST_FEATURES]
    return [Feature(columns[at].name, float(errors[at] / known[at]), float(spreads[at] / known[at])) for at in worst]


def _features(
    train: NDArray[np.float32], rows: NDArray[np.float32], rebuilt: NDArray[np.float32], names: tuple[str, ...]
) -> list[Feature]:
    """Mean squared errors by feature, scaled, beside those of the training rows' mean; the worst first."""
    errors = _squares(rows, rebuilt)
    spread = _squares(rows, train.mean(axis=0, dtype=np.float64))
    worst = np.argsort(-errors, kind="stable")[:MOST_FEATURES]
    return [Feature(names[at], float(errors[at]), float(spread[at])) for at in worst]


def _squares(rows: NDArray[np.float32], guess: NDArray[Any]) -> Values:
    squares: Values = ((rows.astype(np.float64) - guess) ** 2).mean(axis=0)
    return squares


def _codes(
    codes: NDArray[np.float32], losses: Values, places: NDArray[np.int64]
) -> tuple[list[CodePoint], list[float]]:
    """The code's two directions of largest variance (PCA); of a code of one unit, it against the loss.

    With the shares of the variance that they show.
    """
    count = min(MOST_CODES, len(codes))
    kept = np.arange(count) * len(codes) // count
    centred = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / (float((sizes**2).sum()) or 1.0)
    if codes.shape[1] == 1:
        points = np.column_stack([codes[:, 0], losses])[kept]
    else:
        flat = centred @ directions[:2].T
        points = np.column_stack([flat, np.zeros((len(flat), 2 - flat.shape[1]))])[kept]
    found = [
        CodePoint(float(x), float(y), float(losses[at]), int(places[at]) + 1)
        for (x, y), at in zip(points, kept, strict=True)
    ]
    return found, [float(share) for share in shares[:2]]
