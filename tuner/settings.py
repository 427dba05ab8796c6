"""Where one call reads and writes, resolved once: a folder that changes meanwhile moves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner.errors import InputError
from tuner.places import WORK_FOLDER


@dataclass(frozen=True, slots=True)
class Workspace:
    """The addresses of one call, made where it enters (`tuner.api.workspace`) and passed on; nothing is global.

    Attributes:
        folder: absolute; what every relative path is relative to, also those that the ledger holds.
        database: the ledger's URL; a relative SQLite file is in `folder`.
        tracking: MLflow's address; a store in a file has its whole path.
        data_root: absolute; no data outside it is read. None where any file may be.
    """

    folder: Path
    database: str
    tracking: str
    data_root: Path | None = None

    @property
    def work(self) -> Path:
        """Prepared data, checkpoints, locks."""
        return self.folder / WORK_FOLDER


def current_folder() -> Path:
    """The current folder's absolute path.

    Raises:
        InputError: it was removed.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise InputError(f"the current folder must be there, got: {error.strerror}; change to another one.") from None
