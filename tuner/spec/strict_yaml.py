"""YAML read strictly: what the file says is what is meant, or the line is named.

Over PyYAML's event parser, which builds nothing by itself. Scalars follow YAML 1.2's core schema: `1e-3` is a number,
`no` and `on` are strings. Refused: anchors, aliases and tags (an alias bomb is a few lines long), repeated keys, deep
nesting, large files, several documents.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from tuner.errors import Problem, SpecError

MOST_BYTES = 1_000_000
MOST_VALUES = 50_000  # keys counted as well: a second or two of PyYAML
DEEPEST = 20
LONGEST_NUMBER = 400

Path_ = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
_LEADING_ZERO = re.compile(r"[-+]?0\d+", re.ASCII)
_WORDS: dict[str, bool | float | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan"),
}  # fmt: skip


@dataclass(slots=True)
class Document:
    """What a text says, and where it says it.

    Attributes:
        value: the top of it.
        lines: path of each key and item to its line, counted from 1.
    """

    value: Any
    lines: dict[Path_, int] = field(default_factory=dict)


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        SpecError: no regular, small UTF-8 file.
    """
    source = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise refused(source, "must be a file, got a directory or a device")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise refused(source, f"must be a file that can be read, got: {error.strerror or error}") from None
    except ValueError:
        raise refused(repr(source), "must be a file's name") from None
    return decoded(content, source)


def decoded(content: bytes, source: str) -> str:
    """A file's bytes as text.

    Raises:
        SpecError: they are too many, or no UTF-8.
    """
    if len(content) > MOST_BYTES:
        raise refused(source, f"must be smaller than {MOST_BYTES // 1_000_000} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise refused(source, f"must be UTF-8 text, got the byte 0x{content[error.start]:02x}", line) from None


def parse(text: str, source: str) -> Document:
    """The one document in a text.

    Raises:
        SpecError: not such YAML; every repeated key is named at once.
    """
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "a mistake").replace("\n", " ")
        raise refused(source, f"must be YAML, got: {problem}", mark.line + 1 if mark else None) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise refused(source, f"must be text, got the character {error.character!r}", line) from None
    if builder.problems:
        raise SpecError(builder.problems)
    return Document(builder.value, builder.lines)


def refused(source: str, message: str, line: int | None = None) -> SpecError:
    """A mistake of the file as a whole."""
    return SpecError([Problem("", message, line, source)])


class _Builder:
    """Builds plain values out of events."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.value: Any = None
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self._open: list[_Container] = []
        self._documents = 0
        self._values = 0

    def take(self, event: Event) -> None:
        """The next event of the parser."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise refused(self._source, "must hold one document, got a second one", line)
        elif isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise refused(self._source, "must not use anchors (&) or aliases (*); write the value out", line)
        elif (tag := getattr(event, "tag", None)) is not None:
            raise refused(self._source, f"must not use tags, got {tag}", line)
        elif isinstance(event, ScalarEvent):
            self._count(line)
            self._scalar(event, line)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._count(line)
            self._begin({} if isinstance(event, MappingStartEvent) else [], line)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._open.pop()

    def _count(self, line: int) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            raise refused(self._source, f"must hold at most {MOST_VALUES:,} keys and values", line)

    def _scalar(self, event: ScalarEvent, line: int) -> None:
        inside = self._open[-1] if self._open else None
        if inside is not None and isinstance(inside.value, dict) and inside.key is None:
            self._begin_key(inside, event.value, line)
        else:
            plain = event.style is None
            self._put(self._resolve(event.value, line) if plain else event.value, line)

    def _begin_key(self, inside: _Container, key: str, line: int) -> None:
        inside.key = key
        path = (*inside.path, key)
        if path in self.lines:
            message = f"must stand once, but stands in line {self.lines[path]} as well"
            self.problems.append(Problem(dotted(path), message, line, self._source))
        self.lines[path] = line

    def _begin(self, value: dict[str, Any] | list[Any], line: int) -> None:
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise refused(self._source, "must have words as keys, got a list or a mapping", line)
        if len(self._open) >= DEEPEST:
            raise refused(self._source, f"must not be nested deeper than {DEEPEST} levels", line)
        self._open.append(_Container(value, self._put(value, line)))

    def _put(self, value: Any, line: int) -> Path_:
        """Put a value where it belongs, and return its path."""
        if not self._open:
            self.value = value
            return ()
        inside = self._open[-1]
        if isinstance(inside.value, list):
            inside.value.append(value)
            path: Path_ = (*inside.path, len(inside.value) - 1)
            self.lines[path] = line
        else:
            key = inside.key
            assert key is not None  # the parser alternates keys and values
            inside.value[key] = value
            inside.key = None
            path = (*inside.path, key)
        return path

    def _resolve(self, text: str, line: int) -> Any:
        if len(text) > LONGEST_NUMBER and _FLOAT.fullmatch(text):
            raise refused(self._source, f"must be a number of at most {LONGEST_NUMBER} digits", line)
        if _LEADING_ZERO.fullmatch(text):
            raise refused(self._source, f"must be a number without leading zeros, got {text}", line)
        return scalar(text)


@dataclass(slots=True)
class _Container:
    """A mapping or list that is being filled."""

    value: dict[str, Any] | list[Any]
    path: Path_
    key: str | None = None


def scalar(text: str) -> bool | int | float | str | None:
    """What a plain scalar means: a word of YAML's, the number that it writes, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def dotted(path: Path_) -> str:
    """`space.batch_size.choices[2]`."""
    return "".join(_steps(path))


def _steps(path: Path_) -> Iterator[str]:
    for place, step in enumerate(path):
        if isinstance(step, int):
            yield f"[{step}]"
        else:
            yield step if place == 0 else f".{step}"
