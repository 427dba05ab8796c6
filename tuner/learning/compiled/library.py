"""The compiled training step: which of its builds this processor can run, and its functions.

The builds are made from `step.cpp` when the project is installed, where there is a C++ compiler. They are plain shared
libraries: calls release the interpreter's lock, and nothing of Python is seen by them. A build trains only if it is
whole, describes itself as this version does, and passes its self-test; otherwise the next one does, or PyTorch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DeviceError
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.compiled.border import (
    Floats,
    Model,
    StateFields,
    Visit,
    VisitFields,
    address,
    aligned,
    difference,
    state_fields,
)
from tuner.learning.compiled.elf import cut_off

BUILDS = ("avx512", "avx2", "plain")  # the best first
NO_BUILD = "no C++ compiler was there when the tuner was installed"
_LONGEST_DESCRIPTION = 65_536


class Library:
    """The functions of one build; every array is contiguous.

    What could lead outside of a table or an array is checked at every call: ValueError says what, and nothing is done.

    Args:
        path: the shared library.

    Raises:
        DeviceError: it is damaged, of another processor, or was built from the sources of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        functions = _loaded(path)
        self._functions = functions
        model, count, place = POINTER(Model), c_int64, c_void_p
        functions.tuner_compiler.restype = functions.tuner_instructions.restype = c_char_p
        self._activate = self._bound(functions.tuner_activate, c_int32, count, place, place)
        self._room = self._bound(functions.tuner_room, model, count, POINTER(c_int64))
        self._train = self._bound(
            functions.tuner_train, model, POINTER(VisitFields), POINTER(StateFields), place, count, POINTER(c_double)
        )
        shared = (model, place, count, count, place, count, place, count)
        self._measure = self._bound(functions.tuner_measure, *shared, POINTER(c_double))
        self._encode = self._bound(functions.tuner_encode, *shared, place, place, place)

    def _bound(self, function: ctypes._NamedFuncPointer, *arguments: type) -> Callable[..., None]:
        function.argtypes, function.restype = list(arguments), c_char_p

        def call(*values: object) -> None:
            wrong = function(*values)
            if wrong is not None:
                raise ValueError(f"{self.path.name}: {wrong.decode()}")

        return call

    @property
    def name(self) -> str:
        """The build's: avx512, avx2 or plain."""
        return self.path.name.partition(".")[0].strip("_")

    @property
    def compiler(self) -> str:
        """What it was built with."""
        return str(self._functions.tuner_compiler().decode())

    @property
    def instructions(self) -> str:
        """The best build for this processor."""
        return str(self._functions.tuner_instructions().decode())

    def activate(self, activation: int, values_N: Floats) -> Floats:
        """Put an activation on values (N,), N a multiple of 16, in place; returns its slopes (N,)."""
        slopes_N = np.empty_like(values_N)
        places = (address(values, len(values_N)) for values in (values_N, slopes_N))
        self._activate(activation, len(values_N), *places)
        return slopes_N

    def room(self, model: Model, rows: int) -> int:
        """Values of work space for batches of that many rows."""
        values = c_int64()
        self._room(model, rows, byref(values))
        return values.value

    def train(self, model: Model, visit: Visit, state: TrialTraining, work: Floats) -> float:
        """Train the visited rows' batches: parameters and moments of the state are changed in place.

        Returns:
            The sum of every value's loss as it was when its batch was trained.
        """
        total = c_double()
        fields = visit.fields(model), state_fields(state)
        self._train(model, *map(byref, fields), address(work, len(work)), len(work), byref(total))
        return total.value

    def measure(self, model: Model, rows_VF: Floats, chunk: int, parameters_P: Floats, work: Floats) -> float:
        """The sum of every value's loss over the rows, `chunk` of them at a time."""
        total = c_double()
        self._measure(model, *_shared(model, rows_VF, chunk, parameters_P, work), byref(total))
        return total.value

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
        last = None if outputs_NF is None else address(outputs_NF, *rows_NF.shape)
        shared = _shared(model, rows_NF, chunk, parameters_P, work)
        self._encode(model, *shared, head_NC.ctypes.data, sums_N.ctypes.data, last)
        return head_NC, sums_N


def _shared(model: Model, rows_NF: Floats, chunk: int, parameters_P: Floats, work: Floats) -> tuple[int, ...]:
    """The arguments that measuring and encoding have in common."""
    rows, length = len(rows_NF), len(parameters_P)
    data = address(rows_NF, rows, model.sizes[0])
    return data, rows, chunk, address(parameters_P, length), length, address(work, len(work)), len(work)


@dataclass(frozen=True, slots=True)
class Found:
    """The build that trains here, and those that were refused.

    Attributes:
        step: None where none can train.
        refused: why better builds do not, a sentence each.
    """

    step: Library | None
    refused: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why no build trains, or no better one; empty where the best one does."""
        return "; ".join(self.refused) or ("" if self.step else NO_BUILD)


@lru_cache(maxsize=1)
def found() -> Found:
    """The best build that this processor can run and that passes its self-test."""
    plain = build_path("plain")
    if plain is None:
        return Found(None)
    try:
        best = Library(plain).instructions
    except DeviceError as error:
        return Found(None, (str(error),))
    refused: list[str] = []
    for path in filter(None, map(build_path, BUILDS[BUILDS.index(best) :])):
        try:
            return Found(tested(path), tuple(refused))
        except DeviceError as error:
            refused.append(str(error))
    return Found(None, tuple(refused))


def library() -> Library | None:
    """The build that trains here; None where none does."""
    return found().step


def tested(path: Path) -> Library:
    """A build that has passed its self-test.

    Raises:
        DeviceError: as for `Library`, or it trains to other numbers.
    """
    from tuner.learning.compiled.selftest import wrong_numbers  # noqa: PLC0415 - it trains with this module

    step = Library(path)
    wrong = wrong_numbers(step)
    if wrong is not None:
        raise _refused(path, wrong)
    return step


def _loaded(path: Path) -> ctypes.CDLL:
    """The library, if it is whole and of this version: it is handed memory, so it must agree on what lies where."""
    try:
        if cut_off(path):
            raise _refused(path, "the file is cut off")
        functions = ctypes.CDLL(str(path))
        described = functions.tuner_interface
    except AttributeError:
        raise _refused(path, "it was built from the sources of another version") from None
    except OSError as error:
        raise _refused(path, _why(path, error)) from None
    described.restype, described.argtypes = c_int64, [c_void_p, c_int64]
    text = ctypes.create_string_buffer(_LONGEST_DESCRIPTION)
    described(text, len(text))
    differs = difference(text.value.decode(errors="replace"))
    if differs is not None:
        raise _refused(path, f"it was built from the sources of another version ({differs})")
    return functions


def _why(path: Path, error: OSError) -> str:
    """What the loader says; glibc passes over a file of another processor, and then says that there is none."""
    text = str(error).removeprefix(f"{path}: ")
    return "it holds nothing for this processor" if "No such file" in text and path.is_file() else text


def _refused(path: Path, reason: str) -> DeviceError:
    return DeviceError(f"the compiled step {path} cannot be used, for {reason}; install the tuner again.")


def build_path(build: str) -> Path | None:
    """Where a build lies, if it was made."""
    spec = find_spec(f"tuner.learning.compiled._{build}")
    return Path(spec.origin) if spec is not None and spec.origin else None
