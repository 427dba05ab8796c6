"""Lines of another number of cells than the table's: footers below it, or mistakes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.data.tables.cells import is_number
from tuner.data.tables.layout import Layout
from tuner.errors import DataError

_SHOWN = 60
_FOOTER = re.compile(r"\s*(?:[=\-_*]{3,}|\(|\[|\*|sources?\b|notes?\b|footnotes?\b|quelle\b|fuente\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Odd:
    line: int
    cells: int
    text: str


@dataclass(slots=True)
class Ragged:
    """The lines of a file that do not fit, in their order, and those that were padded."""

    layout: Layout
    odd: list[_Odd] = field(default_factory=list)
    padded: list[int] = field(default_factory=list)
    _short: int = 0

    def fitted(self, line: int, cells: list[str]) -> list[str] | None:
        """The cells of a record, as many as the table has: empty ones at its end may be too few or too many.

        Args:
            line: where the record begins.
            cells: of it.
        """
        wanted = self.layout.cells
        if len(cells) == wanted:
            return cells
        if self.layout.has_end and len(cells) == wanted - 1:
            return [*cells, ""]  # the last line of a file often lacks the delimiter at its end
        ends_empty = len(cells) > 1 and not cells[-1].strip()
        if ends_empty and (len(cells) < wanted or not any(cell.strip() for cell in cells[wanted:])):
            self.padded.append(line)
            self._short = line if len(cells) < wanted else 0
            return [*cells[:wanted], *[""] * (wanted - len(cells))]
        self.odd.append(_Odd(line, len(cells), _shown(self.layout.marks.delimiter.join(cells[:_SHOWN]))))
        return None

    def refuse_cut(self, last: int) -> None:
        """Refuse a last line that ends early, where the file may have been cut off.

        Raises:
            DataError: it does.
        """
        if last and self._short == last:
            raise DataError(
                f"line {last}: must have {self.layout.columns:,} cells as the lines above it, got fewer in the file's"
                " last line, which may be cut off; mend it, or leave it out with data.read.footer: 1."
            )

    def refuse(self, before: float = float("inf")) -> None:
        """Say what is wrong above a line.

        Raises:
            DataError: there is a line that does not fit.
        """
        odd = [each for each in self.odd if each.line < before]
        if not odd:
            return
        first, wanted = odd[0], self.layout.columns
        others = f" ({len(odd):,} such lines)" if len(odd) > 1 else ""
        whose = "the header has" if self.layout.header is not None else "most lines have"
        cells = "1 cell" if first.cells == 1 else f"{first.cells:,} cells"
        raise DataError(
            f"line {first.line}: must have as many cells as {whose} ({wanted:,}), got {cells}"
            f" in {first.text!r}{others}; {_advice(first, wanted)}."
        )

    def take_footer(self, last: int) -> str | None:
        """Forget the lines below the table's last row that are plainly no rows of it; says so.

        One line of less cells than others may be a row that was cut off: it must look like a footer. Several cannot be.

        Args:
            last: the line of the last row that fits.
        """
        below = [each for each in self.odd if each.line > last]
        is_footer = self.layout.columns > 2 and all(each.cells == 1 and not is_number(each.text) for each in below)
        if not below or not is_footer or (len(below) == 1 and _FOOTER.match(below[0].text) is None):
            return None
        del self.odd[-len(below) :]
        return f"{_spanned([each.line for each in below], 'stand')} below the table and {_verb(below)} passed over."

    def padded_note(self) -> str | None:
        """What was done to lines whose last cells are empty."""
        if not self.padded:
            return None
        many = "1 line has" if len(self.padded) == 1 else f"{len(self.padded):,} lines have"
        where = f"line {self.padded[0]}" if len(self.padded) == 1 else f"the first is line {self.padded[0]}"
        return f"{many} too few or too many empty cells at the end ({where}); they are read as empty."


def _advice(odd: _Odd, wanted: int) -> str:
    """The key that helps, by what the line looks like."""
    begins = odd.text.lstrip()[:1]
    if odd.cells == 1 and begins and begins in "#%*!/":
        return f"data.read.comment: '{begins}' passes over lines that begin so"
    if odd.cells < wanted:
        return "mend it, or where the table ends above it set data.read.footer to the number of lines from it on"
    return "put quotes around cells that hold the delimiter, or name another with data.read.delimiter"


def _spanned(lines: Sequence[int], verb: str) -> str:
    return f"Line {lines[0]} {verb}s" if len(lines) == 1 else f"Lines {lines[0]} to {lines[-1]} {verb}"


def _verb(lines: Sequence[object]) -> str:
    return "is" if len(lines) == 1 else "are"


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
