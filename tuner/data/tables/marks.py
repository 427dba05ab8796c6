"""Finding the characters that a text file is written with, in its first lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tuner.data.tables.cells import is_missing, is_number, is_time
from tuner.data.tables.records import Marks, parsed
from tuner.spec.study import ReadSpec

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
    comment = read.comment or _comment(body)
    quote = read.quote or _quote(body)
    wanted = read.delimiter or declared
    candidates = [Marks(each, quote, None, comment) for each in ((wanted,) if wanted else DELIMITERS)]
    if quote == '"' and any('\\"' in line for line in body):
        candidates += [Marks(each.delimiter, quote, "\\", comment) for each in candidates]
    best = max(candidates, key=lambda marks: _score(body, marks))
    if wanted is None and _score(body, best) <= (_WORDS if best.delimiter == " " else 0):
        best = Marks(",", quote, None, comment)
    return Marks(best.delimiter, quote, best.escape, comment, _is_spaced(body, best))


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
        places = [place for place, line in enumerate(said) if line.startswith(mark)]
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


def _is_spaced(lines: Sequence[str], marks: Marks) -> bool:
    """Whether nearly every cell but the first of a line begins with a blank."""
    if marks.delimiter in " \t":
        return False
    unquoted = Marks(marks.delimiter, None, None, marks.comment)
    later = [cell for _, cells in parsed(lines, unquoted) for cell in cells[1:_COLUMNS_LOOKED_AT] if cell.strip()]
    return bool(later) and sum(cell.startswith(" ") for cell in later) >= 0.9 * len(later)
