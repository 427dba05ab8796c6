"""What crosses the border to the compiled step: structures, and the description that both sides must give of them.

The other side is `model.hpp` and `border.hpp`. A build describes itself when it is loaded, and one whose description
is not `description()` to the letter is refused: it would be handed memory that it reads otherwise.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tuner.data.bounds import Bounds
from tuner.data.linear_start import LinearStart
from tuner.data.terms import Kind, Terms
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.draws import dropped
from tuner.learning.layout import LINE, Layout
from tuner.spec.architecture import Architecture, Hyperparameters
from tuner.spec.hyperparameters import TABLE
from tuner.spec.names import MOST_DEPTH, Activation, PlainLoss

Floats = NDArray[np.float32]

FORMAT = 9  # grows with every change of a function's arguments or of what they mean, here and in border.hpp
MOST_LAYERS = 2 * (MOST_DEPTH + 1)
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
PLAIN_LOSSES: tuple[str, ...] = get_args(PlainLoss)
TERMS = "terms"  # whatever loss is declared, where it has terms
LOSSES = (*PLAIN_LOSSES, TERMS)
KINDS = tuple(kind.name.lower() for kind in Kind)
# The hyperparameters that cross as a number of their own, and the fields of the others, which follow from several.
OTHERS = ("batch", "layers", "sizes", "activation", "variational", "dropped", "norm", "rates", "skip")
NUMBERS = tuple(row for row in TABLE if row.step not in OTHERS)


class TermsFields(ctypes.Structure):
    """`Terms` of model.hpp, field by field."""

    _fields_ = (
        ("kinds", c_void_p),
        ("weights", c_void_p),
        ("deltas", c_void_p),
        ("fill", c_void_p),
        ("columns", c_int64),
        ("groups", c_void_p),
        ("count", c_int64),
        ("missing", c_int64),
    )


class Model(ctypes.Structure):
    """`Model` of model.hpp, field by field.

    Attributes:
        kept: what `terms`, `centre`, `low` and `high` point to, which must live as long.
    """

    kept: tuple[object, ...] = ()

    _fields_ = (
        ("layers", c_int32),
        ("activation", c_int32),
        ("loss", c_int32),
        ("batch", c_int32),
        ("features", c_int32),
        ("variational", c_int32),
        ("norm", c_int32),
        ("dropped", c_int32),
        *((row.step, c_float) for row in NUMBERS),
        ("sizes", c_int32 * (MOST_LAYERS + 1)),
        ("units", c_int32 * (MOST_LAYERS + 1)),
        ("weights", c_int64 * MOST_LAYERS),
        ("biases", c_int64 * MOST_LAYERS),
        ("gains", c_int64 * MOST_LAYERS),
        ("skip", c_int32),
        ("inverse_unit", c_float),
        ("skip_encoder", c_int64),
        ("skip_decoder", c_int64),
        ("centre", c_void_p),
        ("low", c_void_p),
        ("high", c_void_p),
        ("terms", c_void_p),
    )


class VisitFields(ctypes.Structure):
    """`Visit` of model.hpp, field by field."""

    _fields_ = (
        ("data", c_void_p),
        ("rows", c_int64),
        ("order", c_void_p),
        ("count", c_int64),
        ("noise", c_void_p),
        ("code_noise", c_void_p),
        ("dropout", c_uint64),
        ("position", c_int64),
        ("rates", c_void_p),
    )


class StateFields(ctypes.Structure):
    """`State` of model.hpp, field by field."""

    _fields_ = (
        ("parameters", c_void_p),
        ("first", c_void_p),
        ("second", c_void_p),
        ("length", c_int64),
        ("steps", c_int64),
    )


def description() -> str:
    """What a build of this version says of itself."""
    lines = [
        f"format {FORMAT}",
        f"layers {MOST_LAYERS}",
        f"lanes {LINE}",
        " ".join(("activations", *ACTIVATIONS)),
        " ".join(("losses", *LOSSES)),
        " ".join(("kinds", *KINDS)),
    ]
    structures = {"Terms": TermsFields, "Model": Model, "Visit": VisitFields, "State": StateFields}
    for name, structure in structures.items():
        fields = [(field[0], getattr(structure, field[0])) for field in structure._fields_]
        places = [f"{field}:{place.offset}:{place.size}" for field, place in fields]
        lines.append(" ".join((name, str(ctypes.sizeof(structure)), *places)))
    return "".join(f"{line}\n" for line in lines)


def difference(found: str) -> str | None:
    """The first word in which a build's description is not this version's; None where there is none."""
    if found == description():
        return None
    for ours, theirs in zip(description().splitlines(), found.splitlines(), strict=False):
        wanted, got = [*ours.split(), "nothing more"], [*theirs.split(), "nothing more"]
        for left, right in zip(wanted, got, strict=False):
            if left != right:
                return f"its {wanted[0]} should have {left} where it has {right}"
    return "its description should have other lines"


def model(
    features: int,
    point: Hyperparameters,
    loss: str,
    terms: Terms | None = None,
    start: LinearStart | None = None,
    bounds: Bounds | None = None,
) -> Model:
    """A trial as the library reads it.

    Args:
        features: real features of a row.
        point: the hyperparameters.
        loss: `mse` or `bce`; whatever it is where there are terms.
        terms: of the loss.
        start: where trainings start; None where the network reads its rows as they are.
        bounds: of the outputs, where there is no start that has them.
    """
    shape = Architecture.of(features, point)
    sizes, layout = shape.sizes, Layout.own(shape)
    made = Model(
        layers=len(layout.places),
        activation=ACTIVATIONS.index(point.activation),
        loss=LOSSES.index(TERMS if terms else loss),
        batch=point.batch_size,
        features=features,
        variational=shape.variational,
        norm=shape.norm,
        dropped=dropped(point.dropout),
        **{row.step: point.in_use(row.name) for row in NUMBERS},
    )
    made.sizes[: len(sizes)] = layout.sizes
    made.units[: len(sizes)] = sizes
    made.weights[: made.layers] = [place.weight for place in layout.places]
    made.biases[: made.layers] = [place.bias for place in layout.places]
    made.gains[: made.layers] = [place.gain or 0 for place in layout.places]
    if layout.skip is not None:
        made.skip, made.skip_encoder, made.skip_decoder = 1, layout.skip.encoder, layout.skip.decoder
    if start is not None:
        _read_by(made, start)
        bounds = start.output_bounds
    if bounds is not None:
        _bound(made, bounds)
    if terms is not None:
        _point_to(made, terms)
    return made


def _read_by(made: Model, start: LinearStart) -> None:
    """Noise is declared in units of scaled rows; where targets are in the network's, the rows have been as well."""
    made.noise, made.inverse_unit = made.noise / start.unit, 1 / start.unit
    if not start.targets:
        centre_F = np.pad(start.centre_F, (0, made.sizes[0] - made.features))
        made.centre = address(centre_F, made.sizes[0])
        made.kept = (*made.kept, centre_F)


def _bound(made: Model, bounds: Bounds) -> None:
    """Give a model the bounds of its outputs, padded as its rows are: padded outputs are 0."""
    room = (0, made.sizes[0] - made.features)
    low_F, high_F = np.pad(bounds.low_F, room), np.pad(bounds.high_F, room)
    made.low, made.high = address(low_F, made.sizes[0]), address(high_F, made.sizes[0])
    made.kept = (*made.kept, low_F, high_F)


def _point_to(made: Model, terms: Terms) -> None:
    """Give a model its terms, padded as its rows are: padded columns have weight 0."""
    columns, room = made.sizes[0], (0, made.sizes[0] - made.features)
    arrays = [np.pad(values, room) for values in (terms.kinds, terms.weights, terms.deltas, terms.fill)]
    groups = np.ascontiguousarray(terms.groups)
    places = [address(values, columns, dtype=kind) for values, kind in zip(arrays, _TERMS_TYPES, strict=True)]
    place, count = address(groups, len(groups), 2, dtype=np.int32), len(groups)
    fields = TermsFields(*places, columns, place, count, terms.missing)
    made.terms, made.kept = ctypes.addressof(fields), (*made.kept, fields, arrays, groups)


_TERMS_TYPES: tuple[type[np.generic], ...] = (np.int32, np.float32, np.float32, np.float32)


@dataclass(frozen=True, slots=True)
class Visit:
    """The rows of an epoch, or some batches of it, and what is drawn for them.

    Attributes:
        train_NF: training rows, features padded with zeros.
        order_N: int64, the rows' numbers in the order in which they are visited.
        noise_NF: standard normal noise for each visited row, real features only; None for none.
        code_noise_NC: the same on the units of a variational code.
        dropout: the key of the epoch's masks.
        position: rows of the epoch that were visited before.
        rates_S: the learning rate of each batch; None where it is the model's own.
    """

    train_NF: Floats
    order_N: NDArray[np.int64]
    noise_NF: Floats | None
    code_noise_NC: Floats | None
    dropout: int
    position: int
    rates_S: Floats | None = None

    def fields(self, model: Model) -> VisitFields:
        """As the library reads them; this object must live as long."""
        count, code = len(self.order_N), model.units[model.layers // 2]
        return VisitFields(
            address(self.train_NF, len(self.train_NF), model.sizes[0]),
            len(self.train_NF),
            address(self.order_N, count, dtype=np.int64),
            count,
            None if self.noise_NF is None else address(self.noise_NF, count, model.features),
            None if self.code_noise_NC is None else address(self.code_noise_NC, count, code),
            self.dropout,
            self.position,
            None if self.rates_S is None else address(self.rates_S, -(-count // model.batch)),
        )


def state_fields(state: TrialTraining) -> StateFields:
    """A trial's state as the library reads and changes it; the state must live as long."""
    length = len(state.parameters)
    rows = (state.parameters, state.first_moments, state.second_moments)
    return StateFields(*(address(row, length) for row in rows), length, state.steps)


def address(values: NDArray[Any], *shape: int, dtype: type[np.generic] = np.float32) -> int:
    """Where an array's values lie.

    Raises:
        ValueError: it is not contiguous, or not of this shape and type.
    """
    if values.shape != shape or values.dtype != dtype or not values.flags.c_contiguous:
        raise ValueError(f"must be contiguous {dtype.__name__} {shape}, got {values.dtype} {values.shape}")
    return values.ctypes.data


def aligned(count: int) -> Floats:
    """Uninitialised values that begin at a cache line: registers as wide as a line are then loaded at once."""
    room = np.empty(count + LINE, np.float32)
    first = -room.ctypes.data // room.itemsize % LINE
    return room[first : first + count]


def aligned_copy(values: Floats) -> Floats:
    """A copy that begins at a cache line."""
    copy = aligned(len(values))
    copy[:] = values
    return copy
