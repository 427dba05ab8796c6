"""Where one call reads and writes, resolved once: a folder that changes meanwhile moves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tuner.errors import InputError
from tuner.places import FOLDER, database_url


@dataclass(frozen=True, slots=True)
class Workspace:
    """The addresses of one call, made where it enters and passed on.

    Attributes:
        folder: absolute; what every relative path is relative to, also those that the ledger holds.
        database: the ledger's URL; a relative SQLite file is in `folder`.
        tracking: MLflow's address.
    """

    folder: Path
    database: str
    tracking: str

    @classmethod
    def here(cls, database: str | None, tracking: str) -> Self:
        """The workspace of the current folder.

        Args:
            database: the ledger's URL; None for TUNER_DATABASE_URL or `tuner.db` in the current folder.
            tracking: MLflow's address.

        Raises:
            InputError: the current folder was removed.
        """
        return cls(current_folder(), database_url(database), tracking)

    @property
    def work(self) -> Path:
        """Prepared data, checkpoints, locks."""
        return self.folder / FOLDER


def current_folder() -> Path:
    """The current folder's absolute path.

    Raises:
        InputError: it was removed.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise InputError(f"the current folder must be there, got: {error.strerror}; change to another one.") from None
