"""An exported folder as a model: raw rows in, codes, reconstructions and scores out.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError, ExportError, SpecError
from tuner.learning.inference import Network
from tuner.learning.raw import RawAutoencoder
from tuner.results.card import CONFIG, FILES, METRICS, MODEL, PREPROCESS, Card, digest
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.reader import read_spec

Parsed = TypeVar("Parsed")


class ExportedModel:
    """A trained autoencoder with the scaling that it was trained with.

    Rows are raw, as they stand in the data: an array (N, F) or (N, *shape), or a DataFrame that has the
    named columns, in any order and among others. Of a DataFrame the columns are taken by name, of an array by place.

    Attributes:
        features: F.
        names: the features' names, length F.
        shape: one row's own shape, (8, 8) for images of 8 by 8, (F,) for a table.
        code_size: C.
        card: what `metrics.json` says: losses, parameters, seed, versions.
    """

    def __init__(self, card: Card, network: Network, preprocessor: Preprocessor) -> None:
        self.card, self.names, self.shape = card, preprocessor.names, preprocessor.shape
        self.features, self.code_size = card.sizes[0], card.sizes[len(card.sizes) // 2]
        self._network, self._preprocessor = network, preprocessor

    def encode(self, rows: ArrayLike | pd.DataFrame) -> NDArray[np.float32]:
        """The rows' codes, (N, C).

        Raises:
            DataError: no rows, or not such as the model was trained on; the message names the place.
        """
        return self._network.encode(self._scaled(rows))

    def reconstruct(self, rows: ArrayLike | pd.DataFrame) -> Any:
        """What the model makes of the rows, in the data's own units.

        Returns:
            A float64 array of the shape that was given; for a DataFrame a DataFrame of the model's columns, in their
            order, with the same index.

        Raises:
            DataError: as for `encode`.
        """
        raw = self._preprocessor.inverse(self._network.reconstruct(self._scaled(rows)))
        if isinstance(rows, pd.DataFrame):
            return pd.DataFrame(raw.reshape(len(raw), -1), index=rows.index, columns=list(self.names))
        return raw.reshape(np.shape(rows))

    def score(self, rows: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """Each row's error, (N,): the training loss, averaged over the features, in scaled space. High is unusual.

        A row too far out for single precision scores infinity.

        Raises:
            DataError: as for `encode`.
        """
        losses = self._network.losses(self._scaled(rows))
        return np.where(np.isnan(losses), np.inf, losses)

    def module(self) -> RawAutoencoder:
        """The model with its scaling as one torch module: raw rows (N, *shape) to their reconstructions."""
        fitted = self._preprocessor
        return RawAutoencoder(self._network, fitted.offset, fitted.scale, fitted.clip)

    def _scaled(self, rows: ArrayLike | pd.DataFrame) -> NDArray[np.float32]:
        scaled = self._preprocessor.transform(rows)
        if not len(scaled):
            raise DataError("data: there must be at least one row, got none.")
        return scaled


def load_model(folder: str | Path) -> ExportedModel:
    """Read what `tuner export` wrote; every file of it is checked, and nothing in it can run code.

    Raises:
        ExportError: the folder is no export, or a file of it is missing, damaged or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExportError(f"{folder}: expected a folder that `tuner export` wrote, got {_kind(folder)}.")
    content = {name: _read(folder / name) for name in sorted(FILES)}
    card = _parsed(folder / METRICS, lambda: Card.model_validate_json(content[METRICS]))
    for name in (MODEL, PREPROCESS):
        if digest(content[name]) != card.files.get(name):
            raise ExportError(f"{folder / name}: expected the file that was exported, got one with other content.")
    preprocessor = _parsed(folder / PREPROCESS, lambda: Preprocessor.from_json(content[PREPROCESS].decode()))
    if len(preprocessor.names) != card.sizes[0]:
        raise ExportError(
            f"{folder / PREPROCESS}: expected {card.sizes[0]} features, as in {METRICS}, got {len(preprocessor.names)}."
        )
    _check_config(folder / CONFIG, card)
    return ExportedModel(card, Network.load(folder / MODEL, card.sizes, card.activation, card.loss), preprocessor)


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: expected a file of an export, got: {error.strerror}.") from error


def _parsed(path: Path, parse: Callable[[], Parsed]) -> Parsed:
    try:
        return parse()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ExportError(f"{path}: {where}{': ' if where else ''}{first['msg']}.") from error
    except (DataError, ValueError, RecursionError) as error:
        raise ExportError(f"{path}: expected what was exported, got: {error}.") from error


def _check_config(path: Path, card: Card) -> None:
    """The declaration may have been edited for another training, but it must still describe this model."""
    try:
        spec = read_spec(path)
    except SpecError as error:
        raise ExportError(f"expected the exported declaration, got: {error.problems[0]}") from error
    if searched := spec.space.searched():
        raise ExportError(f"{path}: expected every hyperparameter fixed, got a range for {next(iter(searched))}.")
    point = Hyperparameters(**spec.space.fixed())  # type: ignore[arg-type]
    described: dict[str, Any] = {
        "sizes": layer_sizes(card.sizes[0], point),
        "activation": point.activation,
        "loss": spec.loss,
    }
    for key, value in described.items():
        if value != (expected := getattr(card, key)):
            raise ExportError(f"{path}: expected {key} {expected}, as in {METRICS}, got {value}.")
