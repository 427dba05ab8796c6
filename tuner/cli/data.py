"""Commands on a user's data, before any study: inspect, init."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tuner.answers.inspection import ColumnFacts, Inspection

Source = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A table, an array, a folder of images or of a table's parts, several files by *, or sklearn:NAME.",
    ),
]
Label = Annotated[str | None, typer.Option(metavar="COLUMN", help="A column that the model is never to see.")]
SHOWN_COLUMNS = 200


def add_to(app: typer.Typer) -> None:
    """Give an app these commands."""
    for command in (inspect, init):
        app.command()(command)


def inspect(
    source: Source,
    label: Label = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is in data: rows, columns and their types, missing values, ranges, what looks odd.

    Example: tuner inspect table.csv
    """
    found = _inspected(source, label)
    typer.echo(found.as_json() if json else "\n".join(_lines(found)))


def init(
    source: Source,
    label: Label = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The study's name. Default: the data's.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e6, metavar="N", help="How long the study may take, instead of trials."),
    ] = None,
) -> None:
    """Write a space file for data, with what was found in it and a space that fits it; it runs as it is.

    Example: tuner init table.csv > table.yaml && tuner run table.yaml
    """
    from tuner.data.initial import Wishes, space_file

    typer.echo(space_file(_inspected(source, label), Wishes(name, label, minutes)), nl=False)


def _inspected(source: str, label: str | None) -> Inspection:
    from tuner.api.workspace import workspace
    from tuner.data.inspection import inspect as inspect_data
    from tuner.data.sources import Sources
    from tuner.spec.data import DataSpec

    return inspect_data(DataSpec(source=source, label=label), Sources(Path(), workspace().data_root))


def _lines(found: Inspection) -> Iterator[str]:
    shape = " x ".join(map(str, found.shape))
    yield f"{found.source}: {found.kind}, {found.rows:,} rows of {shape}; {found.features:,} columns to train on"
    if found.columns:
        width = min(40, max(len(_oneline(column.name)) for column in found.columns))
        yield from (_line(column, width) for column in found.columns[:SHOWN_COLUMNS])
        if len(found.columns) > SHOWN_COLUMNS:
            yield f"and {len(found.columns) - SHOWN_COLUMNS:,} more columns (--json has them all)"
    if found.incomplete:
        yield f"{found.incomplete:,} rows have a missing value"
    if found.duplicates:
        yield f"{found.duplicates:,} rows are equal to an earlier one"
    if found.group:
        yield f"rows that agree in {found.group} may belong together (data.split: {{group: {found.group}}})"
    yield from found.notes


def _line(column: ColumnFacts, width: int) -> str:
    parts = [f"{_oneline(column.name)[:40]:<{width}}  {column.type:<11}"]
    if column.low is not None and column.high is not None:
        parts.append(_range(column))
    if column.levels:
        parts.append(", ".join(f"{_oneline(level)[:20]} ({count:,})" for level, count in column.levels))
    if column.missing:
        parts.append(f"{column.missing:,} missing")
    if column.odd:
        parts.append(f"not of this type: {', '.join(column.odd[:5])}")
    return "  ".join([*parts, *column.notes]).rstrip()


def _oneline(text: str) -> str:
    """A name or a level on one line of a terminal."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _range(column: ColumnFacts) -> str:
    from datetime import UTC, datetime, timedelta

    assert column.low is not None
    assert column.high is not None
    if column.type != "datetime":
        return f"{column.low:g} to {column.high:g}"
    start = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        ends = [(start + timedelta(seconds=value)).strftime("%Y-%m-%d %H:%M") for value in (column.low, column.high)]
    except OverflowError:
        return ""
    return " to ".join(ends)
