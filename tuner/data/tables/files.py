"""Which files a source means, and their rows as one table."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tables import arrow, excel, text
from tuner.data.tables.names import listed
from tuner.data.tables.numerals import find_numerals
from tuner.data.tables.opening import stem
from tuner.errors import DataError
from tuner.spec.data import DataSpec, ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (*text.ENDINGS, *arrow.PARQUET, *arrow.ARROW, *excel.ENDINGS)
_OF_TEXT = ("delimiter", "quote", "encoding", "comment", "decimal", "thousands")
_OF_ROWS = ("header", "skip", "units", "footer")


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of one table.

    Attributes:
        files: one at least, in the order of their names.
        notes: what was passed over.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def read_table(path: Path, spec: DataSpec, sources: Sources) -> SourceTable:
    """A table of one file or of several.

    Args:
        path: a file, a folder of parts, or a pattern such as `parts/*.csv`, as `sources` resolves `spec.source`.
        spec: `source` for messages, and `read`.
        sources: checks each file that a pattern or a folder leads to.

    Raises:
        DataError: it cannot be read; one sentence with the line or row, without the source's own name, which the
            caller puts before it.
    """
    parts, read = table_parts(path), spec.read or ReadSpec()
    for file in parts.files:
        sources.path(str(file.absolute()))
    if len(parts.files) == 1:
        table = _read(parts.files[0], spec.source, read)
        return replace(table, notes=(*parts.notes, *table.notes))
    return _joined(parts, spec.source, read)


def table_blocks(path: Path, read: ReadSpec, rows_at_once: int) -> Iterator[SourceTable]:
    """The rows of a table block by block, in bounded memory.

    Args:
        path: a file, a folder of parts, or a pattern.
        read: how it is read, as `SourceTable.read` has it; what is None is found anew.
        rows_at_once: the most rows of a block; wide tables come in smaller ones. Excel's come in one.

    Raises:
        DataError: as `read_table`.
    """
    parts = table_parts(path)
    notes: tuple[str, ...] = parts.notes
    for file in parts.files:
        with _named(file, len(parts.files) > 1):
            for block in _blocks(file, read, rows_at_once):
                name = ((file.name, 0),) if len(parts.files) > 1 else ()
                yield replace(block, notes=(*notes, *block.notes), parts=name)
                notes = ()


def is_table(path: Path) -> bool:
    """Whether a path is a table's by its ending, a folder that holds some, or a pattern."""
    try:
        if path.is_dir():
            return any(_kind(file) for file in path.iterdir() if not _is_hidden(file))
        return _kind(path) is not None or (glob.has_magic(str(path)) and not path.exists())
    except DataError:  # an archive that `table_parts` has a sentence for
        return True


def table_parts(path: Path) -> Parts:
    """The files that a path, a folder or a pattern leads to.

    Raises:
        DataError: there are none, or their endings are no table's.
    """
    if path.is_dir():
        return _of_one_kind([file for file in sorted(path.iterdir()) if file.is_file()], "the folder")
    if glob.has_magic(str(path)) and not path.exists():
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - path is absolute
        if not found:
            raise DataError("must name files with its pattern, got none that fit it.")
        return _of_one_kind([file for file in found if file.is_file()], "the pattern")
    if _kind(path) is None:
        came = stem(path)[0] or "no ending"
        raise DataError(f"must end in {', '.join(ENDINGS)}, got {came}.")
    return Parts((path,))


def _of_one_kind(files: Sequence[Path], what: str) -> Parts:
    """Those of the ending that most have; the others are said to be passed over."""
    shown = [file for file in files if not _is_hidden(file)]
    kinds = Counter(kind for file in shown if (kind := _kind(file)))
    if not kinds:
        there = f"{len(files):,} other files" if files else "none"
        raise DataError(f"{what} must hold files that end in {', '.join(ENDINGS)}, got {there}.")
    usual = kinds.most_common(1)[0][0]
    used = [file for file in shown if _kind(file) == usual]
    passed = [file.name for file in files if file not in set(used)]
    notes = [f"{len(used):,} files are read as one table: {listed([file.name for file in used], 3)}."][: len(used) - 1]
    if passed:
        notes.append(f"{len(passed):,} other files are passed over: {listed(passed)}.")
    return Parts(tuple(used), tuple(notes))


def _is_hidden(file: Path) -> bool:
    return file.name.startswith((".", "_"))


def _kind(path: Path) -> str | None:
    """What reads a file: text, arrow or excel; None where nothing does."""
    ending = path.suffix.lower() if path.is_dir() or not path.exists() else stem(path)[0]
    for kind, endings in (
        ("text", text.ENDINGS),
        ("arrow", (*arrow.PARQUET, *arrow.ARROW)),
        ("excel", excel.ENDINGS),
    ):
        if ending in endings:
            return kind
    return None


_READERS: dict[str, Callable[[Path, str, ReadSpec], SourceTable]] = {
    "text": text.read_text,
    "arrow": arrow.read_arrow,
    "excel": excel.read_excel,
}


def _read(path: Path, where: str, read: ReadSpec) -> SourceTable:
    kind = _kind(path) or "text"
    _refuse_keys(kind, path, read)
    return _READERS[kind](path, where, read)


def _blocks(path: Path, read: ReadSpec, rows_at_once: int) -> Iterator[SourceTable]:
    kind = _kind(path) or "text"
    if kind == "text":
        yield from text.text_blocks(path, path.name, read, rows_at_once)
    elif kind == "arrow":
        yield from arrow.arrow_blocks(path, path.name, read, rows_at_once)
    else:
        yield excel.read_excel(path, path.name, read)


def _refuse_keys(kind: str, path: Path, read: ReadSpec) -> None:
    """Keys that say nothing of a file of this kind."""
    odd = {"text": ("sheet",), "arrow": (*_OF_TEXT, *_OF_ROWS, "sheet"), "excel": _OF_TEXT}[kind]
    given = [key for key in odd if getattr(read, key) is not None]
    if given:
        raise DataError(f"data.read.{given[0]} describes another kind of file, got {path.name}; leave it out.")


@contextmanager
def _named(file: Path, is_part: bool) -> Iterator[None]:
    """The part's name in every error."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{file.name}: {error}" if is_part else str(error)) from None


def _joined(parts: Parts, where: str, read: ReadSpec) -> SourceTable:
    """The rows of several files that have the same columns; later ones are read as the first."""
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    tables: list[SourceTable] = []
    for file in parts.files:
        with _named(file, True):
            found = _read(file, where, _as_the_first(tables[0].read, read) if tables else read)
            tables.append(
                replace(found, table=_like(found.table, tables[0].table, parts.files[0])) if tables else found
            )
    firsts = np.cumsum([0, *(table.table.num_rows for table in tables[:-1])]).tolist()
    whole = pa.concat_tables([table.table for table in tables], promote_options="permissive")
    first = tables[0]
    found_read, said = _numerals(whole, first, read)
    notes = dict.fromkeys((*parts.notes, *first.notes, *(note for table in tables[1:] for note in table.notes), *said))
    return replace(
        first,
        table=whole,
        places=np.concatenate([table.places for table in tables]),
        read=found_read,
        notes=tuple(notes),
        parts=tuple((file.name, at) for file, at in zip(parts.files, firsts, strict=True)),
    )


def _as_the_first(found: ReadSpec, declared: ReadSpec) -> ReadSpec:
    """What is common to the parts; titles, comments and units may differ."""
    own = ("skip", "units", "footer", "encoding", "comment")
    return found.model_copy(update={key: getattr(declared, key) for key in own})


def _numerals(whole: pa.Table, first: SourceTable, read: ReadSpec) -> tuple[ReadSpec, list[str]]:
    """Decimals and thousands by the cells of all parts."""
    if not first.is_text:
        return first.read, []
    columns = zip(whole.column_names, whole.columns, strict=True)
    decimal, thousands, said = find_numerals(columns, first.read.delimiter or ",", read)
    return first.read.model_copy(update={"decimal": decimal, "thousands": thousands}), said


def _like(table: pa.Table, first: pa.Table, file: Path) -> pa.Table:
    """The columns in the first part's order.

    Raises:
        DataError: there is one more or one less.
    """
    mine, others = set(table.column_names), set(first.column_names)
    missing = [name for name in first.column_names if name not in mine]
    more = [name for name in table.column_names if name not in others]
    if missing or more:
        what = f"without {listed(missing)}" if missing else f"with {listed(more)}"
        raise DataError(
            f"must have the same columns as {file.name}, got a table {what}; move it elsewhere, or mend it."
        )
    return table.select(first.column_names)
