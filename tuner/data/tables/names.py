"""Names for the columns of a table: each has one, and no two have the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_UNNAMED = re.compile(r"Unnamed: \d+(?:_level_\d+|(?:\.\d+)+)?|")
INDEX_LEVEL = re.compile(r"__index_level_\d+__")
_MOST_NAMED = 5


def settled_names(header: Sequence[str], columns: Sequence[pa.ChunkedArray]) -> tuple[list[int], list[str], list[str]]:
    """The places of the columns that stay, their names, and what was decided, a sentence each.

    Args:
        header: the names as the source has them.
        columns: (N,) each.
    """
    kept: list[int] = []
    dropped: list[int] = []
    for place, (name, column) in enumerate(zip(header, columns, strict=True)):
        is_dropped = len(header) > 1 and is_index(name, place, column)
        (dropped if is_dropped else kept).append(place)
    if not kept:
        kept, dropped = list(range(len(header))), []
    notes = [_dropped_note(header[place], place) for place in dropped]
    bare = ["" if is_unnamed(header[place]) else header[place] for place in kept]
    names, said = unique_names(bare, [place + 1 for place in kept])
    return kept, names, notes + said


def _dropped_note(name: str, place: int) -> str:
    what = f"Column {name}" if name.strip() else f"Column {place + 1}, which has no name,"
    return f"{what} is an index and is left out."


def unique_names(header: Sequence[str], places: Sequence[int]) -> tuple[list[str], list[str]]:
    """Names for all columns, and what was changed, a sentence each.

    Args:
        header: a name for each column; empty where there is none.
        places: of each column in the source, from 1.
    """
    names, taken, notes, repeated = [], set(header), [], []
    seen: dict[str, int] = {}
    for place, name in zip(places, header, strict=True):
        wanted = name or _free(f"column_{place}", taken)
        seen[wanted] = seen.get(wanted, 0) + 1
        if seen[wanted] > 1:
            repeated.append(wanted)
            wanted = _numbered(wanted, seen, taken)
        taken.add(wanted)
        names.append(wanted)
    if repeated:
        notes.append(f"More than one column is called {listed(repeated)}; the second is called {repeated[0]} (2).")
    empty = [name for name, given in zip(names, header, strict=True) if not given]
    if empty:
        notes.append(
            f"{_columns(len(empty))} without a name {'is' if len(empty) == 1 else 'are'} called {listed(empty)}."
        )
    return names, notes


def is_unnamed(name: str) -> bool:
    """Whether a header's cell names nothing, also in pandas' words for that."""
    return _UNNAMED.fullmatch(name.strip()) is not None


def is_index(name: str, place: int, column: pa.ChunkedArray) -> bool:
    """Whether a column without a name is an index: it counts the rows, or is the first and its values are unique.

    Args:
        name: of the column, as the source has it.
        place: of the column, from 0.
        column: (N,) of any type.
    """
    if INDEX_LEVEL.fullmatch(name):
        return True
    if not is_unnamed(name):
        return False
    return _counts(column) or (place == 0 and len(column) > 1 and _is_unique(column))


def _counts(column: pa.ChunkedArray) -> bool:
    """Whether it counts 0, 1, 2 or 1, 2, 3."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        numbers = column.cast(pa.int64()).to_numpy()
    except (pa.ArrowException, ValueError):
        return False
    if column.null_count or not len(numbers) or numbers[0] not in (0, 1):
        return False
    return bool((numbers == np.arange(numbers[0], numbers[0] + len(numbers))).all())


def _is_unique(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        return bool(pc.count_distinct(column, mode="all").as_py() == len(column))
    except pa.ArrowException:  # lists and structures have no order
        return False


def listed(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """`a, b, c and 4 more`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _columns(count: int) -> str:
    return "A column" if count == 1 else f"{count:,} columns"


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _numbered(name: str, seen: dict[str, int], taken: set[str]) -> str:
    while f"{name} ({seen[name]})" in taken:
        seen[name] += 1
    return f"{name} ({seen[name]})"
