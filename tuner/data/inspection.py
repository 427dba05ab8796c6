"""What a user's data holds, column by column, before any study.

Legend: N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner.answers.inspection import ColumnFacts, Inspection
from tuner.data.columns.cells import Values
from tuner.data.columns.sentinels import SENTINELS, sentinels
from tuner.data.columns.typed import LeftOut, TypedColumn, TypedTable, typed
from tuner.data.dataset import Dataset
from tuner.data.initial import quoted
from tuner.data.load_tables import load_table
from tuner.data.outliers import ScalingProposal, far_out, proposed_scaling
from tuner.data.readers import checked, naming, read_rows
from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tabular import key_values
from tuner.data.together import may_own_rows, proposed_groups, row_hashes
from tuner.spec.data import DataSpec

SHOWN_LEVELS: Final = 5
LEAST_GROUPS: Final = 10  # with fewer, a split by them leaves too few for validation and test
LEAK: Final = 0.999  # of the rows: a column that tells the label so often is a copy of it
NO_CHANCE: Final = 7  # rows that disagree in another order: that none does by chance is rarer than one in 1,000
SHUFFLES: Final = 3
MOST_VALUES: Final = 1000  # of a column, and of the label


def inspect(spec: DataSpec, sources: Sources) -> Inspection:
    """What the source holds.

    Args:
        spec: the source, and how it is to be read where that is declared.
        sources: where a path in it leads.

    Raises:
        DataError: it cannot be read, or holds no column that could be modelled.
    """
    source = load_table(spec, sources)
    if source is not None:
        with naming(source.where):
            return of_table(source, spec)
    data = read_rows(spec, sources)
    return _of_gaps(data, spec, sources) or _of_rows(checked(data), spec)


def of_table(source: SourceTable, spec: DataSpec) -> Inspection:
    """What a table holds.

    Raises:
        DataError: no column of it could be modelled.
    """
    table = typed(source, spec, strict=False)
    label = None if spec.label is None else source.table.column(spec.label).to_pandas().astype(str)
    proposals = _proposals(table)
    made = {column.name: _modelled(table, column, label, proposals.get(column.name)) for column in table.columns}
    made |= {one.name: _left_out(one) for one in table.left_out}
    columns = tuple(made[name] for name in source.table.column_names if name in made)
    gaps = np.any([column.missing for column in table.columns], axis=0)
    names = [name for name in source.table.column_names if may_own_rows(name) and name != spec.label]
    groups = proposed_groups({name: key_values(source, name) for name in names})
    return Inspection(
        source=spec.source,
        kind="table",
        rows=table.rows,
        shape=(len(source.table.column_names),),
        features=sum(_width(column) for column in table.columns),
        columns=columns,
        duplicates=_duplicates(np.column_stack([column.values for column in table.columns])),
        incomplete=int(gaps.sum()),
        group=next((group.name for group in groups if group.groups >= LEAST_GROUPS), None),
        notes=table.notes,
    )


def _of_gaps(data: Dataset, spec: DataSpec, sources: Sources) -> Inspection | None:
    """An array of two dimensions with missing values or sentinels, as a study reads it by data.missing; else None."""
    if len(data.shape) > 1 or spec.label is not None:
        return None
    ends = np.isin([data.values.min(0), data.values.max(0)], SENTINELS).any(0)
    if np.isfinite(data.values).all() and not any(sentinels(column) for column in data.values.T[ends]):
        return None
    masked = spec.model_copy(update={"missing": "mask"})
    source = load_table(masked, sources)
    if source is None:
        return None
    with naming(source.where):
        found = of_table(source, masked)
    heavy = any(column.scaling for column in found.columns)
    return found.model_copy(update={"kind": "array", "scaling": "robust" if heavy else None})


def _of_rows(data: Dataset, spec: DataSpec) -> Inspection:
    constant, columns = int((data.values == data.values[0]).all(0).sum()), data.values.shape[1]
    notes = [f"values from {data.values.min():g} to {data.values.max():g}, none missing."]
    if constant:
        notes.append(f"{constant:,} of {columns:,} columns are the same in all rows.")
    width = {"column": columns, "channel": data.shape[-1]}.get(data.each or "column")
    far = 0 if width is None else int(far_out(data.values.reshape(-1, width)).sum())
    if far:
        notes.append(f"{far:,} of {width:,} {data.each}s have values far out: scaling robust bounds them.")
    return Inspection(
        source=spec.source,
        kind="images" if data.each == "image" else "array",
        rows=data.rows,
        shape=data.shape,
        features=data.values.shape[1],
        duplicates=_duplicates(data.values),
        scaling="robust" if far else None,
        notes=tuple(notes),
    )


def _width(column: TypedColumn) -> int:
    """Encoded columns, about: levels that are rare are merged later, on the training rows alone."""
    return min(31, len(column.levels) + 1) if column.type == "categorical" else 1


def _modelled(
    table: TypedTable, column: TypedColumn, label: pd.Series[str] | None, proposal: ScalingProposal | None
) -> ColumnFacts:
    present = column.values[~column.missing]
    odd = table.odd.get(column.name)
    tells = label is not None and _tells(column, label)
    facts = {
        "name": column.name,
        "type": column.type,
        "modelled": True,
        "missing": int(column.missing.sum()) - (odd.count if odd else 0),
        "distinct": len(np.unique(present)),
        "odd": odd.texts if odd else (),
        "sentinels": column.format.missing if column.type in ("numeric", "count") else (),
        "notes": (*_remarks(column, present, tells, proposal), *_possible_sentinels(table, column)),
        "tells": tells,
        "scaling": None if proposal is None else proposal.scaling,
    }
    if column.levels:
        counts = Counter(present.astype(np.int64).tolist()).most_common(SHOWN_LEVELS)
        return ColumnFacts(**facts, levels=tuple((column.levels[place], count) for place, count in counts))
    ends = (float(present.min()), float(present.max())) if len(present) else (None, None)
    return ColumnFacts(**facts, low=ends[0], high=ends[1])


def _left_out(one: LeftOut) -> ColumnFacts:
    return ColumnFacts(name=one.name, type=one.type, modelled=False, notes=(f"left out: {one.why}.",))


def _remarks(column: TypedColumn, present: Values, tells: bool, proposal: ScalingProposal | None) -> list[str]:
    found = []
    if proposal is not None:
        found.append(f"scaling {proposal.scaling} suits it better: {proposal.reason}.")
    if tells:
        found.append("it tells the label: leave it out where codes are to be judged by that.")
    if len(present) < len(column.values) / 2:
        found.append("more than half of its values are missing.")
    return found


def _possible_sentinels(table: TypedTable, column: TypedColumn) -> Iterator[str]:
    """A number such as -999 in a single row, which is no proof that it stands for a missing value."""
    if column.type not in ("numeric", "count"):
        return
    for number in sentinels(column.values, least=1):
        row = int((column.values == number).argmax())
        cell = table.source.table.column(column.name)[row].as_py()
        text = cell.strip() if isinstance(cell, str) else f"{number:.15g}"
        yield f"{text} in {table.source.place(row)} may stand for a missing value: read: {{missing: [{quoted(text)}]}}."


def _proposals(table: TypedTable) -> dict[str, ScalingProposal]:
    """Scalings for the columns of numbers that have values far out."""
    numeric = [column for column in table.columns if column.type in ("numeric", "count")]
    if not numeric:
        return {}
    far = far_out(np.column_stack([column.values for column in numeric]))
    found = {numeric[place].name: proposed_scaling(numeric[place].values) for place in np.flatnonzero(far)}
    return {name: proposal for name, proposal in found.items() if proposal is not None}


def _tells(column: TypedColumn, label: pd.Series[str]) -> bool:
    """Whether each value of a column has one label, of labels that rows could as well have had in another order.

    A column that hardly repeats has one label for each value by itself: what counts is how many rows would disagree.
    """
    values, codes = pd.factorize(column.values)[0], pd.factorize(label)[0]
    if column.missing.any() or values.max() >= MOST_VALUES or codes.max() >= MOST_VALUES:
        return False
    draw = np.random.default_rng(0)
    by_chance = np.mean([_disagreeing(values, draw.permutation(codes)) for _ in range(SHUFFLES)])
    return bool(_disagreeing(values, codes) <= (1 - LEAK) * len(values) and by_chance >= NO_CHANCE)


def _disagreeing(values: NDArray[np.intp], codes: NDArray[np.intp]) -> int:
    """Rows whose label is not the commonest one of their value."""
    labels = int(codes.max()) + 1
    pairs, counts = np.unique(values * labels + codes, return_counts=True)
    commonest = np.zeros(int(values.max()) + 1, np.int64)
    np.maximum.at(commonest, pairs // labels, counts)
    return len(values) - int(commonest.sum())


def _duplicates(values: Values) -> int:
    hashes = row_hashes(values)
    return len(hashes) - len(np.unique(hashes))
