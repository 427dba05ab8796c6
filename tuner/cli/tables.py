"""Tables that commands print or write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.analysis.pareto import front_csv
from tuner.export.folder import check_file, replace_file

if TYPE_CHECKING:
    from tuner.answers.parts import FrontPoint
    from tuner.api.study import Study


def front(points: Sequence[FrontPoint]) -> str:
    """A Pareto front as a table, the smallest loss first."""
    if not points:
        return "No trial is complete yet."
    header = f"{'trial':>6}  {'bottleneck':>10}  {'parameters':>10}  {'val_loss':>10}  {'PCA':>10}"
    lines = [
        f"{point.number:>6}  {point.bottleneck:>10}  {point.parameters:>10,}  {point.val_loss:>10.6g}"
        f"  {'-' if point.pca_val_loss is None else format(point.pca_val_loss, '.6g'):>10}{'  knee' * point.knee}"
        for point in points
    ]
    return "\n".join([header, *lines])


def front_json(points: Sequence[FrontPoint]) -> str:
    """A Pareto front as a JSON list of objects."""
    return json.dumps([point.as_dict() for point in points], indent=1)


def write_front(points: Sequence[FrontPoint], path: Path) -> None:
    """Write a Pareto front as CSV, whole or not at all."""
    check_file(path, (".csv",))
    replace_file(path, lambda new: new.write_text(front_csv(points), encoding="utf-8"))


def write_table(study: Study, path: Path, times: bool) -> None:
    """Write the trials table whole or not at all, in the format that its ending names."""
    check_file(path, _WRITERS)
    replace_file(path, lambda new: _WRITERS[path.suffix.lower()](study, new, times))


def _parquet(study: Study, path: Path, times: bool) -> None:
    (study.trials_with_times if times else study.trials).to_parquet(path)


_WRITERS: dict[str, Callable[[Study, Path, bool], object]] = {
    ".csv": lambda study, path, times: path.write_text(study.csv(times), encoding="utf-8"),
    ".parquet": _parquet,
    ".json": lambda study, path, times: path.write_text(study.json(times), encoding="utf-8"),
}
