"""What rows are known to be, for judging codes: read with the rows, and never shown to any model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError

MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False, slots=True)
class Labels:
    """A class for every row.

    Attributes:
        name: the column or array that they come from.
        classes: K names; numbers rise, text is in alphabetical order.
        codes: (N,), each row's place in `classes`.
    """

    name: str
    classes: tuple[str, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, name: str, values: NDArray[np.generic], unit: str, first: int) -> Self:
        """From numbers or text, one for each row.

        Args:
            name: for messages.
            values: (N,).
            unit: what a row is called in messages, `line` or `row`.
            first: the first row's number in messages.

        Raises:
            DataError: one is missing, or they are too many or too few to distinguish rows.
        """
        if values.dtype.kind not in "biufU":
            raise DataError(f"data.label: {name} must hold text or numbers, got {values.dtype}.")
        refuse_missing(name, _missing(values), unit, first)
        distinct, codes = np.unique(values, return_inverse=True)
        _check_count(name, len(distinct))
        return cls(name, tuple(map(_named, distinct.tolist())), codes.astype(np.int32).reshape(-1))

    @classmethod
    def written(cls, name: str, classes: Sequence[str], places: NDArray[np.intp]) -> Self:
        """From text that is kept as it is, also where it is a number's.

        Args:
            name: for messages.
            classes: K texts, in any order.
            places: (N,), each row's place in `classes`.

        Raises:
            DataError: they are too many or too few to distinguish rows.
        """
        _check_count(name, len(classes))
        order = _order(classes)
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order))
        return cls(name, tuple(classes[place] for place in order), ranks[places])

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows each class has."""
        return dict(zip(self.classes, np.bincount(self.codes).tolist(), strict=True))

    @property
    def anomaly(self) -> str | None:
        """The class that counts as the anomaly, where there are two."""
        place = rarer(self.codes)
        return None if place is None else self.classes[place]


def rarer(codes: NDArray[np.int32]) -> int | None:
    """Of two classes the one with fewer rows, of equal ones the second; None where there are more than two."""
    sizes = np.bincount(codes)
    return None if len(sizes) != 2 else int(sizes[1] <= sizes[0])


def refuse_missing(name: str, missing: NDArray[np.bool_], unit: str, first: int) -> None:
    """Name the first row without a label, and count them."""
    if missing.any():
        raise DataError(
            f"data.label: {name}, {unit} {int(missing.argmax()) + first}: every row must have a label,"
            f" got a missing value ({missing.sum()} in all)."
        )


def _missing(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return ~np.isfinite(values.astype(np.float64))
    return np.asarray(values == "") if values.dtype.kind == "U" else np.zeros(len(values), np.bool_)


def _check_count(name: str, count: int) -> None:
    if not 2 <= count <= MOST_CLASSES:
        raise DataError(f"data.label: {name} must have 2 to {MOST_CLASSES:,} different values, got {count:,}.")


def _order(classes: Sequence[str]) -> list[int]:
    """Places in the order of numbers where all are, else in that of the alphabet."""
    numbers = [_number(text) for text in classes]
    if all(map(math.isfinite, numbers)):
        return sorted(range(len(classes)), key=lambda place: (numbers[place], classes[place]))
    return sorted(range(len(classes)), key=lambda place: classes[place])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _named(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
