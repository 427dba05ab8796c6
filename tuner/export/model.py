"""An exported folder as a model: raw rows in, codes, reconstructions and scores out.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tuner.errors import DataError, ExportError
from tuner.export.model_card import DENSITY
from tuner.export.read import AGAIN, Exported, read_export
from tuner.export.runtimes import TorchEngine

if TYPE_CHECKING:
    from tuner.learning.inference.raw import RawReconstruction


class ExportedModel:
    """A trained autoencoder with the scaling that it was trained with.

    Rows are raw, as the data has them: an array (N, F) or (N, *shape), or a DataFrame that has the
    named columns, in any order and among others. Of a DataFrame the columns are taken by name, of an array by place.

    A model of a table takes tables alone: a DataFrame, or anything that can be read as one. Where it was not trained
    to leave missing values out, a row with one gives NaN.

    Attributes:
        features: F, the numbers that a row becomes.
        names: the features' names, length F; of a table's model the table's columns.
        shape: one row's own shape, (8, 8) for images of 8 by 8, (F,) for a table.
        code_size: C.
        card: what `metrics.json` says: losses, parameters, seed, versions.
        threshold: rows that score higher are unusual: a quantile of scores, on rows that `card.anomaly` names. None
            where there is none: in an export in the first form, or where too many rows scored infinity.
    """

    def __init__(self, exported: Exported) -> None:
        card, preprocessor = exported.card, exported.preprocessor
        table = preprocessor.table
        self.card, self.shape = card, preprocessor.shape
        self.names = preprocessor.names if table is None else table.table_names
        self.features, self.code_size = card.sizes[0], exported.code_size
        self.threshold = card.anomaly.threshold if card.anomaly else None
        self._engine, self._preprocessor = TorchEngine(exported), preprocessor
        self._density, self._folder = exported.density, exported.folder

    def encode(self, rows: ArrayLike | pd.DataFrame) -> NDArray[np.float32]:
        """The rows' codes, (N, C).

        Raises:
            DataError: no rows, or not such as the model was trained on; the message names the place.
        """
        return self._engine.encode(self._rows(rows))

    def reconstruct(self, rows: ArrayLike | pd.DataFrame) -> Any:
        """What the model makes of the rows, in the data's own units.

        Returns:
            A float64 array of the shape that was given; for a DataFrame a DataFrame of the model's columns, in their
            order, with the same index.

        Raises:
            DataError: as for `encode`.
        """
        raw = self._engine.reconstruct(self._rows(rows))
        if self._preprocessor.table is not None:
            return self._preprocessor.table.decode(raw).set_axis(_index(rows, len(raw)), axis=0)
        if isinstance(rows, pd.DataFrame):
            return pd.DataFrame(raw.reshape(len(raw), -1), index=rows.index, columns=list(self.names))
        return raw.reshape(np.shape(rows))

    def score(self, rows: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Each row's error, (N,): the training loss, averaged over the features, in scaled space. High is unusual.

        A row too far out for single precision scores infinity.

        Raises:
            DataError: as for `encode`.
        """
        return self._engine.score(self._rows(rows))

    def parts(self, rows: ArrayLike | pd.DataFrame) -> Any:
        """What each column adds to each row's score: why it is unusual. A row's parts sum to its score.

        Returns:
            Of a table a DataFrame with the model's columns, and the index of a DataFrame that is given; so of a
            DataFrame for any other model; else an array (N, F).

        Raises:
            DataError: as for `encode`.
        """
        parts = self._engine.parts(self._rows(rows))
        if self._preprocessor.table is None and not isinstance(rows, pd.DataFrame):
            return parts
        return pd.DataFrame(parts, index=_index(rows, len(parts)), columns=list(self.names))

    def decode(self, codes: ArrayLike) -> Any:
        """What the model makes of codes (N, C), in the data's own units: (N, *shape), of a table a DataFrame.

        Raises:
            DataError: codes of another size, or that are no finite numbers.
        """
        codes_NC = np.asarray(codes, dtype=np.float32)
        if codes_NC.ndim != 2 or codes_NC.shape[1] != self.code_size or not np.isfinite(codes_NC).all():
            raise DataError(f"codes: must be finite numbers of the shape (N, {self.code_size}), got {codes_NC.shape}.")
        return self._written(self._preprocessor.inverse(self._engine.network.decode(codes_NC)))

    def sample(self, count: int, seed: int = 0) -> Any:
        """Draw new rows, (count, *shape), in the data's own units: decoded codes of the density that was fitted.

        Of a table it is a DataFrame, in which a level is the likeliest one.

        With scaling minmax they lie within the training rows' range. The first rows of many are those of few.

        Raises:
            DataError: `count` or `seed` is no whole number from 0 on.
            ExportError: the export has no density, for an earlier version made it.
        """
        parts = list(self.samples(count, seed))
        if self._preprocessor.table is not None:
            return pd.concat([self._written(np.empty((0, *self.shape))), *parts], ignore_index=True)
        return np.concatenate([np.empty((0, *self.shape)), *parts])

    def samples(self, count: int, seed: int = 0) -> Iterator[Any]:
        """The rows of `sample`, some thousands at a time.

        Raises:
            DataError, ExportError: as for `sample`.
        """
        if self._density is None:
            raise ExportError(f"{self._folder / DENSITY}: expected a file of an export, got {AGAIN}.")
        for codes in self._density.samples(_whole("count", count), _whole("seed", seed)):
            scaled, fitted = self._engine.network.decode(codes), self._preprocessor
            bounded = fitted.scaling == "minmax" and fitted.table is None
            yield self._written(fitted.inverse(scaled.clip(0, 1) if bounded else scaled))

    def encoded(self, table: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Rows as model.onnx and model.pt2 take them, (N, F): of a table its columns as numbers, else as they are.

        Raises:
            DataError: as for `encode`.
        """
        return self._rows(table)

    def module(self) -> RawReconstruction:
        """The model with its scaling as one torch module: raw rows (N, *shape) to their reconstructions."""
        from tuner.learning.inference.raw import RawReconstruction  # noqa: PLC0415 - (torch, 0.8 s)

        fitted = self._preprocessor
        return RawReconstruction(self._engine.network.raw(fitted.offset, fitted.scale, fitted.clip, fitted.limit))

    def _written(self, raw: NDArray[np.float64]) -> Any:
        """Raw rows as the data has them: an array, or a table."""
        table = self._preprocessor.table
        return raw if table is None else table.decode(raw)

    def _rows(self, rows: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        raw = self._preprocessor.rows(rows)
        if not len(raw):
            raise DataError("data: there must be at least one row, got none.")
        return raw


def _index(rows: object, count: int) -> pd.Index[Any]:
    return rows.index if isinstance(rows, pd.DataFrame) else pd.RangeIndex(count)


def _whole(name: str, value: int) -> int:
    """The value, which numpy may have made.

    Raises:
        DataError: it is no whole number from 0 on.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise DataError(f"{name}: must be a whole number from 0 on, got {value!r}.")
    return int(value)


def load_model(folder: str | Path) -> ExportedModel:
    """Read what `tuner export` wrote; every file is checked before it is used, and nothing in it can run code.

    Raises:
        ExportError: the folder is no export, or a file of it is missing, damaged or does not fit the others.
    """
    return ExportedModel(read_export(folder))
