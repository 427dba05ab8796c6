"""What is found in a user's data before any study: `tuner inspect`, and what `tuner init` writes a space file from."""

from __future__ import annotations

from typing import Literal

from tuner.answers.base import Answer


class ColumnFacts(Answer):
    """A column of a table.

    Attributes:
        name: its name.
        type: what it holds: numeric, count, boolean, categorical, datetime, identifier, text or constant.
        modelled: whether a study would train on it.
        missing: rows without a value.
        distinct: different values.
        low, high: of numbers, the smallest and the largest; of moments seconds since 1970.
        levels: the commonest levels of a categorical column, with their rows.
        odd: texts in a column of numbers or dates that are neither; they have to be dealt with.
        sentinels: texts in a column of numbers that stand for a missing value, found or declared.
        tells: whether it tells the label, as a copy of it does.
        scaling: one that suits a column of numbers better than the usual; None where that does.
        notes: what a user should know of it, a sentence each.
    """

    name: str
    type: str
    modelled: bool
    missing: int = 0
    distinct: int | None = None
    low: float | None = None
    high: float | None = None
    levels: tuple[tuple[str, int], ...] = ()
    odd: tuple[str, ...] = ()
    sentinels: tuple[str, ...] = ()
    tells: bool = False
    scaling: str | None = None
    notes: tuple[str, ...] = ()


class Inspection(Answer):
    """What is in the data.

    Attributes:
        source: as it was given.
        kind: a table, an array, or images, whose pixels have one range.
        rows: how many.
        shape: a row's own shape: its columns, or an image's sides and channels.
        features: columns of the matrix that would be trained on.
        columns: of a table, and of an array that has missing values.
        duplicates: rows that are equal to an earlier one, in all modelled columns.
        incomplete: rows with a missing value in a modelled column.
        group: a column that says what rows belong together, where one looks like it.
        scaling: one that suits an array better than the usual, for it has values far out; None where that does.
        notes: what was decided while the source was read, a sentence each.
    """

    source: str
    kind: Literal["table", "array", "images"]
    rows: int
    shape: tuple[int, ...]
    features: int
    columns: tuple[ColumnFacts, ...] = ()
    duplicates: int = 0
    incomplete: int = 0
    group: str | None = None
    scaling: str | None = None
    notes: tuple[str, ...] = ()
