"""Which rows are trained on, compared on, and kept untouched: by chance, or by what a column says of them.

A key is the column that a split follows. Every function here is pure: the same key, shares and seed, the same rows.

Legend: N rows, G groups or classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.spec.work import derive_seed

Index = NDArray[np.int64]
EXACT_GROUPS: Final = 256  # among which the sum nearest to a share is looked for; of others each that fits is taken
FEW: Final = 3  # rows of a class, one for each split
_NAMED: Final = 5
_WORDS: Final = {
    "train": 0, "training": 0,
    "validation": 1, "val": 1, "valid": 1,
    "test": 2, "testing": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of each split, rising; together every row once, unless rows are left out."""

    train: Index
    validation: Index
    test: Index

    @classmethod
    def of(cls, codes_N: NDArray[np.integer[Any]]) -> Split:
        """From 0, 1 or 2 for each row."""
        train, validation, test = (np.flatnonzero(codes_N == code) for code in range(3))
        return cls(train, validation, test)


def _row(place: int) -> str:
    return f"row {place + 1}"


@dataclass(frozen=True, eq=False, slots=True)
class Key:
    """The column that a split follows.

    Attributes:
        option: what names it in the declaration: `data.split.group`.
        name: the column.
        values: (N,), text, numbers, booleans or datetime64; None, NaN and NaT are missing values.
        place: what a row is called in messages, counted from 0.
    """

    option: str
    name: str
    values: NDArray[Any]
    place: Callable[[int], str] = _row

    def refuse_missing(self) -> None:
        """Refuse a key that does not say something of every row.

        Raises:
            DataError: a value is missing; the sentence names the first one and counts them.
        """
        empty = missing(self.values)
        if empty.any():
            raise DataError(
                f"{self.option}: {self.name}, {self.place(int(empty.argmax()))}: must have a value in every row,"
                f" got a missing one ({empty.sum():,} in all)."
            )

    def codes(self) -> tuple[list[str], NDArray[np.intp]]:
        """The different values as text, in their order, and each row's place among them.

        Raises:
            DataError: as for `refuse_missing`.
        """
        self.refuse_missing()
        values = self.values.astype(str) if self.values.dtype.kind == "O" else self.values
        distinct, codes = np.unique(values, return_inverse=True)
        return list(map(str, distinct.tolist())), codes.reshape(-1)


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are None, NaN or NaT."""
    if values.dtype.kind == "O":
        return np.fromiter((value is None or value != value for value in values), np.bool_, len(values))  # noqa: PLR0124
    if values.dtype.kind == "M":
        return np.asarray(np.isnat(values))
    return np.asarray(np.isnan(values)) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)


def split_rows(rows: int, validation: float, test: float, seed: int) -> Split:
    """Split by chance, drawn from a seed by name.

    Args:
        rows: rows in all.
        validation: share of the rows, rounded; at least one row.
        test: share of the rows, rounded; at least one row.
        seed: the split's own.

    Raises:
        DataError: no row is left to train on.
    """
    held_out = max(1, round(rows * validation)), max(1, round(rows * test))
    if rows - sum(held_out) < 1:
        raise DataError(f"data: {rows} rows must leave some to train on, but {sum(held_out)} are held out.")
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(rows)
    first, second = held_out[0], sum(held_out)
    return Split(np.sort(order[second:]), np.sort(order[:first]), np.sort(order[first:second]))


def split_by_column(key: Key) -> Split:
    """As a column says: train (training), validation (val, valid) or test, in any case.

    Raises:
        DataError: it says something else, or names no row of a split.
    """
    names, codes = key.codes()
    said = [_WORDS.get(name.strip().lower(), -1) for name in names]
    if odd := [name for name, code in zip(names, said, strict=True) if code < 0]:
        first = key.place(int((codes == names.index(odd[0])).argmax()))
        raise DataError(
            f"{key.option}: {key.name}, {first}: must be train, validation or test, got {_listed(odd)}"
            f" ({int(np.isin(codes, [names.index(name) for name in odd]).sum()):,} such rows)."
        )
    made = Split.of(np.array(said)[codes])
    sizes = {"train": len(made.train), "validation": len(made.validation), "test": len(made.test)}
    if empty := [name for name, size in sizes.items() if not size]:
        raise DataError(f"{key.option}: {key.name} must say {' and '.join(empty)} of some rows, but never does.")
    return made


def split_by_group(key: Key, validation: float, test: float, seed: int) -> Split:
    """By groups that are never torn apart; a split's rows are as near to its share as whole groups come.

    Args:
        key: rows that agree in it are a group.
        validation: share of the rows.
        test: share of the rows.
        seed: draws which groups.

    Raises:
        DataError: a value is missing, or there are fewer than 3 groups.
    """
    names, codes = key.codes()
    if len(names) < FEW:
        raise DataError(
            f"{key.option}: {key.name} must have at least 3 different values, one for each split, got {len(names)}."
        )
    sizes = np.bincount(codes)
    order = np.random.default_rng(derive_seed(seed, "groups")).permutation(len(sizes))
    of_group = np.zeros(len(sizes), np.int64)
    for split, share in ((2, test), (1, validation)):
        free = order[of_group[order] == 0]
        of_group[free[_nearest(sizes[free], share * len(codes))]] = split
    _fill_empty(of_group, sizes)
    return Split.of(of_group[codes])


def _nearest(sizes: NDArray[np.int64], wanted: float) -> list[int]:
    """Places whose sizes come as near to a sum as they can, the first ones where several do.

    Of very many groups those that fit are taken in turn, and the last ones close the gap.
    """
    taken, left = [], wanted
    for place in range(max(0, len(sizes) - EXACT_GROUPS)):
        if sizes[place] <= left:
            taken.append(place)
            left -= int(sizes[place])
    rest = range(max(0, len(sizes) - EXACT_GROUPS), len(sizes))
    return taken + _subset([(place, int(sizes[place])) for place in rest], left)


def _subset(items: Sequence[tuple[int, int]], wanted: float) -> list[int]:
    """Of places with sizes those whose sum is nearest: all sums that can be reached, as the bits of a number."""
    most = int(2 * wanted) + 1  # what is further away than nothing at all is no candidate
    mask, reached = (1 << (most + 1)) - 1, [1]
    for _, size in items:
        reached.append(reached[-1] | (reached[-1] << size) & mask)
    sums = [total for total, bit in enumerate(reversed(f"{reached[-1]:b}")) if bit == "1"]
    total, taken = min(sums, key=lambda each: (abs(each - wanted), each)), []
    for number in range(len(items), 0, -1):
        place, size = items[number - 1]
        if not reached[number - 1] >> total & 1:
            taken.append(place)
            total -= size
    return taken


def _fill_empty(of_group: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    """No split is without a group: an empty one takes the smallest of the split with most groups."""
    for split in range(3):
        if not (of_group == split).any():
            most = int(np.bincount(of_group, minlength=3).argmax())
            own = np.flatnonzero(of_group == most)
            of_group[own[sizes[own].argmin()]] = split


def split_by_time(key: Key, validation: float, test: float) -> Split:
    """By time: validation rows are later than all training rows, test rows last; equal times stay together.

    Args:
        key: numbers or datetime64.
        validation: share of the rows.
        test: share of the rows.

    Raises:
        DataError: a value is missing, it is no time, or there are fewer than 3 different ones.
    """
    key.refuse_missing()
    if key.values.dtype.kind not in "iufM":
        raise DataError(f"{key.option}: {key.name} must hold times or numbers, got {str(key.values[0])[:50]!r}.")
    distinct, codes, counts = np.unique(key.values, return_inverse=True, return_counts=True)
    if len(distinct) < FEW:
        raise DataError(
            f"{key.option}: {key.name} must have at least 3 different times, one for each split, got {len(distinct)}."
        )
    before = np.cumsum(counts)  # rows up to each time, itself included
    rows = len(codes)
    first = _cut(before, rows * (1 - validation - test), 0, len(distinct) - 2)
    second = _cut(before, rows * (1 - test), first + 1, len(distinct) - 1)
    codes = codes.reshape(-1)
    return Split.of((codes > first).astype(np.int64) + (codes > second))


def _cut(before: NDArray[np.int64], wanted: float, least: int, end: int) -> int:
    """The time after which to cut, least <= it < end, so that the rows up to it are nearest to what is wanted."""
    return least + int(np.abs(before[least:end] - wanted).argmin())


def split_stratified(key: Key, validation: float, test: float, seed: int) -> Split:
    """Each class in its share: of every class the rows of a split are its share's, rounded up or down, and one trains.

    What is rounded off in one class is made up for in the next, so that the splits have their shares of all rows.

    Args:
        key: rows that agree in it are a class.
        validation: share of the rows.
        test: share of the rows.
        seed: draws the rows.

    Raises:
        DataError: a value is missing, or a split would be empty.
    """
    names, codes = key.codes()
    draws = np.random.default_rng(derive_seed(seed, "classes"))
    made, owed = np.zeros(len(codes), np.int64), np.zeros(2)
    for code in range(len(names)):
        rows = draws.permutation(np.flatnonzero(codes == code))
        shares = len(rows) * np.array([test, validation])
        owed += shares
        tested, validated = np.clip(np.round(owed), np.floor(shares), np.ceil(shares)).astype(np.int64)
        tested = min(tested, len(rows) - 1)
        validated = min(validated, len(rows) - 1 - tested)
        owed -= tested, validated
        made[rows[:tested]], made[rows[tested : tested + validated]] = 2, 1
    counts = np.bincount(made, minlength=3)
    if not counts.all():
        raise DataError(
            f"{key.option}: {key.name} must leave rows for each split, got {counts[0]:,} to train on,"
            f" {counts[1]:,} for validation and {counts[2]:,} for test; its classes have too few rows."
        )
    return Split.of(made)


def few_of_a_class(key: Key) -> str | None:
    """A sentence on the classes that are too small to be in every split; None where there is none."""
    names, codes = key.codes()
    small = [name for name, size in zip(names, np.bincount(codes), strict=True) if size < FEW]
    if not small:
        return None
    listed = _listed(small)
    return f"{key.option}: {len(small)} of {len(names)} classes have fewer than 3 rows, one a split: {listed}."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(repr(name[:50]) for name in names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
