"""Data that fits a declaration: read, split, and measured, with nothing written yet."""

from __future__ import annotations

from collections.abc import Callable

from tuner.data.dataset import Data, Dataset
from tuner.data.encoded import EncodedColumn
from tuner.data.examined import Examined, check_batch_size, settled
from tuner.data.fit_terms import Wanted
from tuner.data.normal import normal_training
from tuner.data.precision import refuse_flattened
from tuner.data.preprocess import Preprocessor
from tuner.data.readers import load, may_be_table, naming
from tuner.data.remarks import remarks
from tuner.data.sources import Sources
from tuner.data.split import split_rows
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.names import Loss
from tuner.spec.rules import FIRST, NEWEST, TYPED
from tuner.spec.study import StudySpec
from tuner.waiting import abandonable, never

# Keys that the data block has had since rules 3: at their defaults they are no part of a fingerprint.
_NEW_KEYS = ("read", "missing", "indicators", "split", "train_on")


def fingerprint(data: Data, spec: DataSpec) -> str:
    """SHA-256 over the rows, their names and shape, and the data block; without the source, for files may move.

    The split's seed is not in it, so that it is the same with any search.seed. Labels are in it where they are declared
    alone, so that other studies keep the fingerprint they had before there were any.
    """
    left_out = {"source", "seed"} if data.labels else {"source", "seed", "label"}
    block = spec.model_dump(mode="json", exclude=left_out)
    plain = DataSpec(source=spec.source).model_dump(mode="json")
    return data.digest({key: value for key, value in block.items() if key not in _NEW_KEYS or value != plain[key]})


def examine(
    spec: StudySpec,
    sources: Sources,
    rules: int = NEWEST,
    check: Callable[[], object] = never,
    begun: bool = False,
) -> Examined:
    """Load the data, check it against the declaration, split it, and fit the scaling on its training rows.

    Args:
        spec: the declaration.
        sources: where a path in it leads.
        rules: the study's number of rules.
        check: called now and then; what it raises ends the work.
        begun: the study is recorded, and goes on also with columns of a table that a new one is refused for.

    Raises:
        DataError: as for `prepare`.
    """
    return abandonable(lambda: _examined(spec, sources, rules, begun), check)


def _examined(spec: StudySpec, sources: Sources, rules: int, begun: bool) -> Examined:
    if rules >= TYPED and may_be_table(spec.data, sources):
        from tuner.data.examine_table import examine_table  # noqa: PLC0415 - pandas and Arrow, most of a second

        found = examine_table(spec, sources, rules, begun)
        if found is not None:
            return found
    return _examined_rows(spec, load(spec.data, sources, rules), rules)


def _examined_rows(spec: StudySpec, data: Dataset, rules: int) -> Examined:
    split, said = split_rows(len(data.values), spec.data.validation, spec.data.test, spec.split_seed), []
    if spec.data.train_on == "normal":
        split, note = normal_training(split, data.labels, data.where)
        said.append(note)
    loss = settled(spec)
    with naming(data.where):
        _refuse_table_keys(spec.data)
        check_batch_size(spec, len(split.train))
        _check_loss(loss, spec, data)
    train, clip = data.values[split.train], loss == "bce"
    with naming(data.where):
        fitted = Preprocessor.fit(train, data.shape, data.names, spec.data.scaling, clip, each=data.each)
        if rules > FIRST:
            refuse_flattened(train, fitted)
    columns = [EncodedColumn(name, "numeric", place, place + 1) for place, name in enumerate(data.names)]
    said += remarks(spec, data, split, fitted, train) if rules >= TYPED else ()
    return Examined(data, split, fitted, loss, Wanted.of(columns, loss, {}), (*data.notes, *said))


def _refuse_table_keys(spec: DataSpec) -> None:
    """Keys that mean nothing for data that has no columns by name."""
    plain = DataSpec(source=spec.source)
    odd = [key for key in ("read", "missing", "indicators", "split") if getattr(spec, key) != getattr(plain, key)]
    if odd:
        raise DataError(f"data.{odd[0]} is for tables, got {spec.source}, which has no columns by name.")


def _check_loss(loss: Loss, spec: StudySpec, data: Dataset) -> None:
    """Loss bce is defined between 0 and 1, to which minmax brings the training rows; Poisson's from 0 on."""
    low, high = float(data.values.min()), float(data.values.max())
    if loss == "bce" and spec.data.scaling == "none" and not (low >= 0 and high <= 1):
        raise DataError(
            f"loss bce needs values between 0 and 1, got {low:g} to {high:g}; use scaling minmax or loss mse."
        )
    if loss == "poisson":
        raise DataError("loss poisson is for the counts of a table, got data that has no columns by name; use mse.")
