"""Looking after what studies leave: is the record whole, and which files may go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.data.prepare import prepared_files, prepared_path
from tuner.errors import LedgerError, StudyError, TrackingError
from tuner.ledger.checks import contradictions
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, best_trial
from tuner.places import FOLDER, database_url
from tuner.tracking.audit import differences
from tuner.tracking.store import tracking_uri


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found of one study, or of the ledger's file where `name` is None.

    Attributes:
        name: the study.
        problems: what differs, a sentence each; none where all agrees.
        waiting: records that are not in MLflow yet.
        aside: records that MLflow will never take.
    """

    name: str | None
    problems: tuple[str, ...]
    waiting: int = 0
    aside: int = 0


def doctor(name: str | None = None, database: str | None = None, mlflow: bool = True) -> list[Diagnosis]:
    """Check the ledger against itself and against MLflow; nothing is changed.

    Args:
        name: of this study alone.
        database: the ledger's URL.
        mlflow: whether to ask MLflow as well.

    Raises:
        StudyError: there is no study of that name.
        LedgerError: the ledger cannot be opened or read.
    """
    ledger = Ledger.look(database_url(database))
    try:
        found = [Diagnosis(None, tuple(ledger.faults()))]
        return found + [_diagnosed(ledger, record, mlflow) for record in _chosen(ledger, name)]
    finally:
        ledger.close()


def _chosen(ledger: Ledger, name: str | None) -> list[StudyRecord]:
    chosen = [record for record in ledger.studies() if name in (None, record.name)]
    if name is not None and not chosen:
        raise StudyError(f"study {name}: there is none of that name; `tuner list` shows those that are.")
    return chosen


def _diagnosed(ledger: Ledger, record: StudyRecord, mlflow: bool) -> Diagnosis:
    try:
        problems = list(contradictions(ledger, record))
    except LedgerError as error:
        return Diagnosis(record.name, (str(error),))
    if mlflow:
        try:
            problems += differences(ledger, record, tracking_uri())
        except TrackingError as error:
            problems.append(f"the ledger alone was checked, for {error}")
    return Diagnosis(record.name, tuple(problems), ledger.waiting_count(record.id), len(ledger.aside(record.id)))


@dataclass(frozen=True, slots=True)
class Freed:
    """Files that are not needed any more: `owner` is a study's name, or what they are where no study has them."""

    owner: str
    files: int
    size: int


def prune_files(dry_run: bool = False, everything: bool = False, database: str | None = None) -> list[Freed]:
    """Remove checkpoints, prepared data and the files made for MLflow of finished studies.

    Each finished study's best checkpoint stays, which saves an export a training; files of studies that run or were
    stopped stay as well, and so does all that the tuner did not write.

    Args:
        dry_run: say what would be freed, and remove nothing.
        everything: remove the best checkpoints too, and what belongs to no study of this ledger.
        database: the ledger's URL.

    Raises:
        LedgerError: the ledger cannot be opened or read.
    """
    ledger = Ledger.look(database_url(database))
    try:
        freed = [_freed(owner, files, dry_run) for owner, files in _unneeded(ledger, everything)]
        return [each for each in freed if each.files]
    finally:
        ledger.close()


def _unneeded(ledger: Ledger, everything: bool) -> Iterator[tuple[str, list[Path]]]:
    records = ledger.studies()
    finished = [r for r in records if r.state == "finished" and ledger.holder(r.id, "run") is None]
    needed = {_prepared(record) for record in records if record not in finished}
    for record in finished:
        kept = set() if everything else _best_checkpoints(ledger, record)
        states = [file for file in _files(FOLDER / "checkpoints" / record.key, "*") if file.name not in kept]
        states += _below(FOLDER / "answers" / record.key)
        prepared = _prepared(record)
        yield record.name, states + ([] if prepared in needed else _with_notes(prepared))
        needed.add(prepared)
    if everything:
        known = {record.key for record in records}
        strangers = [folder for folder in _folders(FOLDER / "checkpoints") if folder.name not in known]
        strangers += [folder for folder in _folders(FOLDER / "answers") if folder.name not in known]
        yield "of no study here", [file for folder in strangers for file in _below(folder)]


def _prepared(record: StudyRecord) -> Path:
    spec = record.spec
    return prepared_path(FOLDER, record.fingerprint, spec)


def _with_notes(prepared: Path) -> list[Path]:
    """The rows, their labels and their scaling, each with the note of its digest."""
    return [file for file in prepared_files(prepared) if file.is_file() and not file.is_symlink()]


def _best_checkpoints(ledger: Ledger, record: StudyRecord) -> set[str]:
    """Names of files: the folder may have been moved since they were written. What was scored is what is exported."""
    best, scored = best_trial(ledger.trials(record.id)), (ledger.summary(record.id) or {}).get("scored")
    exported = scored["runs"][0] if scored else best.number if best else None
    newest = () if exported is None else ledger.checkpoints(record.id, 1).get(exported, ())
    return {Path(checkpoint.path).name for checkpoint in newest}


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.is_dir() and not path.is_symlink()]


def _files(folder: Path, pattern: str) -> list[Path]:
    """The files in a folder; links, and what a linked folder holds, are not ours to remove."""
    if folder.is_symlink():
        return []
    return [path for path in sorted(folder.glob(pattern)) if _is_ours(path)]


def _below(folder: Path) -> list[Path]:
    """The files in a folder and in those below it; likewise."""
    return [] if folder.is_symlink() else [file for file in sorted(folder.rglob("*")) if _is_ours(file)]


def _is_ours(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _freed(owner: str, files: Sequence[Path], dry_run: bool) -> Freed:
    size = sum(file.stat().st_size for file in files)
    if not dry_run:
        _remove(files)
    return Freed(owner, len(files), size)


def _remove(files: Iterable[Path]) -> None:
    """And the folders of a study that are empty then."""
    for file in files:
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if not folder.is_relative_to(FOLDER) or folder.parent == FOLDER or any(folder.iterdir()):
                break
            folder.rmdir()
