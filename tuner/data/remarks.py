"""What a user should know of data that is not refused: said by `validate` and when a run begins, since rules 3."""

from __future__ import annotations

from tuner.data.dataset import Data, Values
from tuner.data.outliers import squeezed
from tuner.data.outside import outside
from tuner.data.preprocess import Preprocessor
from tuner.data.split import Split
from tuner.data.together import duplicates_across
from tuner.errors import DataError
from tuner.spec.space import SearchSpace
from tuner.spec.study import StudySpec


def remarks(spec: StudySpec, data: Data, split: Split, fitted: Preprocessor, train: Values) -> tuple[str, ...]:
    """A sentence each: outliers, equal rows across splits, long codes.

    Args:
        spec: the declaration.
        data: the rows.
        split: which of them are held out.
        fitted: the scaling.
        train: the raw training rows, (N, F).

    Raises:
        DataError: every code of the space is as long as the rows.
    """
    found = [
        check_code(spec.space, len(data.names), data.where) or _holds_rows(spec.space, len(split.train)),
        squeezed(fitted, fitted.limited(train)),
    ]
    found += [
        outside(fitted, data.raw(part), f"{name} rows")
        for name, part in (("validation", split.validation), ("test", split.test))
    ]
    found.append(duplicates_across(data.plain_rows(), split).sentence)
    return tuple(sentence for sentence in found if sentence is not None)


def check_code(space: SearchSpace, features: int, where: str) -> str | None:
    """A code as long as the rows can copy them, unless something is asked of it beside a small loss.

    Args:
        space: what is searched.
        features: columns that the network reads.
        where: the source, for the message.

    Returns:
        A sentence where some of the space's codes are that long, or all are but noise, sparsity or a prior bounds them.

    Raises:
        DataError: all of them are, and nothing bounds them.
    """
    least, most = space.smallest("bottleneck"), space.largest("bottleneck")
    if most < features:
        return None
    bounded = set(space.kinds()) - {"plain"} or space.largest("input_noise") > 0
    if least >= features and not bounded:
        raise DataError(
            f"{where}: space.bottleneck must be less than the {features} feature{'s' * (features != 1)} of a row, got"
            f" {least}: a code as long as the row can copy it, and losses near 0 then say nothing."
        )
    return (
        f"space.bottleneck reaches {most}, but a row has {features} features: a code of {features} or more can copy its"
        " row, and losses near 0 then say nothing."
    )


def _holds_rows(space: SearchSpace, rows: int) -> str | None:
    """A code with a unit for each training row but one: in so many directions all of them lie, whatever they are."""
    most = space.largest("bottleneck")
    if most < rows - 1:
        return None
    return (
        f"space.bottleneck reaches {most}, but there are {rows} training rows: a code of {rows - 1} or more can hold"
        " each of them, and training losses near 0 then say nothing."
    )
