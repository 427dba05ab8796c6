"""Safe HTML and SVG from untrusted text: what is not `Html` already is escaped where it is put in."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import final

# What XML 1.0 does not allow in a document at all, and halves of characters, which UTF-8 cannot write.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SHORT = 16  # characters of a cell that stays in one line
LONGEST_TEXT = 400  # of a name or a reason; the record has all of it


@final
class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as markup: escaped, with what no document may hold replaced; numbers in a reader's digits."""
    if isinstance(value, Html):
        return value
    return whole(shown(value))


def whole(words: str) -> Html:
    """A text of any length as markup."""
    return Html(html.escape(_FORBIDDEN.sub("\ufffd", words), quote=True))


def shown(value: object) -> str:
    """A value as a reader wants it: four digits that count, and a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return cut(str(value))


def cut(words: str, most: int = LONGEST_TEXT) -> str:
    """A text of at most so many characters, its middle left out where it is longer."""
    half = (most - 1) // 2
    return words if len(words) <= most else f"{words[:half]}…{words[-half:]}"


def join(parts: Iterable[str]) -> Html:
    """Markup one after the other; each part must be `Html`, or is escaped."""
    return Html("".join(text(part) for part in parts))


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """One element. An attribute's last underscore is dropped, others become hyphens; None leaves the attribute out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{''.join(text(part) for part in content)}</{name}>")


def _attribute(value: object) -> str:
    """A number in an attribute is for programs: no grouping, two decimals."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value) if isinstance(value, int) else whole(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table; columns of numbers are right-aligned, and short words are not broken."""
    rows = [list(row) for row in rows]
    kinds = [_kind(column) for column in zip(*rows, strict=True)]
    kinds += [None] * (len(head) - len(kinds))
    body = [element("tr", *(element("td", v, class_=k) for v, k in zip(row, kinds, strict=True))) for row in rows]
    named = element("caption", caption) if caption else Html("")
    titles = (element("th", _breakable(name), scope="col", class_=kind) for name, kind in zip(head, kinds, strict=True))
    top = element("thead", element("tr", *titles))
    inside = element("table", named, top, element("tbody", *body))
    return element("div", inside, class_="wide", tabindex=0, role="region", aria_label=caption or ", ".join(head)[:80])


def _breakable(name: str) -> Html:
    """A name that may be broken after its underscores."""
    return Html(text(name).replace("_", "_<wbr>"))


def _kind(column: Sequence[object]) -> str | None:
    if any(map(_is_number, column)):
        return "number"
    return "short" if all(len(str(value)) <= SHORT for value in column) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
