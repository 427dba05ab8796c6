"""Which validation rows and features a trial reconstructs worst.

Legend: N validation rows, F features.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.baselines import value_losses
from tuner.answers.columns import worst_first
from tuner.answers.parts import ColumnQuality
from tuner.data.parts import column_sums
from tuner.data.pca import rows_at_once
from tuner.data.preprocess import Preprocessor
from tuner.data.terms import Terms
from tuner.learning.scoring import reconstruct
from tuner.report.cells import worst_cells
from tuner.report.pictures import is_image
from tuner.spec.architecture import Hyperparameters

Matrix = NDArray[np.float32]
MOST_ROWS = 20
MOST_FEATURES = 1000


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A trial's best epoch: `weights` are the plain module's names to arrays; the `compiled` step runs it, or torch.

    Its loss is by `terms` where there are any.
    """

    point: Hyperparameters
    loss: str
    weights: dict[str, Matrix]
    compiled: bool
    terms: Terms | None = None

    def rebuilt(self, rows: Matrix) -> Matrix:
        """Scaled rows (N, F) to their reconstructions (N, F)."""
        return reconstruct(self.point, self.loss, self.weights, rows, self.compiled, self.terms)

    def losses(self, rows: Matrix, guess: Matrix) -> NDArray[np.float64]:
        """The (N, F) loss of each feature of rows (N, F), given their reconstructions (N, F)."""
        return value_losses(self.loss, self.terms)(rows.astype(np.float64), guess.astype(np.float64))


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """Mean losses in scaled space: of each row (N,) over its features, of each feature (F,) over the rows.

    By terms a row's is its score, see `Terms.scores`.
    """

    of_rows: NDArray[np.float64]
    of_features: NDArray[np.float64]

    @classmethod
    def of(cls, model: Model, rows: Matrix) -> Errors:
        """Of scaled rows (N, F), some at a time."""
        of_rows, sums = [], np.zeros(rows.shape[1])
        count = rows_at_once(rows.shape[1])
        for start in range(0, len(rows), count):
            part = np.asarray(rows[start : start + count])
            errors = model.losses(part, model.rebuilt(part))
            of_rows.append(errors.mean(1) if model.terms is None else model.terms.scores(errors, part))
            sums += errors.sum(0)
        return cls(np.concatenate(of_rows), sums / len(rows))

    def worst(self, most: int) -> NDArray[np.intp]:
        """The places of the rows with the largest errors, the worst first."""
        return np.argsort(-self.of_rows, kind="stable")[:most]


def worst_rows(model: Model, rows: Matrix, errors: Errors, numbers: Sequence[int], fitted: Preprocessor) -> bytes:
    """A table of the worst rows, as MLflow stores tables.

    Args:
        model: whose reconstructions they are.
        rows: scaled validation rows (N, F).
        errors: of these rows.
        numbers: each row's number in the data, (N,), counted from 0; the table counts from 1, as messages do.
        fitted: names the columns; of rows that are no images, each one's worst is shown in the data's own units.
    """
    places = errors.worst(MOST_ROWS)
    found = [(int(numbers[place]) + 1, float(errors.of_rows[place])) for place in places]
    if is_image(fitted.shape):
        return table(("row", "error"), found)
    chosen = np.asarray(rows[places])
    guess = model.rebuilt(chosen)
    details = worst_cells(fitted, chosen, guess, model.losses(chosen, guess))
    columns = ("row", "error", "worst feature", "its value", "its reconstruction")
    return table(columns, [(*row, one.name, one.value, one.guess) for row, one in zip(found, details, strict=True)])


def feature_errors(errors: Errors, fitted: Preprocessor) -> bytes:
    """A table of the features, of a table its columns, the worst first, each with its share of the whole error."""
    names, found = fitted.names, errors.of_features
    if fitted.table is not None:
        names, found = fitted.table.table_names, column_sums(fitted.table.declared, found[None])[0]
    total = float(found.sum()) or 1.0
    order = np.argsort(-found, kind="stable")[:MOST_FEATURES]
    rows = [(names[i], float(found[i]), float(found[i]) / total) for i in order]
    return table(("feature", "error", "share"), rows)


def columns_table(columns: Sequence[ColumnQuality]) -> bytes:
    """A table of how well each column of the test rows is reconstructed, the worst first."""
    head = tuple(ColumnQuality.model_fields)
    return table(head, [[getattr(one, name) for name in head] for one in worst_first(columns)])


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """What `mlflow.log_table` leaves: pandas' split form."""
    return json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}).encode()
