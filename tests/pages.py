"""A page as a program reads it: its elements, their attributes, and the words between them."""

from __future__ import annotations

from html.parser import HTMLParser

Attributes = dict[str, str | None]


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        elements: name and attributes of each, in order.
        words: all text that a reader sees, and none of scripts and styles.
        cells: the rows of all tables, each the text of its cells.
        data: the text of the script with an id, by that id.
    """

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        self.words, self.cells, self.data = "", list[list[str]](), dict[str, str]()
        self._in_cell = False
        self._inside: list[tuple[str, Attributes]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1][0] == tag:
            self._inside.pop()
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data[self._inside[-1][1].get("id") or self._inside[-1][0]] = data
            return
        self.words += data + " "
        if self._in_cell:
            self.cells[-1][-1] += data

    def of(self, tag: str) -> list[Attributes]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]
