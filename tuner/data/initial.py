"""A first space file for a user's data: what was found in it, and a space that fits it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from tuner.answers.inspection import ColumnFacts, Inspection
from tuner.errors import DataError

HEADER: Final = """\
# Written by `tuner init` from {source}: {rows:,} rows.
#
#   tuner run THIS_FILE
#
# Every line may be changed; docs/space-file.md says what there is.
"""
SHOWN: Final = 60  # columns that are listed in the comments
_NO_TEXT: Final = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")
TRIALS: Final = ((100_000, 81), (math.inf, 54))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for beside the data.

    Attributes:
        name: of the study; by default the file's.
        label: a column that codes are judged by.
        minutes: that the study may take; None for a number of trials.
    """

    name: str | None = None
    label: str | None = None
    minutes: float | None = None


def space_file(found: Inspection, wishes: Wishes = Wishes()) -> str:
    """The text of a space file for these data.

    Raises:
        DataError: there is one column of numbers, and so nothing to compress.
    """
    if _features(found) < 2 and not any(column.type == "datetime" for column in found.columns):
        raise DataError(
            f"{found.source}: must have two columns of numbers to model, got one: no code is shorter than its rows."
        )
    return "".join(
        f"{line}\n"
        for line in (
            *HEADER.format(source=_oneline(found.source), rows=found.rows).splitlines(),
            "",
            f"name: {_named(wishes.name or study_name(found.source))}",
            "",
            *_data(found, wishes),
            "",
            *_space(found),
            "",
            *_search(found, wishes.minutes),
        )
    )


def study_name(source: str) -> str:
    """A name that a study may have, from its data's."""
    stem = PurePath(source.removeprefix("sklearn:")).name.split(".")[0] or "study"
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem)
    return (plain.lstrip("._-") or "study")[:60]


def _named(name: str) -> str:
    """A name as YAML takes it for text: `2020`, `1e5` and `null` are none as they stand."""
    plain = name.isascii() and name[0].isalpha() and name.lower() not in _NO_TEXT
    return name if plain and re.fullmatch(r"[\w.-]+", name) else quoted(name)


def _data(found: Inspection, wishes: Wishes) -> Iterator[str]:
    yield "data:"
    yield f"  source: {quoted(found.source)}"
    if wishes.label is not None:
        yield f"  label: {quoted(wishes.label)}  # never shown to the model; codes are judged by how well they tell it"
    odd = list(dict.fromkeys(text for column in found.columns for text in column.odd))
    if odd:
        named = ", ".join(_oneline(column.name) for column in found.columns if column.odd)
        known = dict.fromkeys(text for column in found.columns for text in column.sentinels)
        texts = ", ".join(map(quoted, dict.fromkeys((*odd, *known))))
        yield f"  read: {{missing: [{texts}]}}  # some are no numbers or dates: {named}"
    if found.incomplete or odd:
        share = f"{found.incomplete:,} of {found.rows:,} rows have missing values"
        yield f"  missing: mask  # {share}: left out of the loss. Or: mean, median, drop"
    copies = [quoted(column.name) for column in _copies(found)]
    if copies:
        yield f"  exclude: [{', '.join(copies)}]  # copies of the label, which the model is not to see"
    heavy = [column for column in found.columns if column.scaling is not None and not column.tells]
    if heavy and found.kind == "table":
        yield "  columns:  # what is declared of single columns; the others are as they are found"
        yield from (f"    {quoted(one.name)}: {{scaling: {one.scaling}}}  # {_oneline(one.notes[0])}" for one in heavy)
    if found.group:
        yield f"  split: {{group: {quoted(found.group)}}}  # rows of one may belong together: none is split"
    if found.scaling is not None:
        yield f"  scaling: {found.scaling}  # there are values far out; or standard, minmax, none"
    elif found.columns:
        yield "  scaling: standard  # or minmax, robust, none"
    yield from _listed(found)


def _listed(found: Inspection) -> Iterator[str]:
    """What was found, as comments."""
    if found.columns or found.notes:
        yield "  # Found:"
    shown = found.columns[:SHOWN]
    yield from (f"  #   {_oneline(column.name)}: {_words(column, found.group)}" for column in shown)
    if len(found.columns) > len(shown):
        yield f"  #   and {len(found.columns) - len(shown):,} more columns: tuner inspect {_oneline(found.source)}"
    yield from (f"  # {_oneline(note)}" for note in found.notes)
    if found.duplicates:
        yield f"  # {found.duplicates:,} rows are equal to an earlier one."


def _words(column: ColumnFacts, group: str | None) -> str:
    if not column.modelled:
        return _oneline(f"{column.type}, {column.notes[0]}" if column.notes else f"{column.type}, left out")
    if column.tells and column.name != group:
        return f"{column.type}, left out: it tells the label"
    gaps = f", {column.missing:,} missing" if column.missing else ""
    return f"{column.type}{gaps}{', decides on the split' if column.name == group else ''}"


def _oneline(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _space(found: Inspection) -> Iterator[str]:
    features, train = max(1, _features(found)), max(1, int(found.rows * 0.7))
    widest = min(512, max(16, 1 << math.ceil(math.log2(4 * features))))
    batches = [size for size in (16, 32, 64, 128, 256) if size <= max(16, train // 8)][-3:]
    batches = [size for size in batches if size <= train] or [max(1, train // 2)]
    code = bottleneck(features, train)
    yield "space:"
    yield "  learning_rate: {type: float, low: 1e-4, high: 3e-2, log: true}"
    yield f"  batch_size: {_choice(batches)}"
    yield "  depth: {type: int, low: 1, high: 3}  # hidden layers on each side"
    yield f"  width: {{type: int, low: {min(16, widest // 2)}, high: {widest}, log: true}}"
    yield "  activation: {type: categorical, choices: [relu, gelu, silu, tanh]}"
    yield f"  bottleneck: {code}  # length of the code, for {features} columns of numbers; a longer one loses less"


def _features(found: Inspection) -> int:
    """Encoded columns without those of the group, which decides on the split and is not modelled, and of copies."""
    owner = [column for column in found.columns if column.name == found.group and column.modelled]
    gone = [min(31, (one.distinct or 0) + 1) if one.type == "categorical" else 1 for one in (*owner, *_copies(found))]
    return found.features - sum(gone)


def _copies(found: Inspection) -> list[ColumnFacts]:
    """Columns that tell the label; the group may, and is not modelled."""
    return [column for column in found.columns if column.tells and column.name != found.group]


def bottleneck(features: int, train: int) -> int:
    """A code's length: a quarter of the columns and of the training rows at most, between 2 and 32.

    It is shorter than a row, and too short to hold each training row by itself.
    """
    return max(1, min(features - 1, train - 2, max(2, min(32, round(features / 4), train // 4))))


def _choice(sizes: list[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{{type: categorical, choices: [{', '.join(map(str, sizes))}]}}"


def _search(found: Inspection, minutes: float | None) -> Iterator[str]:
    trials = next(count for most, count in TRIALS if found.rows <= most)
    yield "search:"
    if minutes is None:
        yield f"  trials: {trials}  # in all; more of them can be added later"
    else:
        yield f"  minutes: {minutes:.12g}  # how many trials there is time for is found when the study begins"
    yield "  # Trials train until their loss is flat; `epochs: 50` or `steps: 10000` would set how long instead."


def quoted(text: str) -> str:
    """A text as YAML takes it for text."""
    if not text.isprintable():
        return json.dumps(text)
    return "'" + text.replace("'", "''") + "'"
