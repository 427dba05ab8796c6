"""Which rows belong together: equal rows in several splits, and columns that name what a row was measured on.

Legend: N rows, F columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.split import Key, Split, missing

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # of the golden ratio, as in splitmix64
_MIXER: Final = np.uint64(0xBF58476D1CE4E5B9)
_BLOCK: Final = 65_536  # rows hashed at once
# What rows are measured on, in a column's name as a word of its own: patient_id, SubjectID, user.
_OWNERS: Final = (
    "patient", "subject", "participant", "person", "individual", "animal", "donor", "user", "customer", "client",
    "account", "household", "player", "driver", "student", "employee", "session", "trip", "visit", "device", "machine",
    "engine", "unit", "sensor", "station", "site", "vehicle", "group", "family", "id", "uid", "uuid", "identifier",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows that equal others, missing values included.

    Attributes:
        rows: rows in all.
        distinct: how many of them differ.
        validation: validation rows that equal a training row.
        test: test rows that equal a training or validation row.
        held_out: validation and test rows in all.
    """

    rows: int
    distinct: int
    validation: int
    test: int
    held_out: int

    @property
    def sentence(self) -> str | None:
        """What to know of them; None where no row crosses a split."""
        across = self.validation + self.test
        if not across:
            return None
        verb = "equals" if across == 1 else "equal"
        return (
            f"{across:,} of {self.held_out:,} held-out rows {verb} a row of an earlier split ({self.distinct:,} of"
            f" {self.rows:,} rows are distinct), so losses on them flatter; split by what rows belong to"
            " (data.split.group), or drop repeated rows."
        )


def duplicates_across(rows_NF: NDArray[np.float64], split: Split) -> Duplicates:
    """Count equal rows across splits; NaN equals NaN, and 0 equals -0.

    Rows are compared by 64 bits of each, which for a million different rows are all different but once in 37 million.
    """
    hashes = row_hashes(rows_NF)
    distinct = np.unique(hashes)
    train, validation, test = (hashes[part] for part in (split.train, split.validation, split.test))
    return Duplicates(
        len(hashes),
        len(distinct),
        int(np.isin(validation, train).sum()),
        int(np.isin(test, np.concatenate([train, validation])).sum()),
        len(validation) + len(test),
    )


def row_hashes(rows_NF: NDArray[np.float64]) -> NDArray[np.uint64]:
    """64 bits of each row, (N,), equal for equal rows."""
    hashes = np.empty(len(rows_NF), np.uint64)
    for start in range(0, len(rows_NF), _BLOCK):
        part = rows_NF[start : start + _BLOCK] + 0.0  # -0 becomes 0
        part[np.isnan(part)] = np.nan  # one of the many
        hashes[start : start + _BLOCK] = _mixed(np.ascontiguousarray(part.T).view(np.uint64))
    return hashes


def _mixed(bits_FN: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One column after the other, each bit of it spread over all."""
    mixed = np.zeros(bits_FN.shape[1], np.uint64)
    for bits in bits_FN:
        mixed = (mixed ^ bits) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
        mixed = (mixed + _MULTIPLIER) * _MIXER
        mixed ^= mixed >> np.uint64(32)
    return mixed


@dataclass(frozen=True, slots=True)
class GroupProposal:
    """A column that may say which rows belong together.

    Attributes:
        name: the column.
        groups: its different values.
        rows: its rows that have one.
    """

    name: str
    groups: int
    rows: int


def proposed_groups(columns: Mapping[str, NDArray[Any]]) -> tuple[GroupProposal, ...]:
    """Columns that look like what rows belong to, the likeliest first: its name says so, and its values repeat.

    A value occurs twice on average at least, there are three at least, and a column of real numbers is none.

    Args:
        columns: name to values (N,), as `Key` takes them.
    """
    strengths = {name: _strength(name) for name in columns}
    named = sorted((place, name) for name, place in strengths.items() if place is not None)
    proposals = [_repeated(name, columns[name]) for _, name in named]
    return tuple(each for each in proposals if each is not None)


def may_own_rows(name: str) -> bool:
    """Whether a column's name is that of something that rows are measured on."""
    return _strength(name) is not None


def _strength(name: str) -> int | None:
    """The place of the first owner among the words of a name; None where it names none."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+", name)]
    places = [_OWNERS.index(one) for word in words for one in _forms(word) if one in _OWNERS]
    return min(places, default=None)


def _forms(word: str) -> tuple[str, ...]:
    """As it is, of several, and with `id` behind it."""
    return word, word.removesuffix("s"), word.removesuffix("id")


def _repeated(name: str, values: NDArray[Any]) -> GroupProposal | None:
    if values.dtype.kind == "f" and not np.array_equal(values, np.round(values), equal_nan=True):
        return None
    present = values[~missing(values)]
    groups = len(Key("", name, present).codes()[0])
    return GroupProposal(name, groups, len(present)) if 3 <= groups <= len(present) // 2 else None
