"""Finding the characters that a text file is written with, in its first lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tuner.data.tables.cells import is_missing, is_number, is_time
from tuner.data.tables.records import Marks, parsed
from tuner.spec.data import ReadSpec

DELIMITERS = (",", ";", "\t", "|", " ")
_COLUMNS_LOOKED_AT = 200
_WORDS = 0.3  # what words with blanks between them come to at most
_DECLARED = re.compile(r"\s*\"?sep=(.)\"?\s*")  # what Excel puts before a table for itself
_SINGLE_QUOTED = re.compile(r"(?:^|[,;\t| ])'[^']*'(?=\s*(?:[,;\t|]|$))", re.MULTILINE)
_DOUBLE_QUOTED = re.compile(r"(?:^|[,;\t| ])\"", re.MULTILINE)


def find_marks(lines: Sequence[str], read: ReadSpec) -> Marks:
    """The characters by which the lines become the most regular table.

    Args:
        lines: the first of the file, with their ends.
        read: what is declared of them.
    """
    declared = declared_delimiter(lines[0]) if lines else None
    body = lines[1:] if declared else lines
    wanted = read.delimiter or declared
    quote, comment = read.quote or _quote(body), read.comment or _comment(body)
    best = _best(body, quote, comment, wanted)
    if read.comment is None and comment is not None and _are_rows(body, best):
        best = _best(body, quote, None, wanted)
    is_spaced, is_padded = _blanks(body, best)
    return replace(best, is_spaced=is_spaced, is_padded=is_padded)


def _best(lines: Sequence[str], quote: str, comment: str | None, wanted: str | None) -> Marks:
    """The delimiter that makes the most regular table; a comma where there is but one column."""
    candidates = [Marks(each, quote, None, comment) for each in ((wanted,) if wanted else DELIMITERS)]
    if quote == '"' and any('\\"' in line for line in lines):
        candidates += [replace(marks, escape="\\") for marks in candidates]
    scores = [_score(lines, marks) for marks in candidates]
    best = candidates[scores.index(max(scores))]
    is_found = max(scores) > (_WORDS if best.delimiter == " " else 0)
    return best if wanted or is_found else Marks(",", quote, None, comment)


def _are_rows(lines: Sequence[str], marks: Marks) -> bool:
    """Whether what seem to be comments are rows: below the first one, as many cells, and no blank behind the mark."""
    mark = marks.comment or ""
    records = [cells for _, cells in parsed(lines, replace(marks, comment=None))]
    is_marked = [cells[0].lstrip().startswith(mark) for cells in records]
    if all(is_marked):
        return False
    usual = width([cells for cells, marked in zip(records, is_marked, strict=True) if not marked])
    below = [cells for cells, marked in zip(records, is_marked, strict=True) if marked][is_marked.index(False) :]
    return usual > 1 and any(len(cells) == usual and not cells[0].lstrip()[1:2].isspace() for cells in below)


def declared_delimiter(line: str) -> str | None:
    """The delimiter that a line `sep=;` names."""
    match = _DECLARED.fullmatch(line.removeprefix("\ufeff"))
    return match[1] if match else None


def width(records: Sequence[Sequence[str]]) -> int:
    """How many cells most records have; of equally frequent numbers the greater."""
    counts = Counter(len(cells) for cells in records)
    return max(counts, key=lambda count: (counts[count], count), default=0)


def _quote(lines: Sequence[str]) -> str:
    text = "".join(lines)
    return "'" if not _DOUBLE_QUOTED.search(text) and len(_SINGLE_QUOTED.findall(text)) >= 2 else '"'


def _comment(lines: Sequence[str]) -> str | None:
    """What lines begin with that are fewer than those of the table, or stand above it."""
    said = [line.lstrip() for line in lines if line.strip()]
    for mark in ("#", "%"):
        places = [place for place, line in enumerate(said) if line.startswith(mark) and line[1:2] not in DELIMITERS[:4]]
        if places and (len(places) < len(said) / 2 or (places[0] == 0 and len(places) < len(said))):
            return mark
    return None


def _score(lines: Sequence[str], marks: Marks) -> float:
    """How regular the table is: the share of records that have the usual number of cells, times how plain cells are."""
    if not any(marks.delimiter in line or (marks.delimiter == " " and "\t" in line) for line in lines):
        return 0.0
    records = [cells for _, cells in parsed(lines, marks)]
    usual = width(records)
    if usual < 2:
        return 0.0
    regular = [cells for cells in records if len(cells) == usual]
    looked_at = [cell for cells in regular for cell in cells[:_COLUMNS_LOOKED_AT]]
    plain = sum(_plainness(cell, marks.delimiter) for cell in looked_at) / len(looked_at)
    lost = len(records) / max(1, sum(1 for line in lines if line.strip()))  # what could not be parsed
    few = 0.8 if marks.delimiter == " " else 1.0  # blanks stand between words as well
    return few * (0.5 + 0.5 * min(1.0, lost)) * plain * len(regular) / len(records)


def _plainness(cell: str, delimiter: str) -> float:
    if is_number(cell) or is_time(cell):
        return 1.0
    if is_missing(cell):
        return 0.8
    return 0.3 if delimiter == " " or any(other in cell for other in ",;\t|" if other != delimiter) else 0.7


def _blanks(lines: Sequence[str], marks: Marks) -> tuple[bool, bool]:
    """Whether nearly every cell but a line's first begins with a blank, and but its last ends with one."""
    if marks.delimiter in " \t":
        return False, False
    rows = [cells[:_COLUMNS_LOOKED_AT] for _, cells in parsed(lines, Marks(marks.delimiter, None, None, marks.comment))]
    later = [cell for cells in rows for cell in cells[1:] if cell.strip()]
    sooner = [cell for cells in rows for cell in cells[:-1] if cell.strip()]
    is_spaced = bool(later) and sum(cell.startswith(" ") for cell in later) >= 0.9 * len(later)
    return is_spaced, is_spaced and sum(cell.endswith(" ") for cell in sooner) >= 0.9 * len(sooner)
