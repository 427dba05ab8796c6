"""All that happens to the data before any trial: loaded, checked, split, scaled, written once for all workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tuner.data.bounds import found
from tuner.data.dataset import Data, Numbers
from tuner.data.digested import bytes_written, known_digest, note, replaced, written
from tuner.data.examine import examine, fingerprint
from tuner.data.examined import Examined, settled
from tuner.data.fit_terms import fit_terms
from tuner.data.linear_start import LinearStart
from tuner.data.pca import Tick, quiet
from tuner.data.preprocess import BLOCK_ROWS, Preprocessor
from tuner.data.readers import naming
from tuner.data.rows import (
    LabelFile,
    Rows,
    RowsFile,
    StartFile,
    TermsFile,
    open_rows,
    sha256_of,
    terms_bytes,
    whole,
)
from tuner.data.sources import Sources
from tuner.data.split import Split, split_rows
from tuner.data.terms import Terms
from tuner.errors import DataError
from tuner.spec.distributions import values_of
from tuner.spec.names import Loss
from tuner.spec.rules import ANSWERS, BOUNDED, NEWEST
from tuner.spec.study import StudySpec
from tuner.waiting import abandonable

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
        numbers: a file with each row's number in the source, of a table; else None.
        notes: what the user should know of the data, a sentence each.
        start: where trainings on them start; None by rules before 4.
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
    numbers: LabelFile | None = None
    notes: tuple[str, ...] = ()
    start: StartFile | None = None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows of the training, validation and test split."""
        return self.train, self.validation, self.test

    @property
    def source(self) -> RowsFile:
        """Where every process reads the rows."""
        return RowsFile(self.path, self.counts, self.features, self.labels, self.terms, self.start)

    def open(self) -> Rows:
        """The rows, their digest checked.

        Raises:
            DataError: the file is missing or damaged.
        """
        return whole(open_rows(self.path, self.sha256, self.counts), self.terms, self.start)

    def validation_numbers(self, spec: StudySpec) -> Numbers:
        """Each validation row's number in the source, counted from 0.

        Raises:
            DataError: the file that holds them is missing or damaged.
        """
        if self.numbers is None:
            return split_rows(sum(self.counts), spec.data.validation, spec.data.test, spec.split_seed).validation
        return open_numbers(self.numbers)[self.train : self.train + self.validation]


def prepare(
    spec: StudySpec,
    sources: Sources,
    folder: Path,
    rules: int = NEWEST,
    tick: Tick = quiet,
    begun: bool = False,
) -> Prepared:
    """Load, check, split, scale, and write the one file that workers map.

    Args:
        spec: the declaration.
        sources: where a path in it leads.
        folder: the folder that holds `prepared/`.
        rules: the study's number of rules.
        tick: called with what is being done; what it raises ends the work, and leaves no file half written.
        begun: see `examine`.

    Raises:
        DataError: the data cannot be used as declared.
        StorageError: the folder cannot be written.
    """
    return write_prepared(examine(spec, sources, rules, lambda: tick("reading"), begun), spec, folder, rules, tick)


def write_prepared(
    examined: Examined, spec: StudySpec, folder: Path, rules: int = NEWEST, tick: Tick = quiet
) -> Prepared:
    """Scale examined data, and write the files that workers map and that later answers are made from.

    Args:
        examined: the data.
        spec: the declaration.
        folder: the folder that holds `prepared/`.
        rules: the study's number of rules.
        tick: called with what is being done; what it raises ends the work, and leaves no file half written.

    Raises:
        DataError: a value cannot be scaled.
        StorageError: the folder cannot be written.
    """
    data, split, fitted = examined.data, examined.split, examined.preprocessor
    mark = abandonable(lambda: fingerprint(data, spec.data), lambda: tick("fingerprint"))
    path = prepared_path(folder, mark, spec)
    with naming(data.where):
        digest = written(path, lambda: _scaled(data, split, fitted, tick))
    counts = len(split.train), len(split.validation), len(split.test)
    rows = open_rows(str(path), None, counts)
    terms = fit_terms(examined.wanted, rows.train, rows.validation, rows.test)
    made = Prepared(
        str(path),
        digest,
        len(data.names),
        *counts,
        shape=data.shape,
        names=data.names,
        fingerprint=mark,
        preprocessor=replace(fitted, terms=terms),
        labels=_labels_written(path, data, split),
        loss=examined.loss,
        terms=None if terms is None else _terms_written(_terms_path(path, examined.loss), terms),
        numbers=_numbers_written(path, examined),
        notes=examined.notes,
    )
    _keep(made)
    return _started(made, spec, rules, tick)


def _started(made: Prepared, spec: StudySpec, rules: int, tick: Tick = quiet) -> Prepared:
    """With where trainings start: computed where the file of it is not there, for it follows from the rows."""
    if rules < ANSWERS:
        return made
    codes = codes_at_pca(spec)
    bounded = is_bounded(spec, rules)
    path = start_path(Path(made.path), made.loss, codes, bounded)
    known = known_digest(path)
    if known is None:
        rows = made.open()
        start = _with_bounds(LinearStart.of(rows.train, made.loss, rows.terms, codes, tick), rows, bounded)
        known = bytes_written(path, lambda file: file.write(start.to_bytes()))
    return replace(made, start=StartFile(str(path), known))


def is_bounded(spec: StudySpec, rules: int) -> bool:
    """Whether bounds of the outputs are looked for."""
    return rules >= BOUNDED and spec.bounds == "auto"


def _with_bounds(start: LinearStart, rows: Rows, bounded: bool) -> LinearStart:
    """A start with the bounds of the rows; only where outputs are values, each with its squared error."""
    return replace(start, bounds=found(rows.train, rows.validation)) if bounded and start.targets else start


def codes_at_pca(spec: StudySpec) -> tuple[int, ...]:
    """The lengths of code with which a trial of the study may start at PCA; empty where none does."""
    if "pca" not in (values_of(spec.space.skip) or ()):
        return ()
    return tuple(int(code) for code in values_of(spec.space.bottleneck) or ())


def units_of(examined: Examined, spec: StudySpec, rules: int) -> tuple[Terms | None, LinearStart | None]:
    """The terms of the loss and where trainings start, but for PCA, as the prepared rows give them; none is written."""
    rows = _scaled(examined.data, examined.split, examined.preprocessor, quiet)
    first, second = len(examined.split.train), len(examined.split.train) + len(examined.split.validation)
    terms = fit_terms(examined.wanted, rows[:first], rows[first:second], rows[second:])
    if rules < ANSWERS:
        return terms, None
    start = LinearStart.of(rows[:first], examined.loss, terms, ())
    return terms, _with_bounds(start, Rows(rows[:first], rows[first:second], rows[second:]), is_bounded(spec, rules))


def kept(spec: StudySpec, mark: str, folder: Path, rules: int) -> Prepared | None:
    """What `prepare` wrote of the data with this fingerprint, without its source.

    Args:
        spec: the declaration.
        mark: the data's fingerprint.
        folder: the folder that holds `prepared/`.
        rules: the study's number of rules.

    Returns:
        None where a file of it is missing or is not what was written, or an earlier version wrote it, which did not
        keep the scaling.
    """
    path = prepared_path(folder, mark, spec)
    try:
        content = _fitted_path(path).read_bytes()
        if note(_fitted_path(path)).read_text(encoding="ascii") != hashlib.sha256(content).hexdigest():
            return None
        known = json.loads(content)
        fitted = Preprocessor.from_json(json.dumps(known["preprocessor"]))
        made = _known(path, known, fitted, spec)
        files = {path: known["rows"]} | {Path(file.path): file.sha256 for file in _files(made)}
        if known["fingerprint"] != mark or any(sha256_of(file) != digest for file, digest in files.items()):
            return None
    except (OSError, ValueError, LookupError, TypeError, DataError):
        return None  # any fault in these files means that the source is read again
    return _started(made, spec, rules)


def _known(path: Path, known: Mapping[str, Any], fitted: Preprocessor, spec: StudySpec) -> Prepared:
    train, validation, test = known["counts"]
    loss: Loss = known.get("loss") or settled(spec)
    terms, numbers = known.get("terms"), known.get("numbers")
    return Prepared(
        str(path),
        known["rows"],
        len(fitted.names),
        train,
        validation,
        test,
        shape=fitted.shape,
        names=fitted.names,
        fingerprint=known["fingerprint"],
        preprocessor=fitted,
        labels=LabelFile(str(label_path(path)), known["labels"]) if known["labels"] else None,
        loss=loss,
        terms=TermsFile(str(_terms_path(path, loss)), terms) if terms else None,
        numbers=LabelFile(str(_numbers_path(path)), numbers) if numbers else None,
    )


def _files(made: Prepared) -> list[LabelFile | TermsFile]:
    return [file for file in (made.labels, made.terms, made.numbers) if file is not None]


def _keep(made: Prepared) -> None:
    """Write what cannot be read off the rows, so that the source is not needed again."""
    about = {
        "fingerprint": made.fingerprint,
        "counts": [made.train, made.validation, made.test],
        "rows": made.sha256,
        "labels": made.labels and made.labels.sha256,
        "preprocessor": json.loads(made.preprocessor.to_json()),
    }
    if made.numbers is not None or made.terms is not None:
        about |= {
            "loss": made.loss,
            "terms": made.terms and made.terms.sha256,
            "numbers": made.numbers and made.numbers.sha256,
        }
    content, path = json.dumps(about, indent=1).encode(), _fitted_path(Path(made.path))
    with suppress(OSError):  # in a folder that may only be read the source is needed again, as it was
        if not path.is_file() or path.read_bytes() != content or not note(path).is_file():
            replaced(path, lambda file: file.write(content))
            replaced(note(path), lambda file: file.write(hashlib.sha256(content).hexdigest().encode()))


def prepared_files(prepared: Path) -> list[Path]:
    """All files of prepared data, some of which may not be there: rows, what belongs to them, each with its digest."""
    terms = (_terms_path(prepared, loss) for loss in get_args(Loss))
    starts = prepared.parent.glob(f"{prepared.stem}.start-*.npz")
    files = [prepared, label_path(prepared), _fitted_path(prepared), _numbers_path(prepared), *terms, *starts]
    return [file for path in files for file in (path, note(path))]


def _fitted_path(prepared: Path) -> Path:
    return prepared.with_suffix(".fitted.json")


def prepared_path(folder: Path, mark: str, spec: StudySpec) -> Path:
    """Where the prepared data of a declaration lies: named by the data's fingerprint, the split's seed and the loss."""
    scaled_by_loss = spec.loss if spec.loss == "poisson" else spec.loss == "bce"
    key = hashlib.sha256(f"{FORMAT}/{mark}/{spec.split_seed}/{scaled_by_loss}".encode()).hexdigest()[:32]
    return (folder / "prepared" / f"{key}.npy").absolute()


def label_path(prepared: Path) -> Path:
    """Where the labels of prepared data lie, if there are any."""
    return prepared.with_suffix(".labels.npy")


def _terms_path(prepared: Path, loss: str) -> Path:
    return prepared.with_suffix(f".{loss}.npz")


def start_path(prepared: Path, loss: str, codes: tuple[int, ...], bounded: bool) -> Path:
    """Where the start of trainings on prepared rows lies, by loss, lengths of code that start at PCA, and bounds."""
    key = hashlib.sha256(json.dumps([loss, *codes, *["bounded"] * bounded]).encode()).hexdigest()[:12]
    return prepared.with_suffix(f".start-{key}.npz")


def _numbers_path(prepared: Path) -> Path:
    return prepared.with_suffix(".numbers.npy")


def open_numbers(file: LabelFile) -> Numbers:
    """Each prepared row's number in the source.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = Path(file.path)
    try:
        if sha256_of(path) == file.sha256:
            numbers: Numbers = np.load(path, allow_pickle=False)
            return numbers
    except (OSError, ValueError):
        pass
    raise DataError(f"{file.path}: the rows' numbers are missing or damaged; run the study again.")


def _terms_written(path: Path, terms: Terms) -> TermsFile:
    content = terms_bytes(terms)
    return TermsFile(str(path), bytes_written(path, lambda file: file.write(content)))


def _numbers_written(prepared: Path, examined: Examined) -> LabelFile | None:
    numbers = examined.numbers
    if numbers is None:
        return None
    path = _numbers_path(prepared)
    return LabelFile(str(path), written(path, lambda: numbers[_order(examined.split)]))


def _labels_written(prepared: Path, data: Data, split: Split) -> LabelFile | None:
    labels = data.labels
    if labels is None:
        return None
    path = label_path(prepared)
    return LabelFile(str(path), written(path, lambda: labels.codes[_order(split)]))


def _order(split: Split) -> NDArray[np.int64]:
    return np.concatenate([split.train, split.validation, split.test])


def _scaled(data: Data, split: Split, fitted: Preprocessor, tick: Tick) -> NDArray[np.float32]:
    order = _order(split)
    rows = np.empty((len(order), len(data.names)), np.float32)
    for start in range(0, len(order), BLOCK_ROWS):
        tick("scaling rows")
        rows[start : start + BLOCK_ROWS] = fitted.transform(data.raw(order[start : start + BLOCK_ROWS]))
    return rows
