"""Where a declaration's data lies, and whether it may be read from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tuner.errors import DataError


@dataclass(frozen=True, slots=True)
class Sources:
    """The folder that relative sources are in, the one that no source may be outside of, and data in memory.

    Attributes:
        base: of the space file.
        root: the data root; None where any file may be read.
        data: a table or array that was given in Python in the place of a file.
    """

    base: Path
    root: Path | None = None
    data: object = field(default=None, compare=False)

    def path(self, source: str) -> Path:
        """The file or folder that `data.source` names.

        With a data root, links are followed before it is compared, those of a folder's files included, and what lies
        outside is refused whether it exists or not.

        Raises:
            DataError: it is outside the data root, or its home folder is unknown.
        """
        path = self.base / _expanded(source)
        if self.root is None:
            return path
        path = _resolved(path)
        for each in (path, *_entries(path)):
            if not _resolved(each).is_relative_to(_resolved(self.root)):
                raise DataError("must be inside the data root (TUNER_DATA_ROOT), links included, but leads out of it.")
        return path


def _entries(path: Path) -> Iterator[Path]:
    """What is in a folder and in its folders, which may be links: class folders of images are read as well."""
    if path.is_dir():
        for entry in path.iterdir():
            yield entry
            if entry.is_dir():
                yield from entry.iterdir()


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (RuntimeError, ValueError):  # links in a circle (before Python 3.13), a name with a null byte
        raise DataError("must be a file's name that leads somewhere.") from None


def _expanded(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:
        raise DataError("must begin with the home folder of a user of this machine where it begins with ~.") from None
