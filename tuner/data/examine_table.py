"""A table that fits a declaration: its types, split and encoding, with nothing written yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tuner.data.columns.encoder import TableEncoder
from tuner.data.columns.merged import refuse_merged_columns
from tuner.data.dataset import Numbers
from tuner.data.examined import Examined, check_batch_size, settled
from tuner.data.fit_terms import Wanted, rates
from tuner.data.load_tables import load_files, load_table
from tuner.data.normal import normal_training
from tuner.data.precision import refuse_flattened
from tuner.data.preprocess import Preprocessor
from tuner.data.readers import naming
from tuner.data.remarks import remarks
from tuner.data.scaling import ROUNDING
from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.split import (
    Key,
    Split,
    few_of_a_class,
    split_by_column,
    split_by_group,
    split_by_time,
    split_rows,
    split_stratified,
)
from tuner.data.tabular import TableData, key_values, labels_of, moments_or_numbers, without_missing
from tuner.errors import DataError
from tuner.spec.data import ColumnLoss, DataSpec
from tuner.spec.study import StudySpec


def examine_table(spec: StudySpec, sources: Sources, rules: int, begun: bool) -> Examined | None:
    """The table that the declaration's source is, examined; None where it is none.

    Args:
        spec: the declaration.
        sources: where a path in it leads.
        rules: the study's number of rules.
        begun: see `examine`.

    Raises:
        DataError: it cannot be used as declared.
    """
    files = spec.data.split is not None and spec.data.split.validation is not None
    source, counts = load_files(spec.data, sources) if files else (load_table(spec.data, sources, rules), None)
    if source is None:
        return None
    with naming(source.where):
        table, numbers, notes = without_missing(source, spec.data, rules)
        if not begun:
            refuse_merged_columns(table)
        labels = None if spec.data.label is None else labels_of(source, spec.data.label, numbers)
        split, said = split_table(spec, table.source, numbers, counts)
        if spec.data.train_on == "normal":
            split, note = normal_training(split, labels, source.where)
            said = (*said, note)
        declared, loss = declared_losses(spec.data), settled(spec, [column.type for column in table.columns])
        encoder = TableEncoder.fit(table, split.train, spec.data, rates(table.columns, loss, declared))
        data = TableData(table, encoder, labels, numbers)
        wanted = replace(Wanted.of(encoder.columns, loss, declared), masked=spec.data.missing == "mask")
        check_batch_size(spec, len(split.train))
        train = data.raw(split.train)
        fitted = Preprocessor.of_table(encoder, train, spec.data.scaling, clip=loss == "bce")
        refuse_flattened(np.where(np.isnan(train), fitted.offset, train), fitted)
        if loss == "bce":
            _refuse_beyond_one(fitted)
        said = (*notes, *said, *remarks(spec, data, split, fitted, train))
        return Examined(data, split, fitted, loss, wanted, said, numbers)


def _refuse_beyond_one(fitted: Preprocessor) -> None:
    """Loss bce is defined between 0 and 1, where minmax, quantile and, from 0 on, log1p bring the training rows."""
    assert fitted.extent is not None
    beyond = (fitted.extent.low < -ROUNDING) | (fitted.extent.high > 1 + ROUNDING)
    if beyond.any():
        place = int(beyond.argmax())
        more = f", and {beyond.sum() - 1} more columns" if beyond.sum() > 1 else ""
        raise DataError(
            f"loss bce needs values between 0 and 1, got {fitted.names[place]} from {fitted.extent.low[place]:g} to"
            f" {fitted.extent.high[place]:g}, as it is scaled{more}; use scaling minmax, or loss mixed."
        )


def split_table(
    spec: StudySpec, source: SourceTable, numbers: Numbers, counts: tuple[int, int, int] | None
) -> tuple[Split, tuple[str, ...]]:
    """Which rows are for what, as declared, and what the user should know of it.

    Args:
        spec: the declaration.
        source: the rows that are used.
        numbers: their numbers in the source.
        counts: rows of each file, where there are three.

    Raises:
        DataError: the rows cannot be split so.
    """
    data, seed = spec.data, spec.split_seed
    declared = data.split
    if counts is not None:
        return Split.of(np.searchsorted(np.cumsum(counts), numbers, side="right")), ()
    if declared is None:
        return split_rows(len(numbers), data.validation, data.test, seed), ()
    option, name = next((key, value) for key, value in declared if value is not None)
    key = Key(f"data.split.{option}", name, key_values(source, name), source.place)
    if option == "column":
        return split_by_column(key), ()
    if option == "group":
        return split_by_group(key, data.validation, data.test, seed), ()
    if option == "time":
        return split_by_time(replace(key, values=moments_or_numbers(key)), data.validation, data.test), ()
    few = few_of_a_class(key)
    return split_stratified(key, data.validation, data.test, seed), () if few is None else (few,)


def declared_losses(spec: DataSpec) -> dict[str, ColumnLoss]:
    """What is declared of single columns' losses."""
    return {name: one.loss for name, one in spec.described.items()}
