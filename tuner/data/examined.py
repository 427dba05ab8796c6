"""What data are once they fit a declaration, and what has to hold of tables and arrays alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.data.dataset import Data, Numbers
from tuner.data.fit_terms import Wanted
from tuner.data.preprocess import Preprocessor
from tuner.data.split import Split
from tuner.errors import DataError
from tuner.spec.data import ColumnType
from tuner.spec.distributions import IntDistribution
from tuner.spec.names import Loss
from tuner.spec.study import StudySpec


@dataclass(frozen=True, eq=False, slots=True)
class Examined:
    """Data that fits a declaration.

    Attributes:
        data: the rows.
        split: which of them are for what.
        preprocessor: fitted on the training rows.
        loss: what the declaration's loss comes to on these data.
        wanted: what that loss is made of, column by column.
        notes: what was decided about the data, a sentence each.
        numbers: each row's number in the source, of a table; None where it is its place.
    """

    data: Data
    split: Split
    preprocessor: Preprocessor
    loss: Loss
    wanted: Wanted
    notes: tuple[str, ...] = ()
    numbers: Numbers | None = None


def settled(spec: StudySpec, types: Sequence[ColumnType] = ()) -> Loss:
    """What the declared loss comes to, for columns of these types; an array's are all numbers."""
    if spec.loss != "auto":
        return spec.loss
    return "mixed" if {"boolean", "categorical"} & set(types) else "mse"


def check_batch_size(spec: StudySpec, rows: int) -> None:
    """Refuse batches of more rows than there are to train on.

    Raises:
        DataError: the space has some.
    """
    batch = spec.space.largest("batch_size")
    if batch > rows:
        key = "space.batch_size.high" if isinstance(spec.space.batch_size, IntDistribution) else "space.batch_size"
        raise DataError(f"{key} must be at most {rows}, the rows to train on, got {batch}.")
