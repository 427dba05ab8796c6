"""What every training on some rows starts from: how a network reads them, what it gives before it knows more, and PCA.

A network does not read the scaled rows x but (x - centre) / unit, the centre being the training rows' mean and the unit
one number, the root mean square of what is left. Where the loss is `mse` its outputs are in these units as well; the
losses are multiplied back, and exported layers take and give scaled rows. It is a change of variables alone: the
columns' shares of the loss stay as they are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tuner.data.bounds import Bounds
from tuner.data.linear_decoder import fit_decoder, lengths, sample
from tuner.data.pca import Tick, Values, blocks, known_means, principal, quiet
from tuner.data.terms import Terms

LEAST_SHARE = 1e-6  # what a probability is taken for at least, before its logit
_LOW, _HIGH = "low_F", "high_F"
_DECODER = "decoder_"  # an array's name in a file is this and its length of code
IDENTITY = 1e-6  # rows whose mean and unit are as near to 0 and 1 are left alone

Floats = NDArray[np.float32]
_OPENMP = "KMP_DUPLICATE_LIB_OK"  # threadpoolctl sets it when it is imported, in the caller's own process


def _threads(most: int) -> AbstractContextManager[object]:
    """At most so many threads of the libraries that multiply matrices; the environment stays as it was."""
    was_set = _OPENMP in os.environ
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    if not was_set:
        os.environ.pop(_OPENMP, None)
    limits: AbstractContextManager[object] = threadpool_limits(most)
    return limits


@dataclass(frozen=True, eq=False, slots=True)
class LinearStart:
    """Where trainings on some rows start. F features, K the longest code that PCA is asked for.

    Attributes:
        centre_F: what is taken from each column before a network reads it.
        unit: what the rest is divided by.
        outputs_F: what the outputs begin at, in the network's units: for mse 0, else the best constant's logits or
            rates.
        encoder_FK: PCA's directions on the training rows, most variance first; K is 0 where nothing starts there.
        targets: whether the outputs are in the network's units as well, not in those of the scaled rows.
        decoders: for some lengths C of the code what leads from PCA's codes to the outputs: C rows (F,), and the
            outputs' biases as the last one. For mse there are none, for PCA's own is the best there.
        bounds: between which values of scaled rows outputs are; None where they may be anything.
    """

    centre_F: Floats
    unit: float
    outputs_F: Floats
    encoder_FK: Floats
    targets: bool
    decoders: Mapping[int, Floats] = field(default_factory=dict)
    bounds: Bounds | None = None

    @classmethod
    def of(cls, train: Floats, loss: str, terms: Terms | None, codes: tuple[int, ...], tick: Tick = quiet) -> Self:
        """From training rows (N, F), in one thread: the same bits wherever they are computed again.

        Args:
            train: scaled rows; NaN is a missing value, which only rows with terms have.
            loss: `mse` or `bce`; where there are terms, they are the loss whatever it is called.
            terms: of the loss.
            codes: the lengths of code that start at PCA; none where nothing does.
            tick: called with what is being done; it may raise.
        """
        with _threads(1):
            return cls._of(train, loss, terms, codes, tick)

    @classmethod
    def _of(cls, train: Floats, loss: str, terms: Terms | None, codes: tuple[int, ...], tick: Tick) -> Self:
        longest = max(codes, default=0)
        means = known_means(train)
        fill = means if terms is not None and terms.missing else None
        centre, unit = _conditions(train, means, None if terms is None else terms.fill.astype(np.float64))
        directions = np.zeros((train.shape[1], longest), np.float32)
        if longest:
            found = principal(train, longest, tick, fill)[1][:, :longest]
            directions[:, : found.shape[1]] = found
        if terms is None and loss == "mse":
            return cls(centre, unit, np.zeros_like(centre), directions, targets=True)
        first = _logits(means) if terms is None else terms.outputs(means[None])[0]
        begun = cls(centre, unit, np.asarray(first, np.float32), directions, targets=False)
        return replace(begun, decoders={code: begun._fitted(train, terms, code, tick) for code in lengths(codes)})

    def _fitted(self, train: Floats, terms: Terms | None, code: int, tick: Tick) -> Floats:
        """The decoder of codes of that length, with its biases, (C + 1, F)."""
        rows = sample(train, code)
        read = self.read(rows if terms is None else terms.filled(rows).astype(np.float32)).astype(np.float64)
        codes_NC = read @ self.encoder_FK[:, :code].astype(np.float64)
        fitted = fit_decoder(codes_NC, rows.astype(np.float64), self.outputs_F.astype(np.float64), terms, tick)
        return np.vstack(fitted).astype(np.float32)

    def decoder(self, code: int) -> tuple[Floats, Floats]:
        """The matrix (C, F) that leads from PCA's codes of that length to the outputs, and the outputs' biases (F,)."""
        fitted = min((length for length in self.decoders if length >= code), default=None)
        if fitted is None:
            return np.ascontiguousarray(self.encoder_FK[:, :code].T), self.outputs_F
        return self.decoders[fitted][:code], self.decoders[fitted][-1]

    @property
    def loss_unit(self) -> float:
        """What a loss in the network's units is multiplied by to be one of scaled rows."""
        return self.unit**2 if self.targets else 1.0

    @property
    def output_bounds(self) -> Bounds | None:
        """The bounds in the units of the outputs."""
        if self.bounds is None or not self.targets:
            return self.bounds
        return self.bounds.of_outputs(self.centre_F, self.unit)

    def read(self, rows: Floats) -> Floats:
        """What a network reads of scaled rows (N, F), none of whose values is missing."""
        read: Floats = ((rows - self.centre_F) / np.float32(self.unit)).astype(np.float32)
        return read

    def to_bytes(self) -> bytes:
        """As an .npz file; equal starts give equal bytes."""
        arrays: dict[str, Any] = {
            "centre_F": self.centre_F,
            "unit": np.array(self.unit),
            "outputs_F": self.outputs_F,
            "encoder_FK": self.encoder_FK,
            "targets": np.array(self.targets),
            **{f"{_DECODER}{code}": both for code, both in sorted(self.decoders.items())},
        }
        if self.bounds is not None:
            arrays |= {_LOW: self.bounds.low_F, _HIGH: self.bounds.high_F}
        content = io.BytesIO()
        np.savez(content, **arrays)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` gave."""
        with np.load(io.BytesIO(content), allow_pickle=False) as known:
            return cls(
                known["centre_F"],
                float(known["unit"]),
                known["outputs_F"],
                known["encoder_FK"],
                bool(known["targets"]),
                {int(name.removeprefix(_DECODER)): known[name] for name in known if name.startswith(_DECODER)},
                Bounds(known[_LOW], known[_HIGH]) if _LOW in known else None,
            )


def _conditions(train: Floats, means: Values, fill: Values | None) -> tuple[Floats, float]:
    """The centre (F,) of training rows, and the root mean square of what is left of them."""
    total = sum(float(((block - means) ** 2).sum()) for block in blocks(train, fill))
    unit = float(np.sqrt(total / train.size)) or 1.0
    if np.abs(means).max() <= IDENTITY and abs(unit - 1) <= IDENTITY:
        return np.zeros(len(means), np.float32), 1.0
    return means.astype(np.float32), unit


def _logits(shares: Values) -> Values:
    within: Values = np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE)
    return np.log(within) - np.log1p(-within)
