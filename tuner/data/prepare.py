"""All that happens to the data before any trial: loaded, checked, split, scaled, written once for all workers."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.data.normal import normal_training
from tuner.data.precision import refuse_flattened
from tuner.data.preprocess import BLOCK_ROWS, Preprocessor
from tuner.data.readers import Dataset, file_errors, load
from tuner.data.remarks import remarks
from tuner.data.rows import LabelFile, Rows, RowsFile, TermsFile, open_rows, open_terms, sha256_of
from tuner.data.sources import Sources
from tuner.data.split import Split, split_rows
from tuner.errors import DataError, StorageError
from tuner.spec.distributions import IntDistribution
from tuner.spec.names import Loss
from tuner.spec.rules import FIRST, NEWEST
from tuner.spec.study import DataSpec, StudySpec
from tuner.waiting import abandonable, never

T = TypeVar("T")
Array = NDArray[np.float32] | NDArray[np.int32]
FORMAT = 1  # grows when the same declaration is to give another file


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """The prepared file and all that is known about it.

    Attributes:
        path: a .npy file, rows of training, validation and test split in this order.
        sha256: of its bytes.
        features: columns.
        train, validation, test: rows of each split.
        shape: a raw row's own shape.
        names: the columns.
        fingerprint: of the raw data and of the declaration's data block.
        preprocessor: fitted on the training rows.
        labels: what the rows are known to be, where that is declared; in the order of the file's rows.
        loss: what the declaration's loss comes to on these data.
        terms: how a row's loss is made of its columns; None where it is the mean over all of them.
        notes: what the user should know of the data, a sentence each.
    """

    path: str
    sha256: str
    features: int
    train: int
    validation: int
    test: int
    shape: tuple[int, ...]
    names: tuple[str, ...]
    fingerprint: str
    preprocessor: Preprocessor
    labels: LabelFile | None = None
    loss: Loss = "mse"
    terms: TermsFile | None = None
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows of the training, validation and test split."""
        return self.train, self.validation, self.test

    @property
    def source(self) -> RowsFile:
        """Where every process reads the rows."""
        return RowsFile(self.path, self.counts, self.features, self.labels, self.terms)

    def open(self) -> Rows:
        """The rows, their digest checked.

        Raises:
            DataError: the file is missing or damaged.
        """
        rows = open_rows(self.path, self.sha256, self.counts)
        return rows if self.terms is None else replace(rows, terms=open_terms(self.terms))


# Keys that the data block has had since rules 3: at their defaults they are no part of a fingerprint.
_NEW_KEYS = ("read", "missing", "indicators", "split", "train_on")


def fingerprint(data: Dataset, spec: DataSpec) -> str:
    """SHA-256 over the rows, their names and shape, and the data block; without the source, for files may move.

    The split's seed is not in it, so that it is the same with any search.seed. Labels are in it where they are declared
    alone, so that other studies keep the fingerprint they had before there were any.
    """
    left_out = {"source", "seed"} if data.labels else {"source", "seed", "label"}
    block = spec.model_dump(mode="json", exclude=left_out)
    plain = DataSpec(source=spec.source).model_dump(mode="json")
    block = {key: value for key, value in block.items() if key not in _NEW_KEYS or value != plain[key]}
    about = {"names": data.names, "shape": data.shape, "rows": data.values.shape, "data": block}
    if data.each is not None:
        about["each"] = data.each
    if data.labels is not None:
        about["classes"] = data.labels.classes
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(data.values, dtype="<f8").data)
    if data.labels is not None:
        digest.update(np.ascontiguousarray(data.labels.codes, dtype="<i4").data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False, slots=True)
class Examined:
    """Data that fits a declaration: read, split, and measured, with nothing written yet."""

    data: Dataset
    split: Split
    preprocessor: Preprocessor
    loss: Loss = "mse"
    notes: tuple[str, ...] = ()


def examine(spec: StudySpec, sources: Sources, rules: int = NEWEST, check: Callable[[], object] = never) -> Examined:
    """Load the data, check it against the declaration, split it, and fit the scaling on its training rows.

    Args:
        spec: the declaration.
        sources: where a path in it leads.
        rules: the study's number of rules.
        check: called now and then; what it raises ends the work.

    Raises:
        DataError: as for `prepare`.
    """
    return abandonable(lambda: _examined(spec, sources, rules), check)


def _examined(spec: StudySpec, sources: Sources, rules: int) -> Examined:
    data = load(spec.data, sources, rules)
    split = split_rows(len(data.values), spec.data.validation, spec.data.test, spec.split_seed)
    if spec.data.train_on == "normal":
        split, note = normal_training(split, data.labels, data.where)
        data = replace(data, notes=(*data.notes, note))
    _check_batch_size(spec, len(split.train), data.where)
    _check_loss(spec, data)
    train, clip = data.values[split.train], spec.loss == "bce"
    fit = partial(Preprocessor.fit, train, data.shape, data.names, spec.data.scaling, clip, each=data.each)
    fitted = _named(data, fit)
    if rules > FIRST:
        with file_errors(data.where):
            refuse_flattened(train, fitted)
    return Examined(data, split, fitted, _settled(spec), remarks(spec, data, split, fitted, rules))


def _settled(spec: StudySpec) -> Loss:
    """What the declared loss comes to."""
    return "mse" if spec.loss == "auto" else spec.loss


def prepare(
    spec: StudySpec, sources: Sources, folder: Path, rules: int = NEWEST, check: Callable[[], object] = never
) -> Prepared:
    """Load, check, split, scale, and write the one file that workers map.

    Args:
        spec: the declaration.
        sources: where a path in it leads.
        folder: the folder that holds `prepared/`.
        rules: the study's number of rules.
        check: called now and then; what it raises ends the work, and leaves no file half written.

    Raises:
        DataError: the data cannot be used as declared.
        StorageError: the folder cannot be written.
    """
    return write_prepared(examine(spec, sources, rules, check), spec, folder, check)


def write_prepared(examined: Examined, spec: StudySpec, folder: Path, check: Callable[[], object] = never) -> Prepared:
    """Scale examined data, and write the files that workers map and that later answers are made from.

    Args:
        examined: the data.
        spec: the declaration.
        folder: the folder that holds `prepared/`.
        check: called now and then; what it raises ends the work, and leaves no file half written.

    Raises:
        DataError: a value cannot be scaled.
        StorageError: the folder cannot be written.
    """
    data, split, fitted = examined.data, examined.split, examined.preprocessor
    mark = abandonable(lambda: fingerprint(data, spec.data), check)
    path = prepared_path(folder, mark, spec)
    digest = _written(path, lambda: _named(data, lambda: _scaled(data, split, fitted, check)))
    labels = _labels_written(path, data, split)
    counts = len(split.train), len(split.validation), len(split.test)
    made = Prepared(
        str(path),
        digest,
        data.values.shape[1],
        *counts,
        shape=data.shape,
        names=data.names,
        fingerprint=mark,
        preprocessor=fitted,
        labels=labels,
        loss=examined.loss,
        notes=examined.notes,
    )
    _keep(made)
    return made


def kept(spec: StudySpec, mark: str, folder: Path) -> Prepared | None:
    """What `prepare` wrote of the data with this fingerprint, without its source.

    Args:
        spec: the declaration.
        mark: the data's fingerprint.
        folder: the folder that holds `prepared/`.

    Returns:
        None where a file of it is missing or is not what was written, or an earlier version wrote it, which did not
        keep the scaling.
    """
    path = prepared_path(folder, mark, spec)
    try:
        content = _fitted_path(path).read_bytes()
        if _note(_fitted_path(path)).read_text(encoding="ascii") != hashlib.sha256(content).hexdigest():
            return None
        known = json.loads(content)
        fitted = Preprocessor.from_json(json.dumps(known["preprocessor"]))
        files = {path: known["rows"]} | ({label_path(path): known["labels"]} if known["labels"] else {})
        if known["fingerprint"] != mark or any(sha256_of(file) != digest for file, digest in files.items()):
            return None
    except (OSError, ValueError, LookupError, TypeError, DataError):
        return None  # any fault in these files means that the source is read again
    labels = LabelFile(str(label_path(path)), known["labels"]) if known["labels"] else None
    train, validation, test = known["counts"]
    return Prepared(
        str(path),
        known["rows"],
        len(fitted.names),
        train,
        validation,
        test,
        shape=fitted.shape,
        names=fitted.names,
        fingerprint=mark,
        preprocessor=fitted,
        labels=labels,
        loss=_settled(spec),
    )


def _keep(made: Prepared) -> None:
    """Write what cannot be read off the rows, so that the source is not needed again."""
    about = {
        "fingerprint": made.fingerprint,
        "counts": [made.train, made.validation, made.test],
        "rows": made.sha256,
        "labels": made.labels and made.labels.sha256,
        "preprocessor": json.loads(made.preprocessor.to_json()),
    }
    content, path = json.dumps(about, indent=1).encode(), _fitted_path(Path(made.path))
    with suppress(OSError):  # in a folder that may only be read the source is needed again, as it was
        if not path.is_file() or path.read_bytes() != content or not _note(path).is_file():
            _replace(path, lambda file: file.write(content))
            _replace(_note(path), lambda file: file.write(hashlib.sha256(content).hexdigest().encode()))


def prepared_files(prepared: Path) -> list[Path]:
    """All files of prepared data, some of which may not be there: rows, labels and scaling, each with its digest."""
    files = [prepared, label_path(prepared), _fitted_path(prepared)]
    return [file for path in files for file in (path, _note(path))]


def _fitted_path(prepared: Path) -> Path:
    return prepared.with_suffix(".fitted.json")


def _note(path: Path) -> Path:
    """The file that holds a file's digest."""
    return path.with_suffix(".sha256")


def prepared_path(folder: Path, mark: str, spec: StudySpec) -> Path:
    """Where the prepared data of a declaration lies: named by the data's fingerprint, the split's seed and the loss."""
    key = hashlib.sha256(f"{FORMAT}/{mark}/{spec.split_seed}/{spec.loss == 'bce'}".encode()).hexdigest()[:32]
    return (folder / "prepared" / f"{key}.npy").absolute()


def label_path(prepared: Path) -> Path:
    """Where the labels of prepared data lie, if there are any."""
    return prepared.with_suffix(".labels.npy")


def _labels_written(prepared: Path, data: Dataset, split: Split) -> LabelFile | None:
    labels = data.labels
    if labels is None:
        return None
    path = label_path(prepared)
    return LabelFile(str(path), _written(path, lambda: labels.codes[_order(split)]))


def _order(split: Split) -> NDArray[np.int64]:
    return np.concatenate([split.train, split.validation, split.test])


def _scaled(data: Dataset, split: Split, fitted: Preprocessor, check: Callable[[], object]) -> NDArray[np.float32]:
    order = _order(split)
    rows = np.empty((len(order), data.values.shape[1]), np.float32)
    for start in range(0, len(order), BLOCK_ROWS):
        check()
        rows[start : start + BLOCK_ROWS] = fitted.transform(data.values[order[start : start + BLOCK_ROWS]])
    return rows


def _written(path: Path, make: Callable[[], Array]) -> str:
    """The digest of a file that is there and whole, or is written now: under a temporary name, then renamed."""
    note = _note(path)
    try:
        if note.read_text(encoding="ascii") == (known := sha256_of(path)):
            return known
    except (OSError, ValueError):
        pass  # not there yet, or not readable: written again
    rows = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, lambda file: np.save(file, rows, allow_pickle=False))
        digest = sha256_of(path)
        _replace(note, lambda file: file.write(digest.encode()))
    except OSError as error:
        why = error.strerror or error
        raise StorageError(f"{path.parent}: the prepared data must be written here, got: {why}.") from None
    return digest


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _named(data: Dataset, call: Callable[[], T]) -> T:
    """Put the source's name into an error of the preprocessor."""
    try:
        return call()
    except DataError as error:
        raise DataError(str(error).replace("data:", f"{data.where}:", 1)) from None


def _check_batch_size(spec: StudySpec, rows: int, where: str) -> None:
    batch = spec.space.largest("batch_size")
    if batch > rows:
        key = "space.batch_size.high" if isinstance(spec.space.batch_size, IntDistribution) else "space.batch_size"
        raise DataError(f"{where}: {key} must be at most {rows}, the rows to train on, got {batch}.")


def _check_loss(spec: StudySpec, data: Dataset) -> None:
    """Loss bce is defined between 0 and 1; minmax brings the training rows there and clips the others."""
    low, high = float(data.values.min()), float(data.values.max())
    if spec.loss == "bce" and spec.data.scaling == "none" and not (low >= 0 and high <= 1):
        raise DataError(
            f"{data.where}: loss bce needs values between 0 and 1, got {low:g} to {high:g};"
            " use scaling minmax or loss mse."
        )
