"""What the charts of a study show, as plain numbers: a script draws them, tables say the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tuner.answers.service import CurveItem, TrialItem
from tuner.report.markup import Html, element
from tuner.report.svg import axis_of
from tuner.spec.length import Length

MOST_CURVES: Final = 10
MOST_POINTS: Final = 160  # of a curve
_DIGITS: Final = 5


def history(trials: Sequence[TrialItem], baseline: float | None) -> Html | None:
    """Every trial's best validation loss in the order of the study, the best complete one so far, and PCA's."""
    known = sorted((trial for trial in trials if _finite(trial.value)), key=lambda trial: trial.number)
    if not known:
        return None
    values = [trial.value for trial in known]
    complete = [v if t.state == "complete" else None for t, v in zip(known, values, strict=True)]
    others = [v if t.state != "complete" else None for t, v in zip(known, values, strict=True)]
    series = [_series("best so far", "step", _running_best(complete))]
    if _finite(baseline):
        series.append(_series(f"PCA {baseline:.4g}", "level", [baseline] * len(known)))
    series += [_series("complete", "dots", complete), _series("ended early or running", "rings", others)]
    return _plot("history", "Validation loss of every trial", "trial", [trial.number for trial in known], series)


def curves(found: Sequence[CurveItem], best: int | None, length: Length | None = None) -> Html | None:
    """Learning curves, one line a trial; the best trial's stands out. Without a length, intervals are epochs."""
    known = {curve.number: _points(curve) for curve in found[:MOST_CURVES]}
    known = {number: points for number, points in known.items() if points}
    if not known:
        return None
    x = sorted({epoch for points in known.values() for epoch in points})
    series = [
        _series(f"trial {number}", "winner" if number == best else "curve", [points.get(epoch) for epoch in x])
        for number, points in known.items()
    ]
    unit = "epoch" if length is None else length.unit[:-1]
    places = x if length is None else [length.amount(interval) for interval in x]
    return _plot("curves", f"Validation loss by {unit}", unit, places, series)


def _plot(name: str, title: str, x_title: str, x: Sequence[float], series: Sequence[Mapping[str, Any]]) -> Html:
    axis = axis_of((value for each in series for value in each["values"] if value is not None), title)
    body = {"title": x_title, "x": x, "series": series, "y": [_short(axis.low), _short(axis.high)], "log": axis.log}
    given = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return element("div", class_="plot", id=f"plot-{name}", role="img", aria_label=title, data_plot=given)


def _series(label: str, kind: str, values: Sequence[float | None]) -> dict[str, Any]:
    return {"label": label, "kind": kind, "values": [None if value is None else _short(value) for value in values]}


def _running_best(values: Sequence[float | None]) -> list[float | None]:
    best: float | None = None
    found = []
    for value in values:
        best = value if best is None or (value is not None and value < best) else best
        found.append(best)
    return found


def _points(curve: CurveItem) -> dict[int, float]:
    """Finite points, evenly thinned, the last one kept."""
    points = [(epoch, loss) for epoch, loss in zip(curve.epochs, curve.validation, strict=True) if _finite(loss)]
    step = -(-len(points) // MOST_POINTS) or 1
    return dict(points if step == 1 else [*points[:-1:step], points[-1]])


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
