"""Whether a table's first record names its columns, and what stands around it: titles above, units below."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tuner.data.tables.cells import is_missing, is_number, is_numeric, is_time, is_word

_COLUMNS_LOOKED_AT = 1000
_LONGEST_UNIT = 15
_BRACKETED = re.compile(r"\[.*\]|\(.*\)")
_UNITS = frozenset(
    "% °c °f degc degf c f k m cm mm km nm um µm ft in mi s sec ms us min h hr d day days y yr year years kg g mg µg ug lb"
    " t pa hpa kpa mpa bar mbar psi n kn j kj mj kwh wh mwh w kw mw v mv kv a ma ohm hz khz mhz ghz rpm l ml m2 m3 m^2 m^3"
    " m/s km/h mph kmh m3/h l/min mol mmol ppm ppb db deg ° rad usd eur € $ count counts - 1".split()
)


def titles(records: Sequence[Sequence[str]], usual: int) -> int:
    """How many records above the table are titles: of another number of cells, or one cell beside empty ones.

    Args:
        records: the first of the file.
        usual: how many cells a record of the table has.
    """
    for place, cells in enumerate(records):
        if len(cells) == usual and not _is_padded_title(cells):
            return place
        if is_row_names_header(records[place : place + 2], usual) or _is_trailing(records[place : place + 2], usual):
            return place
    return 0


def _is_padded_title(cells: Sequence[str]) -> bool:
    return len(cells) > 2 and is_word(cells[0]) and not any(cell.strip() for cell in cells[1:])


def _is_trailing(records: Sequence[Sequence[str]], usual: int) -> bool:
    """A header that ends with a delimiter above rows that do not, or the other way round."""
    if len(records) < 2 or len(records[1]) != usual:
        return False
    longer = len(records[0]) == usual + 1 and not records[0][-1].strip()
    return longer or (len(records[0]) == usual - 1 and not records[1][-1].strip())


def is_row_names_header(records: Sequence[Sequence[str]], usual: int) -> bool:
    """A header one cell short, as R writes it above rows that begin with their names."""
    if len(records) < 2 or usual < 2 or len(records[0]) != usual - 1 or len(records[1]) != usual:
        return False
    names = records[0]
    return all(is_word(name) for name in names) and len(set(names)) == len(names) and bool(records[1][-1].strip())


def is_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns of the others.

    A word above numbers is a name; a number above numbers is a value, unless the first record's numbers rise evenly
    as wavelengths, years or 0, 1, 2 do and those of no other record do; a word that comes again below is a value.

    Args:
        records: the table's first ones, each of the same number of cells.
    """
    first, rest = records[0], records[1:]
    if not rest:
        return not all(is_number(cell) for cell in first)
    if numbers_name(records):
        return True
    votes = [
        _vote(first[place], [cells[place] for cells in rest]) for place in range(min(len(first), _COLUMNS_LOOKED_AT))
    ]
    if any(vote > 0 for vote in votes) or any(vote < 0 for vote in votes):
        return sum(votes) > 0
    return any(cell.strip() for cell in first) and len(set(first)) == len(first)


def _vote(cell: str, below: Sequence[str]) -> int:
    """1 for a name, -1 for a value, 0 for neither."""
    if is_numeric(below):
        return (1 if is_word(cell) else -1) if not is_missing(cell) else 0
    if is_word(cell):
        again = sum(other.strip() == cell.strip() for other in below)
        return -1 if again else 0
    return -1 if is_number(cell) or is_time(cell) else 0


def numbers_name(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record's numbers are names: wavelengths, years, 0, 1, 2, 3."""
    first, rest = records[0], records[1:]
    cells = first if is_number(first[0]) else first[1:]  # the first column's own name may be a word, or empty
    if not cells or not all(is_number(cell) for cell in cells):
        return False
    start = len(first) - len(cells)
    if start and _vote(first[0], [row[0] for row in rest]) < 0:
        return False
    values = _values(cells)
    if values is None or not _rises(values):
        return False
    below = [_values(row[start:]) for row in rest]
    if any(row is not None and len(row) == len(values) and _rises(row) for row in below):
        return False
    return len(values) >= 3 or _counts_above_decimals(cells, [row[start:] for row in rest], is_alone=not start)


def _counts_above_decimals(cells: Sequence[str], rest: Sequence[Sequence[str]], is_alone: bool) -> bool:
    """One or two columns called 0 and 1, above numbers with decimals or beside an index without a name."""
    if [cell.strip() for cell in cells] not in (["0"], ["0", "1"]):
        return False
    return not is_alone or any("." in cell or "," in cell for row in rest for cell in row)


def _values(cells: Sequence[str]) -> list[float] | None:
    try:
        return [float(cell.replace(",", ".")) for cell in cells]
    except ValueError:
        return None


def _rises(values: Sequence[float]) -> bool:
    """Evenly up or down; eight or more numbers may do so unevenly."""
    steps = [later - earlier for earlier, later in zip(values, values[1:], strict=False)]
    if not steps:
        return values[0] == 0
    if not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        return False
    return len(values) >= 8 or all(math.isclose(step, steps[0], rel_tol=1e-3) for step in steps)


def is_units(records: Sequence[Sequence[str]]) -> bool:
    """Whether the record below the header holds units: short words above every column that holds numbers.

    Args:
        records: those below the header.
    """
    if len(records) < 3:
        return False
    units, rest = records[0], records[1:]
    numeric = [
        place for place in range(min(len(units), _COLUMNS_LOOKED_AT)) if is_numeric([cells[place] for cells in rest])
    ]
    words = [units[place].strip() for place in numeric if units[place].strip()]
    if not words or any(is_number(word) and word != "1" or is_time(word) for word in words):
        return False
    if any(len(word) > _LONGEST_UNIT for word in words):
        return False
    known = sum(_is_unit(word) for word in words)
    return known >= max(1, len(words) / 2)


def _is_unit(word: str) -> bool:
    return _BRACKETED.fullmatch(word) is not None or word.lower() in _UNITS
