"""A trained autoencoder as numpy sees it: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from tuner.data.bounds import NONE
from tuner.data.terms import Terms
from tuner.errors import ExportError
from tuner.learning.inference.model import Autoencoder
from tuner.learning.inference.raw import RawModel
from tuner.learning.layout import BOUNDS, SKIPS
from tuner.learning.stacked.pack import reproducible

ROWS_AT_ONCE = 4096

Rows = NDArray[np.float32]


class Network:
    """One autoencoder with its weights.

    Args:
        sizes: units of every layer, input and output included.
        activation: the hidden layers' function.
        loss: `mse` or `bce`.
        weights: the plain module's names to arrays; they show whether layers are normalised, the code variational,
            whether a skip leads around both halves, and whether outputs have bounds.
        terms: of the loss, whatever that is called; then a missing value of a row is NaN.

    Shapes: rows are (N, F) and scaled, codes (N, C); a variational code is its mean.

    Attributes:
        variational: the code has a log-variance.
        norm: hidden layers are normalised.
        skip: a linear way leads around encoder and decoder.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: str,
        loss: str,
        weights: dict[str, Rows],
        terms: Terms | None = None,
    ) -> None:
        self.sizes, self.activation, self.loss, self.terms = sizes, activation, loss, terms
        self.variational = "log_variance.weight" in weights
        self.norm = "encoder.1.weight" in weights  # without normalisation this is the activation, which has no weights
        self.skip = SKIPS[0] in weights
        parts = {"norm": self.norm, "variational": self.variational, "skip": self.skip, "bounded": BOUNDS[0] in weights}
        self._model = Autoencoder(sizes, activation, loss, **parts, terms=terms)
        self._model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        self._model.eval()

    def __reduce__(self) -> tuple[type[Network], tuple[Any, ...]]:
        """For another process: the weights go as plain arrays."""
        return Network, (self.sizes, self.activation, self.loss, self.weights(), self.terms)

    @property
    def module(self) -> Autoencoder:
        """The plain module, evaluating."""
        return self._model

    def encode(self, rows: Rows) -> Rows:
        """(N, F) to codes (N, C)."""
        return self._in_parts(self._model.encode, rows)

    def posterior(self, rows: Rows) -> tuple[Rows, Rows]:
        """(N, F) to the means and log-variances (N, C) of a variational code.

        Raises:
            TypeError: the autoencoder is not variational.
        """
        both = self._in_parts(lambda part: torch.cat(self._model.posterior(part), 1), rows)
        return both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]

    def decode(self, codes: Rows) -> Rows:
        """Codes (N, C) to rows (N, F)."""
        return self._in_parts(lambda part: self._model.link(self._model.output(part)), codes)

    def reconstruct(self, rows: Rows) -> Rows:
        """(N, F) to (N, F)."""
        return self._in_parts(self._model.reconstruct, rows)

    def losses(self, rows: Rows) -> NDArray[np.float64]:
        """Each row's score, (N,): its mean loss over its features, see `Autoencoder.scores`."""
        return self._in_parts(self._model.scores, rows).astype(np.float64)

    def cells(self, rows: Rows) -> NDArray[np.float64]:
        """The loss of each feature, (N, F); by terms weighted, and 0 where one is missing."""
        return self._in_parts(self._model.losses, rows).astype(np.float64)

    def mean_loss(self, rows: Rows) -> float:
        """The mean loss over all rows and features, as trained: of a split multiplied by `Terms.scale`, if any."""
        return float(self._in_parts(lambda part: self._model.losses(part).double().mean(1), rows).mean())

    @property
    def parameters(self) -> int:
        """Trainable values."""
        return sum(value.numel() for value in self._model.parameters())

    @property
    def bounded(self) -> int:
        """Columns whose outputs have a limit on one side at least."""
        bounds = self._model.bounds
        return 0 if bounds is None else int(((bounds.low > -NONE) | (bounds.high < NONE)).sum())

    def weights(self) -> dict[str, Rows]:
        """The plain module's names to arrays."""
        return {name: value.numpy() for name, value in self._model.state_dict().items()}

    def raw(
        self,
        offset: NDArray[np.float64],
        scale: NDArray[np.float64],
        clip: bool,
        limit: NDArray[np.float64] | None = None,
    ) -> RawModel:
        """The network behind its scaling, as one module."""
        return RawModel(self._model, offset, scale, clip, limit)

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        path.write_bytes(save(self.weights()))

    @classmethod
    def read(
        cls,
        content: bytes,
        where: str,
        sizes: tuple[int, ...],
        activation: str,
        loss: str,
        terms: Terms | None = None,
    ) -> Network:
        """Read what `save` wrote.

        Args:
            content: the file's bytes.
            where: the file's name, for messages.
            sizes: units of every layer.
            activation: the hidden layers' function.
            loss: `mse` or `bce`.
            terms: of the loss, whatever that is called.

        Raises:
            ExportError: not these layers' weights, or such as are no finite numbers.
        """
        try:
            weights = load(content)
            _check_weights(weights, sizes)
            return cls(sizes, activation, loss, weights, terms)
        except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ExportError(f"{where}: expected the weights of layers {list(sizes)}, got: {reason}") from error

    @staticmethod
    def _in_parts(function: Callable[[Tensor], Tensor], rows: Rows) -> Rows:
        with reproducible():
            parts = [
                function(torch.from_numpy(np.ascontiguousarray(rows[start : start + ROWS_AT_ONCE]))).numpy()
                for start in range(0, max(1, len(rows)), ROWS_AT_ONCE)
            ]
        return np.concatenate(parts)


def _check_weights(weights: dict[str, Rows], sizes: tuple[int, ...]) -> None:
    """Before room is made for layers of these sizes."""
    least, found = sum(map(mul, sizes, sizes[1:])), sum(value.size for value in weights.values())
    if found < least:
        raise ValueError(f"{found} values, which must be {least} or more")
    for name, value in weights.items():
        if value.dtype != np.float32:
            raise ValueError(f"{name} of type {value.dtype}, which must be float32")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} with values that are not finite")
