"""Claims about studies that begin with the portfolio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import tiny

import tuner
from tuner.cli.display import summary
from tuner.errors import StudyError
from tuner.search import portfolio as packaged
from tuner.spec.defaults import completed
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import NEWEST

SEARCH: dict[str, Any] = {"trials": 13, "epochs": 3, "cohort": 9}


def test_a_new_study_begins_with_it_and_another_portfolio_changes_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its points are the first trials, recorded before any: the study goes on with them when a version has others."""
    declared = tiny(search=SEARCH)
    undisturbed = tuner.run(declared, workers=0)
    points = packaged.portfolio(completed(spec_from_mapping(declared), NEWEST), NEWEST)
    assert len(points) == 3
    assert tuple(trial.point.as_dict() for trial in undisturbed.records[:3]) == points
    assert undisturbed.summary.warm_start.as_dict() == {"from": "search.portfolio", "trials": 3, "left_out": 0}
    stopped = tiny(name="stopped", search={**SEARCH, "timeout": 0.001})
    assert tuner.run(stopped, workers=0).outcome == "timeout"
    monkeypatch.setattr(packaged, "configurations", lambda: [{"learning_rate": 0.05, "width": 7}])
    study = tuner.run(tiny(name="stopped", search=SEARCH), workers=0)
    assert study.csv() == undisturbed.csv()


def test_what_is_shown_does_not_say_that_the_user_gave_it(workspace: Path) -> None:
    """It is no --from, and the study cannot be told afterwards that it began from one."""
    study = tuner.run(tiny(search=SEARCH), workers=0)
    said = summary(study)
    assert "It began with 3 configurations of the portfolio." in said and "--from" not in said
    with pytest.raises(StudyError, match=r"has begun already, with the portfolio;"):
        tuner.run(tiny(search=SEARCH), workers=0, warm_start="best")


def test_it_can_be_left_out(workspace: Path) -> None:
    """Then the sampler proposes every trial; and a study that has begun cannot be told otherwise."""
    study = tuner.run(tiny(search={**SEARCH, "portfolio": False}), workers=0)
    assert study.summary.warm_start is None
    with pytest.raises(StudyError, match=r"cannot go on, for search\.portfolio was"):
        tuner.run(tiny(search=SEARCH), workers=0)
