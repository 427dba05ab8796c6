"""A saved view of MLflow's charts page, arranged for one study.

The format is MLflow's own and documented nowhere: it is what the page of MLflow 3.17 writes where someone shares a
view, and a test draws it in a browser. It is installed where that works, and nothing depends on it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from tuner.ledger.records import StudyRecord
from tuner.spec.distributions import Distribution, grid_size
from tuner.spec.space import SearchSpace
from tuner.tracking.content import IMAGE_KEY, WORST_KEY, milliseconds

TAG = "mlflow.sharedViewState."
OBJECTIVE: Final = "objective"
_RATE, _SIZE = "log10_learning_rate", "n_params"
_RUNS: Final = 100  # drawn at once, the best ones; the page is one of a hundred runs as well
_IMAGES_OF: Final = 6  # the best complete trials, and pruned ones between them that have no pictures
_PARAMETERS, _AGAINST, _CURVES, _PICTURES, _DIFFERENCES = "parameters", "against", "curves", "pictures", "differences"


def view_key(study: StudyRecord) -> str:
    """What the view is opened by: one for each study, also where several share an experiment."""
    return f"tuner-{study.key}"


def saved_view(study: StudyRecord, parent_run_id: str, images: bool) -> tuple[str, str]:
    """The experiment's tag that is the view: its name and value, the same for the same declaration.

    Args:
        study: as it is now.
        parent_run_id: MLflow's run of the study.
        images: whether its rows are such that pictures of them are published.
    """
    state = json.dumps(_state(study.spec.space, parent_run_id, images), separators=(",", ":"))
    at = milliseconds(study.created_at)
    packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    value = {"name": f"{study.name}: all trials", "createdAt": at, "updatedAt": at, "state": f"deflate;{packed}"}
    return TAG + view_key(study), json.dumps(value)


def _state(space: SearchSpace, parent_run_id: str, images: bool) -> dict[str, Any]:
    searched = space.searched()
    columns = [f"metrics.`{name}`" for name in (OBJECTIVE, "best_epoch", "epochs", _SIZE)]
    columns += [f"params.`{name}`" for name in searched]
    return {
        "searchFilter": f"tags.mlflow.parentRunId = '{parent_run_id}'",
        "orderByKey": f"metrics.`{OBJECTIVE}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {},
        "runsHiddenMode": "SHOWALL",
        "viewMaximized": False,
        "runListHidden": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunCharts": _charts(searched, images),
        "compareRunSections": [
            _section(_PARAMETERS, "Search space", 1, 400),
            _section(_AGAINST, "What the objective depends on", 3, 360),
            _section(_CURVES, "Learning curves", 1, 400),
            *([_section(_PICTURES, "Reconstructions", 1, 400)] * images),
            _section(_DIFFERENCES, "Differences", 1, 400),
        ],
        "isAccordionReordered": True,
    }


def _section(key: str, name: str, columns: int, height: int) -> dict[str, Any]:
    shown = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": key, "name": name, "columns": columns, "cardHeight": height, **shown}


def _charts(searched: Mapping[str, Distribution], images: bool) -> list[dict[str, Any]]:
    pictures = [
        _images(IMAGE_KEY, "Reconstructions of the best trials"),
        _images(WORST_KEY, "Rows that the best trials reconstruct worst"),
    ]
    return [
        _parallel(searched),
        _scatter("rate", _axis("learning_rate"), "Learning rate and objective"),
        _scatter("size", _metric(_SIZE), "Size and objective"),
        *_contours(searched),
        _curves(),
        *(pictures if images else ()),
        _chart("difference", "DIFFERENCE", _DIFFERENCES, "What differs between trials")
        | {
            "compareGroups": ["Model metrics", "Parameters"],
            "chartName": "What differs between trials",
            "showChangeFromBaseline": True,
            "showDifferencesOnly": True,
            "baselineColumnUuid": "",
        },
    ]


def _chart(key: str, kind: str, section: str, name: str, runs: int = _RUNS) -> dict[str, Any]:
    made = {"uuid": key, "type": kind, "metricSectionId": section, "displayName": name}
    return {**made, "runsCountToCompare": runs, "deleted": False, "isGenerated": False}


def _parallel(searched: Mapping[str, Distribution]) -> dict[str, Any]:
    """Every searched parameter an axis; the learning rate by its logarithm, for axes are linear."""
    params = [name for name in searched if name != "learning_rate"]
    metrics = [_RATE] * ("learning_rate" in searched) + [OBJECTIVE]
    chart = _chart("parallel", "PARALLEL", _PARAMETERS, "All searched parameters")
    return {**chart, "selectedParams": params, "selectedMetrics": metrics, "showAllRuns": True}


def _scatter(key: str, x: Mapping[str, str], name: str) -> dict[str, Any]:
    return {**_chart(key, "SCATTER", _AGAINST, name), "xaxis": x, "yaxis": _metric(OBJECTIVE)}


def _contours(searched: Mapping[str, Distribution]) -> list[dict[str, Any]]:
    """Of the two numbers that are searched most finely."""
    numbers = {name: value for name, value in searched.items() if value.type != "categorical"}
    if len(numbers) < 2:
        return []
    x, y = map(_axis, sorted(numbers, key=lambda name: -grid_size(numbers[name]))[:2])
    chart = _chart("contour", "CONTOUR", _AGAINST, f"{x['key']}, {y['key']} and objective")
    return [{**chart, "xaxis": x, "yaxis": y, "zaxis": _metric(OBJECTIVE)}]


def _curves() -> dict[str, Any]:
    chart = _chart("curves", "LINE", _CURVES, "Validation loss")
    return {
        **chart,
        "metricKey": "val_loss",
        "selectedMetricKeys": ["val_loss"],
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "scaleType": "log",
        "xAxisScaleType": "linear",
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _images(key: str, name: str) -> dict[str, Any]:
    return {**_chart(key, "IMAGE", _PICTURES, name, _IMAGES_OF), "imageKeys": [key], "step": 0, "showRunParams": False}


def _axis(name: str) -> dict[str, str]:
    return _metric(_RATE) if name == "learning_rate" else {"key": name, "type": "PARAM"}


def _metric(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}
