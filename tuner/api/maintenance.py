"""Looking after what studies leave: is the record whole, and which files may go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.api.checks import NEVER_CHECKED, examine_study
from tuner.api.workspace import workspace_for
from tuner.data.prepare import prepared_files, prepared_path
from tuner.errors import LedgerError, StudyError, TrackingError
from tuner.learning.checkpoint_url import CheckpointUrl
from tuner.ledger.checks import Evidence
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, best_trial
from tuner.ledger.upgrades import Migration
from tuner.ledger.upgrades import migrate as migrate_tables
from tuner.settings import Workspace
from tuner.spec.work import Checkpoint
from tuner.tracking.audit import differences
from tuner.tracking.losses import loss_differences


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found of one study, or of the ledger's file where `name` is None.

    Attributes:
        name: the study.
        problems: what differs, a sentence each; none where all agrees.
        unchecked: what was not checked, and why.
        waiting: records that are not in MLflow yet.
        aside: records that MLflow will never take.
    """

    name: str | None
    problems: tuple[str, ...]
    waiting: int = 0
    aside: int = 0
    unchecked: tuple[str, ...] = ()


def doctor(
    name: str | None = None,
    database: str | None = None,
    mlflow: bool = True,
    deep: bool = False,
    workspace: Workspace | None = None,
) -> list[Diagnosis]:
    """Check the ledger against itself, against the data, states and search it came from, and against MLflow.

    Nothing is changed.

    Args:
        name: of this study alone.
        database: the ledger's URL.
        mlflow: whether to ask MLflow as well.
        deep: also what takes more than about a minute.
        workspace: where the studies are, in place of the current folder.

    Raises:
        StudyError: there is no study of that name.
        LedgerError: the ledger cannot be opened or read.
    """
    workspace = workspace_for(workspace, database)
    ledger = Ledger.look(workspace.database, workspace.folder)
    try:
        found = [Diagnosis(None, tuple(ledger.faults()))]
        return found + [_diagnosed(ledger, record, workspace, mlflow, deep) for record in _chosen(ledger, name)]
    finally:
        ledger.close()


def _chosen(ledger: Ledger, name: str | None) -> list[StudyRecord]:
    chosen = [record for record in ledger.studies() if name in (None, record.name)]
    if name is not None and not chosen:
        raise StudyError(f"study {name}: there is none of that name; `tuner list` shows those that are.")
    return chosen


def _diagnosed(ledger: Ledger, record: StudyRecord, workspace: Workspace, mlflow: bool, deep: bool) -> Diagnosis:
    tracking = workspace.tracking if mlflow else None
    try:
        evidence = Evidence.of(ledger, record)
        problems, unchecked = examine_study(evidence, workspace, deep)
    except LedgerError as error:
        return Diagnosis(record.name, (str(error),))
    if tracking is not None:
        try:
            problems += differences(ledger, record, tracking)
            problems += loss_differences(evidence, tracking)
        except TrackingError as error:
            problems.append(f"the ledger alone was checked, for {error}")
    lost = "the losses of epochs, which training alone gives again"
    unchecked.append(f"{lost}, against MLflow" if tracking is None else f"{lost} (MLflow's were compared)")
    waiting, aside = ledger.outbox.waiting_count(record.id), len(ledger.outbox.aside(record.id))
    return Diagnosis(record.name, tuple(problems), waiting, aside, (*unchecked, *NEVER_CHECKED))


def migrate(database: str | None = None, workspace: Workspace | None = None) -> Migration:
    """Make the ledger's tables, or bring them up to this version: once, before what uses them starts.

    Args:
        database: the ledger's URL.
        workspace: where it is, in place of the current folder.

    Raises:
        LedgerError: it cannot be opened or written, or a newer version wrote it.
    """
    workspace = workspace_for(workspace, database)
    return migrate_tables(workspace.database, workspace.folder)


@dataclass(frozen=True, slots=True)
class Freed:
    """Files of one owner: `owner` is a study's name, or what they are where no study has them."""

    owner: str
    files: int
    size: int


def prune_files(
    dry_run: bool = False,
    everything: bool = False,
    database: str | None = None,
    workspace: Workspace | None = None,
) -> list[Freed]:
    """Remove checkpoints, prepared data and the files made for MLflow of finished studies.

    Each finished study's best checkpoint stays, which saves an export a training; files of studies that run or were
    stopped stay as well, and so does all that the tuner did not write.

    Args:
        dry_run: say what would be freed, and remove nothing.
        everything: remove the best checkpoints too, and what belongs to no study of this ledger.
        database: the ledger's URL.
        workspace: where the studies are, in place of the current folder.

    Raises:
        LedgerError: the ledger cannot be opened or read.
        StorageError: a store that states of a finished study were put in does not answer.
    """
    workspace = workspace_for(workspace, database)
    ledger = Ledger.look(workspace.database, workspace.folder)
    try:
        unneeded = _unneeded(ledger, workspace.work, everything)
        freed = [
            _freed(owner, files, elsewhere, None if dry_run else workspace.work) for owner, files, elsewhere in unneeded
        ]
        return [each for each in freed if each.files]
    finally:
        ledger.close()


def disk(database: str | None = None, workspace: Workspace | None = None) -> list[Freed]:
    """What each study takes on the disk, oldest first: checkpoints, files for MLflow, and data prepared for it.

    Data that several studies share counts for the oldest of them. What a cluster put in another store is not counted.

    Raises:
        LedgerError: the ledger cannot be opened or read.
    """
    workspace = workspace_for(workspace, database)
    ledger = Ledger.look(workspace.database, workspace.folder)
    try:
        work, counted, found = workspace.work, set[Path](), list[Freed]()
        for record in ledger.studies():
            folders = (work / "checkpoints" / record.key, work / "answers" / record.key)
            files = {*_with_notes(_prepared(work, record)), *(file for each in folders for file in _below(each))}
            found.append(_freed(record.name, sorted(files - counted), {}, None))
            counted |= files
        return found
    finally:
        ledger.close()


def files_of(ledger: Ledger, record: StudyRecord, work: Path) -> list[Path]:
    """A study's checkpoints, its files for MLflow, and its prepared data where no other study here needs it."""
    prepared = _prepared(work, record)
    needed = {_prepared(work, other) for other in ledger.studies() if other.id != record.id}
    states = _files(work / "checkpoints" / record.key, "*") + _below(work / "answers" / record.key)
    return states + ([] if prepared in needed else _with_notes(prepared))


def states_elsewhere(ledger: Ledger, record: StudyRecord) -> dict[str, int]:
    """The bytes of each of a study's states that lie in another store, by URL.

    Raises:
        StorageError: such a store does not answer.
    """
    found: dict[str, int] = {}
    for url in ledger.checkpoint_stores(record.id):
        if (store := CheckpointUrl.holding(Checkpoint(f"{url}/", "", 0))) is not None:
            found |= store.sizes()
    return found


def remove_elsewhere(urls: Iterable[str]) -> None:
    """Remove states that lie in another store."""
    for url in urls:
        state = Checkpoint(url, "", 0)
        if (store := CheckpointUrl.holding(state)) is not None:
            store.remove([state])


def _unneeded(ledger: Ledger, work: Path, everything: bool) -> Iterator[tuple[str, list[Path], dict[str, int]]]:
    records = ledger.studies()
    finished = [r for r in records if r.state == "finished" and ledger.holder(r.id, "run") is None]
    needed = {_prepared(work, record) for record in records if record not in finished}
    for record in finished:
        kept = set() if everything else _best_checkpoints(ledger, record)
        states = [file for file in _files(work / "checkpoints" / record.key, "*") if file.name not in kept]
        states += _below(work / "answers" / record.key)
        prepared = _prepared(work, record)
        elsewhere = {
            url: size for url, size in states_elsewhere(ledger, record).items() if url.rpartition("/")[2] not in kept
        }
        yield record.name, states + ([] if prepared in needed else _with_notes(prepared)), elsewhere
        needed.add(prepared)
    if everything:
        known = {record.key for record in records}
        strangers = [folder for folder in _folders(work / "checkpoints") if folder.name not in known]
        strangers += [folder for folder in _folders(work / "answers") if folder.name not in known]
        yield "of no study here", [file for folder in strangers for file in _below(folder)], {}


def _prepared(work: Path, record: StudyRecord) -> Path:
    spec = record.spec
    return prepared_path(work, record.fingerprint, spec)


def _with_notes(prepared: Path) -> list[Path]:
    """The rows, their labels and their scaling, each with the note of its digest."""
    return [file for file in prepared_files(prepared) if file.is_file() and not file.is_symlink()]


def _best_checkpoints(ledger: Ledger, record: StudyRecord) -> set[str]:
    """Names of files: the folder may have been moved since they were written. What was scored is what is exported."""
    best, summary = best_trial(ledger.trials(record.id)), ledger.summary(record.id)
    scored = None if summary is None else summary.scored
    exported = scored.runs[0] if scored else best.number if best else None
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
    """The files in a folder and in those below it; none where it is missing."""
    return [] if folder.is_symlink() else [file for file in sorted(folder.rglob("*")) if _is_ours(file)]


def _is_ours(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _freed(owner: str, files: Sequence[Path], elsewhere: Mapping[str, int], work: Path | None) -> Freed:
    """What a study has that is not needed; removed where `work` says below which folder."""
    size = sum(file.stat().st_size for file in files) + sum(elsewhere.values())
    if work is not None:
        remove_files(files, work)
        remove_elsewhere(elsewhere)
    return Freed(owner, len(files) + len(elsewhere), size)


def remove_files(files: Iterable[Path], work: Path) -> None:
    """Remove files, and the folders of a study that are empty then."""
    for file in files:
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if not folder.is_relative_to(work) or folder.parent == work or any(folder.iterdir()):
                break
            folder.rmdir()
