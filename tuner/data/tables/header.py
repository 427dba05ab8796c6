"""Whether a table's first record names its columns, and what stands around it: titles above, units below."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from tuner.data.tables.cells import is_missing, is_number, is_numeric, is_time, is_word

_COLUMNS_LOOKED_AT = 1000
_LONGEST_UNIT = 15
_BRACKETED = re.compile(r"\[.*\]|\(.*\)")
_UNITS = frozenset(
    unit
    for line in (
        "% ° °c °f degc degf deg c f k rad m cm mm km nm um µm ft in mi m2 m3 m^2 m^3 l ml m3/h l/min",
        "s sec ms us min h hr d day days y yr year years hz khz mhz ghz rpm m/s km/h kmh mph",
        "kg g mg µg ug lb t mol mmol ppm ppb pa hpa kpa mpa bar mbar psi n kn",
        "j kj mj kwh wh mwh w kw mw v mv kv a ma ohm db usd eur € $ count counts 1",
    )
    for unit in line.split()
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
        near = records[place : place + 2]
        if is_row_names_header(near, usual) or _is_trailing(near, usual) or is_long_header(near, usual):
            return place
    return 0


def _is_padded_title(cells: Sequence[str]) -> bool:
    is_said = is_word(cells[0]) or not cells[0].strip()
    return len(cells) > 2 and is_said and not any(cell.strip() for cell in cells[1:])


def _is_trailing(records: Sequence[Sequence[str]], usual: int) -> bool:
    """A header that ends with a delimiter above rows that do not, or the other way round."""
    if len(records) < 2 or len(records[1]) != usual:
        return False
    longer = len(records[0]) == usual + 1 and not records[0][-1].strip()
    return longer or (len(records[0]) == usual - 1 and not records[1][-1].strip())


def is_long_header(records: Sequence[Sequence[str]], usual: int) -> bool:
    """A header above rows from whose ends empty cells were cut."""
    if len(records) < 2 or not 1 < usual < len(records[0]) or records[1][-1].strip():
        return False
    return all(is_word(name) for name in records[0]) and len(set(records[0])) == len(records[0])


def is_row_names_header(records: Sequence[Sequence[str]], usual: int) -> bool:
    """A header one cell short, as R writes it above rows that begin with their names."""
    if len(records) < 2 or usual < 2 or len(records[0]) != usual - 1 or len(records[1]) != usual:
        return False
    names, first = records
    is_named = all(is_word(name) for name in names) and len(set(names)) == len(names)
    return is_named and bool(first[-1].strip()) and any(map(is_number, first[1:]))


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
    if is_missing(cell):
        return 0
    if is_numeric(below):
        is_date_above_numbers = is_time(cell) and not is_number(cell) and not any(map(is_time, below))
        return 1 if is_word(cell) or is_date_above_numbers else -1
    if is_word(cell):
        return -1 if any(other.strip() == cell.strip() for other in below) else 0
    return -1


def numbers_name(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record's numbers are names: wavelengths, years, 0, 1, 2, 3; words may stand beside them."""
    first, rest = records[0], records[1:]
    places = [place for place, cell in enumerate(first) if is_number(cell)]
    others = [place for place in range(len(first)) if place not in set(places)][:_COLUMNS_LOOKED_AT]
    if not places or places[-1] - places[0] >= len(places) or not rest:
        return False
    if any(_vote(first[place], [row[place] for row in rest]) < 0 for place in others):
        return False
    within = slice(places[0], places[-1] + 1)
    values = _values(first[within])
    if values is None or not _rises(values):
        return False
    below = [row[within] for row in rest]
    if len(values) < 3:
        return _counts_above_decimals(first[within], below, bool(others))
    rising = sum(row is not None and _rises(row) for row in map(_values, below))
    return rising < len(below) / 2 or (rising < len(below) and _is_beyond(values, below))


def _is_beyond(values: Sequence[float], below: Sequence[Sequence[str]]) -> bool:
    """Whether the numbers are greater than all below them, as years and wavelengths mostly are."""
    rows = [row for row in map(_values, below) if row is not None]
    return all(value > max((row[place] for row in rows), default=0) for place, value in enumerate(values))


def _counts_above_decimals(cells: Sequence[str], rest: Sequence[Sequence[str]], has_others: bool) -> bool:
    """One or two columns called 0 and 1, above numbers with decimals or beside an index without a name."""
    if [cell.strip() for cell in cells] not in (["0"], ["0", "1"]):
        return False
    return has_others or any("." in cell or "," in cell for row in rest for cell in row)


def _values(cells: Sequence[str]) -> list[float] | None:
    try:
        return [float(cell.replace(",", ".")) for cell in cells]
    except ValueError:
        return None


def _rises(values: Sequence[float]) -> bool:
    """Evenly up or down; eight or more numbers may do so unevenly."""
    steps = [later - earlier for earlier, later in itertools.pairwise(values)]
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
    if any((is_number(word) and word != "1") or is_time(word) or len(word) > _LONGEST_UNIT for word in words):
        return False
    known = sum(_is_unit(word) for word in words)
    return known >= max(1, len(words) / 2) and any(map(is_word, words))


def _is_unit(word: str) -> bool:
    return _BRACKETED.fullmatch(word) is not None or word.lower() in _UNITS
