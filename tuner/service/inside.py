"""What runs in processes with limits (`bounded.py`): it reads what clients sent, and uses models.

Imported there it must be light: libraries are imported where they are used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import DataError

if TYPE_CHECKING:
    from tuner.answers.inspection import Inspection
    from tuner.settings import Workspace


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is known of data that fits a declaration.

    Attributes:
        rows: training rows.
        validation: validation rows.
        features: numbers a row.
        notes: what the user should know.
    """

    rows: int
    validation: int
    features: int
    notes: tuple[str, ...]


@contextmanager
def hiding(place: str, name: str) -> Iterator[None]:
    """Where data cannot be used, clients learn its name and not where it lies."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace(place, name)) from None


def facts_of(declared: Mapping[str, Any], data_root: Path | None) -> DataFacts:
    """Read and split a declaration's data.

    Args:
        declared: the declaration, as plain values, with the places of its data.
        data_root: no data outside it is read.

    Raises:
        DataError: it cannot be used.
    """
    from tuner.data.examine import examine  # noqa: PLC0415
    from tuner.data.sources import Sources  # noqa: PLC0415
    from tuner.spec.reader import spec_from_mapping  # noqa: PLC0415

    spec = spec_from_mapping(declared)
    found = examine(spec, Sources(Path("/"), data_root))
    counts = len(found.split.train), len(found.split.validation)
    return DataFacts(*counts, len(found.data.names), tuple(found.notes))


def inspected(place: str, name: str, label: str | None, data_root: Path | None) -> Inspection:
    """What is in data, by its name.

    Raises:
        DataError: it cannot be read, or holds no column that could be modelled.
    """
    from tuner.data.inspection import inspect  # noqa: PLC0415
    from tuner.data.sources import Sources  # noqa: PLC0415
    from tuner.spec.data import DataSpec  # noqa: PLC0415

    found = inspect(DataSpec(source=place, label=label), Sources(Path("/"), data_root))
    return found.model_copy(update={"source": name})


def proposal(place: str, name: str, wishes: Mapping[str, Any], data_root: Path | None) -> str:
    """`tuner init`'s space file for data.

    Raises:
        DataError: as for `inspected`, or there is nothing to compress.
    """
    from tuner.data.initial import Wishes, space_file, study_name  # noqa: PLC0415

    found = inspected(place, name, wishes.get("label"), data_root)
    called = wishes.get("name") or study_name(name.partition(":")[2])
    return space_file(found, Wishes(called, wishes.get("label"), wishes.get("minutes")))


def exported(workspace: Workspace, study: str, folder: Path) -> None:
    """Write a study's export.

    Raises:
        StudyError: no trial is complete yet.
        ExportError: it cannot be written.
    """
    from tuner.api.study import Study  # noqa: PLC0415

    Study.at(workspace, study).export(folder)


def configured(workspace: Workspace, study: str) -> str:
    """A study's best configuration.

    Raises:
        StudyError: no trial is complete yet.
    """
    from tuner.api.study import Study  # noqa: PLC0415

    return Study.at(workspace, study).configuration()


def reported(workspace: Workspace, study: str, path: Path) -> None:
    """Write a study's report.

    Raises:
        ExportError: it cannot be written.
    """
    from tuner.api.study import Study  # noqa: PLC0415

    Study.at(workspace, study).report(path)


def trials_parquet(workspace: Workspace, study: str, times: bool, path: Path) -> None:
    """Write a study's table of trials as Parquet."""
    from tuner.api.study import Study  # noqa: PLC0415

    found = Study.at(workspace, study)
    (found.trials_with_times if times else found.trials).to_parquet(path)


@dataclass(frozen=True, slots=True)
class ModelScores:
    """What a model makes of rows; see `tuner.answers.service.Scored`."""

    scores: tuple[float, ...]
    anomalies: tuple[bool | None, ...] | None
    threshold: float | None
    codes: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]


def _above(score: float, threshold: float) -> bool | None:
    """Of a row without a score nothing is known."""
    return None if math.isnan(score) else score > threshold


def scored(folder: Path, rows: Path, most: int) -> ModelScores:
    """Score the rows of a file by an export.

    Args:
        folder: the export.
        rows: a .csv file, or a .json file with a list of rows.
        most: rows that may be scored at once.

    Raises:
        DataError: they are not such as the model was trained on, or too many.
    """
    given = rows if rows.suffix == ".csv" else _as_file(rows)
    from tuner.export.apply import Request, apply  # noqa: PLC0415 - torch, seconds that rows of no use do not take

    with hiding(str(given), "rows"):
        done = apply(folder, Request("score", rows.with_name("scores.npy"), str(given)))
        if done.rows > most:
            raise DataError(f"rows: at most {most:,} may be scored at once, got {done.rows:,}.")
        apply(folder, Request("encode", rows.with_name("codes.npy"), str(given)))
    scores = _numbers(rows.with_name("scores.npy"))
    anomalies = None if done.threshold is None else tuple(_above(score, done.threshold) for score in scores)
    said = f"{done.without:,} rows have no score, for a value of theirs is missing (the first: {done.missing})."
    missing = [said] if done.without else []
    notes = (*missing, *(note for note in (done.odd, done.outside) if note))
    return ModelScores(
        tuple(scores), anomalies, done.threshold, tuple(map(tuple, _rows(rows.with_name("codes.npy")))), notes
    )


def _numbers(path: Path) -> list[float]:
    import numpy as np  # noqa: PLC0415

    found: list[float] = np.load(path, allow_pickle=False).reshape(-1).tolist()
    return found


def _rows(path: Path) -> list[list[float]]:
    import numpy as np  # noqa: PLC0415

    found: list[list[float]] = np.load(path, allow_pickle=False).tolist()
    return found


def _as_file(path: Path) -> Path:
    """Rows of JSON as a file that `apply` reads: of mappings a table, of lists an array."""
    given = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(given, list) or not given or not all(isinstance(row, dict | list) for row in given):
        raise DataError("rows: must be a list of rows, each a mapping of columns or a list of numbers.")
    return _as_table(given, path) if isinstance(given[0], dict) else _as_array(given, path)


def _as_table(given: Sequence[Any], path: Path) -> Path:
    import csv  # noqa: PLC0415

    if not all(isinstance(row, dict) for row in given):
        raise DataError("rows: must all be mappings of columns, as the first one is.")
    names = list(dict.fromkeys(name for row in given for name in row))
    made = path.with_suffix(".csv")
    with made.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in given)
    return made


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        raise DataError("rows: a column must have one value in each row, got a list or a mapping.")
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _as_array(given: Sequence[Any], path: Path) -> Path:
    import numpy as np  # noqa: PLC0415

    try:
        rows = np.asarray(given, dtype=np.float64)
    except (ValueError, TypeError):
        raise DataError("rows: must be lists of numbers, all of the same length.") from None
    made = path.with_suffix(".npy")
    np.save(made, rows, allow_pickle=False)
    return made
