"""The compiled training step: which of its builds this processor can run, and its functions.

The builds are made from `step.cpp` when the project is installed, where there is a C++ compiler. They are plain shared
libraries: calls release the interpreter's lock, and nothing of Python is seen by them.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DeviceError
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.draws import dropped
from tuner.learning.layout import LINE, Layout
from tuner.spec.architecture import Architecture, Hyperparameters

Floats = NDArray[np.float32]

FORMAT = 4  # of `Model` and of the functions' arguments, as in step.cpp
MOST_LAYERS = 66  # depth 32, both sides
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid")
LOSSES = ("mse", "bce")


class Model(ctypes.Structure):
    """`Model` of step.cpp, field by field."""

    _fields_ = (
        ("layers", c_int32),
        ("activation", c_int32),
        ("loss", c_int32),
        ("batch", c_int32),
        ("features", c_int32),
        ("variational", c_int32),
        ("norm", c_int32),
        ("dropped", c_int32),
        ("learning_rate", c_float),
        ("weight_decay", c_float),
        ("noise", c_float),
        ("sparsity", c_float),
        ("beta", c_float),
        ("sizes", c_int32 * (MOST_LAYERS + 1)),
        ("units", c_int32 * (MOST_LAYERS + 1)),
        ("weights", c_int64 * MOST_LAYERS),
        ("biases", c_int64 * MOST_LAYERS),
        ("gains", c_int64 * MOST_LAYERS),
    )


class Draws(ctypes.Structure):
    """`Draws` of step.cpp, field by field."""

    _fields_ = (
        ("noise", c_void_p),
        ("code_noise", c_void_p),
        ("dropout", c_uint64),
        ("position", c_int64),
    )


def model(features: int, point: Hyperparameters, loss: str) -> Model:
    """A trial as the library reads it.

    Args:
        features: real features of a row.
        point: the hyperparameters.
        loss: `mse` or `bce`.
    """
    shape = Architecture.of(features, point)
    sizes, layout = shape.sizes, Layout.own(shape)
    made = Model(
        layers=len(layout.places),
        activation=ACTIVATIONS.index(point.activation),
        loss=LOSSES.index(loss),
        batch=point.batch_size,
        features=features,
        variational=shape.variational,
        norm=shape.norm,
        dropped=dropped(point.dropout),
        learning_rate=point.learning_rate,
        weight_decay=point.weight_decay,
        noise=point.input_noise,
        sparsity=point.code_penalty,
        beta=point.divergence_weight,
    )
    made.sizes[: len(sizes)] = layout.sizes
    made.units[: len(sizes)] = sizes
    made.weights[: made.layers] = [place.weight for place in layout.places]
    made.biases[: made.layers] = [place.bias for place in layout.places]
    made.gains[: made.layers] = [place.gain or 0 for place in layout.places]
    return made


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
    """

    train_NF: Floats
    order_N: NDArray[np.int64]
    noise_NF: Floats | None
    code_noise_NC: Floats | None
    dropout: int
    position: int

    def draws(self) -> Draws:
        """As the library reads them; this object must live as long."""
        drawn = (self.noise_NF, self.code_noise_NC)
        return Draws(*(None if values is None else values.ctypes.data for values in drawn), self.dropout, self.position)


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


class Library:
    """The functions of one build; every array is contiguous.

    Args:
        path: the shared library.

    Raises:
        DeviceError: it was built from the sources of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        functions = _loaded(path)
        self._room, self._train, self._measure, self._encode = (
            functions.tuner_room,
            functions.tuner_train,
            functions.tuner_measure,
            functions.tuner_encode,
        )
        self._room.argtypes = [POINTER(Model), c_int64]
        self._room.restype = c_int64
        self._train.argtypes = [
            *(POINTER(Model), c_void_p, c_void_p, c_int64, POINTER(Draws)),
            *(c_void_p, c_void_p, c_void_p, c_int64, c_void_p),
        ]
        self._measure.argtypes = [POINTER(Model), c_void_p, c_int64, c_int64, c_void_p, c_void_p]
        self._train.restype = self._measure.restype = c_double
        self._encode.argtypes = [POINTER(Model), c_void_p, c_int64, c_int64, *[c_void_p] * 5]
        self._encode.restype = None

    @property
    def name(self) -> str:
        """The build's: avx512, avx2 or plain."""
        return self.path.name.partition(".")[0].strip("_")

    def room(self, model: Model, rows: int) -> int:
        """Values of work space for batches of that many rows."""
        return int(self._room(model, rows))

    def train(self, model: Model, visit: Visit, state: TrialTraining, work: Floats) -> float:
        """Train the visited rows' batches: parameters and moments of the state are changed in place.

        Returns:
            The sum of every value's loss as it was when its batch was trained.
        """
        rows = (state.parameters, state.first_moments, state.second_moments)
        places = (row.ctypes.data for row in rows)
        data, order, count = visit.train_NF.ctypes.data, visit.order_N.ctypes.data, len(visit.order_N)
        return float(self._train(model, data, order, count, visit.draws(), *places, state.steps, work.ctypes.data))

    def measure(self, model: Model, rows_VF: Floats, chunk: int, parameters_P: Floats, work: Floats) -> float:
        """The sum of every value's loss over the rows, `chunk` of them at a time."""
        return float(
            self._measure(model, rows_VF.ctypes.data, len(rows_VF), chunk, parameters_P.ctypes.data, work.ctypes.data)
        )

    def encode(
        self, model: Model, rows_NF: Floats, chunk: int, parameters_P: Floats, outputs_NF: Floats | None = None
    ) -> tuple[Floats, NDArray[np.float64]]:
        """What the encoder's last layer gives, (N, padded outputs), and each row's sum of losses (N,).

        Args:
            model: the trial; a variational one gives means and then log-variances.
            rows_NF: features padded with zeros.
            chunk: rows at a time.
            parameters_P: the weights.
            outputs_NF: where the last layer's outputs go, if they are wanted.
        """
        code, work = model.layers // 2, aligned(self.room(model, chunk))
        head_NC = np.empty((len(rows_NF), model.sizes[code] * (2 if model.variational else 1)), np.float32)
        sums_N = np.empty(len(rows_NF))
        places = (values.ctypes.data for values in (parameters_P, work, head_NC, sums_N))
        last = None if outputs_NF is None else outputs_NF.ctypes.data
        self._encode(model, rows_NF.ctypes.data, len(rows_NF), chunk, *places, last)
        return head_NC, sums_N


@lru_cache(maxsize=1)
def library() -> Library | None:
    """The best build that this processor can run; None where none was made when the project was installed."""
    plain = build_path("plain")
    if plain is None:
        return None
    functions = _loaded(plain)
    functions.tuner_instructions.restype = c_char_p
    best: bytes = functions.tuner_instructions()
    builds = ("avx512", "avx2", "plain")
    paths = (build_path(build) for build in builds[builds.index(best.decode()) :])
    return next(Library(path) for path in paths if path is not None)


def _loaded(path: Path) -> ctypes.CDLL:
    """The library, if it is of this version: it is handed memory, so it must agree on what lies where."""
    try:
        functions = ctypes.CDLL(str(path))
        functions.tuner_format.restype = c_int64
        found: int = functions.tuner_format()
    except (OSError, AttributeError):
        found = 0
    if found != FORMAT * 65536 + ctypes.sizeof(Model):
        raise DeviceError(f"{path}: the compiled step must be of this version of the tuner; install the tuner again.")
    return functions


def build_path(build: str) -> Path | None:
    """Where a build lies, if it was made."""
    spec = find_spec(f"tuner.learning.native._{build}")
    return Path(spec.origin) if spec is not None and spec.origin else None
