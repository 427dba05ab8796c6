"""The compiled training step: which of its builds this processor can run, and its functions.

The builds are made from `step.cpp` when the project is installed, where there is a C++ compiler. They are plain shared
libraries: calls release the interpreter's lock, and nothing of Python is seen by them.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DeviceError
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.layout import LINE, Layout
from tuner.spec.architecture import Hyperparameters

Floats = NDArray[np.float32]

FORMAT = 2  # of `Model` and of the functions' arguments, as in step.cpp
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
        ("learning_rate", c_float),
        ("weight_decay", c_float),
        ("noise", c_float),
        ("sizes", c_int32 * (MOST_LAYERS + 1)),
        ("units", c_int32 * (MOST_LAYERS + 1)),
        ("weights", c_int64 * MOST_LAYERS),
        ("biases", c_int64 * MOST_LAYERS),
    )


def model(sizes: tuple[int, ...], layout: Layout, point: Hyperparameters, loss: str) -> Model:
    """A trial as the library reads it.

    Args:
        sizes: real units of every layer.
        layout: their places in a row of parameters, padded.
        point: the hyperparameters.
        loss: `mse` or `bce`.
    """
    made = Model(
        layers=len(layout.places),
        activation=ACTIVATIONS.index(point.activation),
        loss=LOSSES.index(loss),
        batch=point.batch_size,
        features=sizes[0],
        learning_rate=point.learning_rate,
        weight_decay=point.weight_decay,
        noise=point.input_noise,
    )
    made.sizes[: len(sizes)] = layout.sizes
    made.units[: len(sizes)] = sizes
    made.weights[: made.layers] = [place.weight for place in layout.places]
    made.biases[: made.layers] = [place.bias for place in layout.places]
    return made


@dataclass(frozen=True, slots=True)
class Visit:
    """The rows of one epoch.

    Attributes:
        train_NF: training rows, features padded with zeros.
        order_N: int64, the rows' numbers in the order in which they are visited.
        noise_NF: standard normal noise for each visited row, real features only; None for none.
    """

    train_NF: Floats
    order_N: NDArray[np.int64]
    noise_NF: Floats | None


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
        self._train.argtypes = [POINTER(Model), c_void_p, c_void_p, c_int64, *[c_void_p] * 4, c_int64, c_void_p]
        self._measure.argtypes = [POINTER(Model), c_void_p, c_int64, c_int64, c_void_p, c_void_p]
        self._train.restype = self._measure.restype = c_double
        self._encode.argtypes = [POINTER(Model), c_void_p, c_int64, c_int64, *[c_void_p] * 4]
        self._encode.restype = None

    @property
    def name(self) -> str:
        """The build's: avx512, avx2 or plain."""
        return self.path.name.partition(".")[0].strip("_")

    def room(self, model: Model, rows: int) -> int:
        """Values of work space for batches of that many rows."""
        return int(self._room(model, rows))

    def train(self, model: Model, visit: Visit, state: TrialTraining, work: Floats) -> float:
        """Train one epoch: parameters and moments of the state are changed in place.

        Returns:
            The sum of every value's loss as it was when its batch was trained.
        """
        noise = None if visit.noise_NF is None else visit.noise_NF.ctypes.data
        rows = (state.parameters, state.first_moments, state.second_moments)
        places = (row.ctypes.data for row in rows)
        data, order, count = visit.train_NF.ctypes.data, visit.order_N.ctypes.data, len(visit.order_N)
        return float(self._train(model, data, order, count, noise, *places, state.steps, work.ctypes.data))

    def measure(self, model: Model, rows_VF: Floats, chunk: int, parameters_P: Floats, work: Floats) -> float:
        """The sum of every value's loss over the rows, `chunk` of them at a time."""
        return float(
            self._measure(model, rows_VF.ctypes.data, len(rows_VF), chunk, parameters_P.ctypes.data, work.ctypes.data)
        )

    def encode(
        self, model: Model, rows_VF: Floats, chunk: int, parameters_P: Floats, work: Floats
    ) -> tuple[Floats, NDArray[np.float64]]:
        """The rows' codes, padded, and each row's sum of losses (V,); `chunk` rows at a time."""
        codes_VC = np.empty((len(rows_VF), model.sizes[model.layers // 2]), np.float32)
        sums_V = np.empty(len(rows_VF))
        places = (array.ctypes.data for array in (parameters_P, work, codes_VC, sums_V))
        self._encode(model, rows_VF.ctypes.data, len(rows_VF), chunk, *places)
        return codes_VC, sums_V


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
