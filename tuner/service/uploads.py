"""Data that clients send: stored below the data root, read once in a process with limits, then registered by name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from tuner.answers.inspection import Inspection
from tuner.answers.service import DatasetItem, DatasetList
from tuner.errors import InputError, SpecError, StudyError, UnknownDataError
from tuner.ledger.datasets import PREFIX, Dataset
from tuner.service.bounded import Bounded
from tuner.service.declarations import data_named
from tuner.service.inside import hiding, inspected, proposal
from tuner.service.studies import ServiceStudies
from tuner.settings import Workspace
from tuner.spec.reader import read_spec_text

FOLDER: Final = "uploads"
ENDINGS: Final = (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".npy", ".npz")


@final
@dataclass(frozen=True, slots=True)
class Uploads:
    """Registered data, and the ways by which clients add and look at it.

    Attributes:
        studies: whose data it is.
        bounded: where files are read.
    """

    studies: ServiceStudies
    bounded: Bounded

    def all(self) -> DatasetList:
        """Every registered name."""
        return DatasetList(datasets=tuple(dataset_items(self.studies)), may_upload=self._root is not None)

    @contextmanager
    def receiving(self, name: str, ending: str | None) -> Iterator[Path]:
        """A new file below the data root to write into; it is gone afterwards unless `register` was given it.

        Raises:
            InputError: there is no data root, or the kind of file is none that is read.
            QuotaError: there is no room for more.
        """
        root = self._root
        if root is None:
            raise InputError("data cannot be uploaded here: the operator has set no data root (TUNER_DATA_ROOT).")
        kind = ending_of(name, ending)
        self.studies.quota.check()
        folder = root / FOLDER
        folder.mkdir(exist_ok=True)
        path = folder / f"{secrets.token_hex(16)}{kind}"
        path.touch(mode=0o600)
        try:
            yield path
        finally:
            known = {each.path for each in self.studies.ledger.datasets.all()}
            if str(path) not in known:
                path.unlink(missing_ok=True)

    def register(self, name: str, path: Path, actor: str) -> DatasetItem:
        """Read an uploaded file, and give it its name.

        Raises:
            DataError: it cannot be read.
            InputError: the name is taken, or none.
        """
        with hiding(str(path), f"{PREFIX}{name}"):
            self.bounded.call(inspected, str(path), f"{PREFIX}{name}", None, self._root)
        return _item(self.studies.ledger.datasets.add(name, str(path), path.stat().st_size, actor))

    def inspect(self, name: str, label: str | None) -> Inspection:
        """What is in registered data.

        Raises:
            InputError: there is none of that name.
            DataError: it cannot be read.
        """
        found = self._known(name)
        with hiding(found.path, f"{PREFIX}{name}"):
            return self.bounded.call(inspected, found.path, f"{PREFIX}{name}", label, self._root)

    def proposal(self, name: str, wishes: dict[str, Any]) -> str:
        """`tuner init`'s space file for registered data.

        Raises:
            InputError: there is none of that name.
            DataError: it cannot be read, or there is nothing to compress.
        """
        found = self._known(name)
        with hiding(found.path, f"{PREFIX}{name}"):
            return self.bounded.call(proposal, found.path, f"{PREFIX}{name}", wishes, self._root)

    def remove(self, name: str, actor: str) -> None:
        """Forget a name that no study uses; an uploaded file goes with it.

        Raises:
            InputError: there is none of that name.
            StudyError: studies use it.
        """
        found = self._known(name)
        users = sorted(self._users(found))
        if users:
            raise StudyError(f"data set {name}: is used by {', '.join(users[:5])}; delete these studies first.")
        self.studies.ledger.datasets.remove(name, actor)
        root = self._root
        if root is not None and Path(found.path).parent == root / FOLDER:
            with suppress(OSError):
                Path(found.path).unlink()
            self.studies.quota.forget()

    @property
    def _root(self) -> Path | None:
        return self.studies.workspace.data_root

    def _known(self, name: str) -> Dataset:
        found = self.studies.ledger.datasets.get(name)
        if found is None:
            known = ", ".join(each.name for each in self.studies.ledger.datasets.all())
            raise UnknownDataError(f"data set {name}: there is none of that name; there are {known or 'none yet'}.")
        return found

    def _users(self, data: Dataset) -> set[str]:
        """The studies that name these data."""
        ledger = self.studies.ledger
        recorded = {record.name for record in ledger.studies() if data.path in _named(record.spec_json)}
        waiting = ledger.submissions.all()
        return recorded | {each.name for each in waiting if f"{PREFIX}{data.name}" in _named(each.spec_text)}


def ending_of(name: str, ending: str | None) -> str:
    """The kind of an uploaded file, which tells how it is read.

    Args:
        name: the data's name, which may end in it.
        ending: as it was asked for; None for the name's.

    Raises:
        InputError: it is none that is read.
    """
    found = f".{ending.lstrip('.').lower()}" if ending is not None else Path(name).suffix.lower()
    if found not in ENDINGS:
        known = ", ".join(each[1:] for each in ENDINGS)
        raise InputError(f"type: must be one of {known}, got {found[1:] or 'none'}.")
    return found


def _named(text: str) -> set[str]:
    """All that a declaration, as YAML or as JSON, names as its data."""
    try:
        return set(data_named(read_spec_text(text, "space.yaml")).values())
    except SpecError:
        return set()


def uploads_below(workspace: Workspace) -> list[Path]:
    """The folder of uploaded files, where there is a data root."""
    return [] if workspace.data_root is None else [workspace.data_root / FOLDER]


def dataset_items(studies: ServiceStudies) -> list[DatasetItem]:
    """Registered data, as the service answers it."""
    return [_item(each) for each in studies.ledger.datasets.all()]


def _item(each: Dataset) -> DatasetItem:
    return DatasetItem(name=each.name, size=each.size, at=each.at, by=each.by)
