"""One folder, or one file, written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tuner.errors import ExportError, PlaceError
from tuner.export.model_card import FILES, FILES_1

_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # what file browsers leave in a folder

# What another name would cure: exit code 2. A full or failing disk is no mistake of the user's.
_WRONG = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENXIO,
        errno.EPERM,
        errno.EROFS,
    }
)


def refused(error: OSError, sentence: str) -> ExportError:
    """The error of an output that the system refuses, with this sentence: is it the name that is wrong, or the disk?"""
    return PlaceError(sentence) if error.errno in _WRONG else ExportError(sentence)


def write_folder(folder: Path, fill: Callable[[Path], None], force: bool) -> Path:
    """Write an export beside its place and rename it there.

    An existing folder is moved away first, and back again if the new one cannot take its place.

    Args:
        folder: where the export goes; missing parents are made. An empty folder may be replaced.
        fill: writes the files into the new folder that it is given.
        force: replace an export that is there. Nothing but an export is ever replaced.

    Returns:
        The folder's absolute path.

    Raises:
        ExportError: the place is taken, or the disk refuses; what was there is as it was.
    """
    try:
        place = _resolved(folder)
        _check_free(place, force)
        missing = [parent for parent in place.parents if not parent.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(place)
        try:
            new.mkdir()
            fill(new)
            _flush(new)
            _swap(new, place)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            _remove_empty(missing)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise refused(error, f"{folder}: expected a place to write an export to, got: {reason}.") from error
    return place


def _remove_empty(folders: list[Path]) -> None:
    """The innermost first; a folder that another process has put a file into stays."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, then rename it; an existing file is replaced.

    Args:
        path: where the file goes; its folder must be there.
        write: writes the file that it is given.

    Raises:
        ExportError: the disk refuses; what was there is as it was.
    """
    try:
        with replacing(path) as new:
            write(new)
    except OSError as error:
        raise refused(error, f"{path}: must be writable, got: {error.strerror}") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside a place, which it takes when the block ends without an error; else nothing of it is left."""
    new = path.with_name(f".{path.name[:100]}-{secrets.token_hex(8)}")
    new.touch(exist_ok=False)  # with the rights that the umask leaves, which cannot be asked for without changing it
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except RuntimeError as error:  # what Python calls symbolic links in a circle, before 3.13
        raise OSError(errno.ELOOP, str(error)) from error


def check_free(folder: Path, force: bool) -> None:
    """Whether an export may be written there: asked before what takes long is begun.

    Raises:
        ExportError: it may not; the sentence says why.
    """
    try:
        _check_free(_resolved(folder), force)
    except OSError as error:
        reason = error.strerror or error
        raise refused(error, f"{folder}: expected a place to write an export to, got: {reason}.") from error


def check_file(path: Path, endings: Collection[str]) -> None:
    """Whether a file may be written there: asked before what takes long is begun.

    Args:
        path: the file.
        endings: those it may have, in lower case.

    Raises:
        PlaceError: it may not; the sentence says why.
    """
    kind = path.suffix.lower()
    if kind not in endings:
        raise PlaceError(f"{path}: must end in {', '.join(endings)}, got {kind or 'no ending'}.")
    try:
        if path.is_dir():
            raise PlaceError(f"{path}: must be a file, got a folder.")
        _check_writable(path.parent)
    except OSError as error:
        raise refused(error, f"{path}: must be writable, got: {error.strerror}.") from None


def _check_writable(folder: Path) -> None:
    """Raise OSError where nothing can be made in the folder."""
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_free(place: Path, force: bool) -> None:
    if Path.cwd().is_relative_to(place):
        raise PlaceError(f"{place}: expected a folder that is not the current one nor above it.")
    _check_writable(next(folder for folder in place.parents if folder.exists()))
    if not place.exists():
        return
    if not place.is_dir():
        raise PlaceError(f"{place}: expected a folder or nothing, got a file.")
    if not any(place.iterdir()):
        return
    if not _is_export(place):
        raise PlaceError(f"{place}: expected a new folder or an export, got a folder that holds other things.")
    if not force:
        raise PlaceError(f"{place}: expected a new folder, got one that exists; --force replaces it.")


def _is_export(folder: Path) -> bool:
    """Exactly the files of an export, of this form or the first, in any state."""
    entries = [entry for entry in folder.iterdir() if entry.name not in _LITTER]
    names = {entry.name for entry in entries}
    return names in (FILES, FILES_1) and all(e.is_file() and not e.is_symlink() for e in entries)


def _beside(place: Path) -> Path:
    return place.with_name(f".tuner-export-{secrets.token_hex(8)}")


def _flush(folder: Path) -> None:
    """Bring the files to the disk before their folder gets its name, for a power cut's sake."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _swap(new: Path, place: Path) -> None:
    if not place.exists():
        new.rename(place)
        return
    old = _beside(place)
    try:
        place.rename(old)
        new.rename(place)
    except BaseException:
        if old.exists() and not place.exists():
            old.rename(place)
        raise
    _discard(old)


def _discard(old: Path) -> None:
    """Delete what was replaced by its files' names, so that nothing else can ever go with it."""
    with suppress(OSError):  # something else came in meanwhile: it stays, and so does the new export
        for name in FILES | _LITTER:
            (old / name).unlink(missing_ok=True)
        old.rmdir()
