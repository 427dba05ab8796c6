"""Claims about how the end of a driver leaves its study: what is recorded decides, then the exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from studies import tiny

from tuner.ledger.records import StudyRecord
from tuner.ledger.standings import Ending, Standing
from tuner.ledger.submissions import Submission
from tuner.service.verdicts import AGAIN, MOST_ATTEMPTS, after_failure, ending_of
from tuner.spec.reader import spec_from_mapping

SUBMISSION = Submission(
    id=1, name="tiny", idempotency_key=None, spec_text="", warm_start=None, trials=None, timeout=None, wanted="run",
    wanted_at=10.0, by="me", at=10.0, driver=None, started_at=11.0, outcome=None, message="", attempts=0,
    not_before=0.0,
)  # fmt: skip
STANDING = Standing(SUBMISSION, study_id=1, state="running", is_leased=False, asked="run")
FINISHED, STOPPED, FAILED = Ending("finished"), Ending("stopped"), None
KILLED = -9
CASES: dict[str, tuple[int | None, dict[str, Any], dict[str, Any], Ending | None]] = {
    "it ended": (0, {"state": "finished"}, {}, FINISHED),
    "it ended, and nobody knows its exit code": (None, {"state": "finished"}, {}, FINISHED),
    "it ended all, and was killed before it said so": (KILLED, {"state": "finished"}, {}, FINISHED),
    "killed while it published": (KILLED, {"state": "finished", "waiting": 3}, {}, FAILED),
    "killed so again and again": (KILLED, {"state": "finished", "waiting": 3}, {"attempts": 4}, FINISHED),
    "it ended, and MLflow is away": (0, {"state": "finished", "waiting": 3}, {}, FINISHED),
    "it ended while a stop was asked for": (0, {"state": "finished", "asked": "stop"}, {"wanted": "stop"}, FINISHED),
    "its time was up": (0, {"state": "stopped"}, {}, STOPPED),
    "its time was up, but it was asked to go on": (0, {"state": "stopped"}, {"wanted_at": 12.0}, AGAIN),
    "a stop was asked for": (3, {"state": "stopped", "asked": "stop"}, {"wanted": "stop"}, STOPPED),
    "a stop was asked for in a shell": (3, {"state": "stopped", "asked": "stop"}, {}, STOPPED),
    "stopped, and asked to run again meanwhile": (3, {"state": "stopped"}, {"wanted_at": 12.0}, AGAIN),
    "killed, for it did not stop": (KILLED, {}, {"wanted": "stop"}, STOPPED),
    "stopped before it was recorded": (143, {"study_id": None, "state": None}, {"wanted": "archived"}, STOPPED),
    "adopted, and stopped as was wanted": (None, {"state": "stopped"}, {"wanted": "stop"}, STOPPED),
    "adopted, and gone": (None, {}, {}, FAILED),
    "the input is wrong": (2, {"study_id": None, "state": None}, {}, FAILED),
    "it failed": (1, {"state": "stopped"}, {}, FAILED),
    "killed": (KILLED, {}, {}, FAILED),
    "another process runs it": (2, {"is_leased": True}, {}, AGAIN),
    "ended with the budget of before": (0, {"state": "finished"}, {"trials": 20, "wanted_at": 12.0}, AGAIN),
    "it could not take all of the budget": (0, {"state": "finished"}, {"trials": 20}, FINISHED),
    "the larger budget is refused": (2, {"state": "finished"}, {"trials": 20}, FAILED),
    "the budget is not larger": (0, {"state": "finished"}, {"trials": 13, "wanted_at": 12.0}, FINISHED),
}


def record() -> StudyRecord:
    spec = spec_from_mapping(tiny()).model_dump_json()
    return StudyRecord(1, "k", "tiny", spec, "s.yaml", "f", "running", 0.0, 0.0, {}, 4)


@pytest.mark.parametrize("case", CASES)
def test_how_a_study_is_left(case: str) -> None:
    """Finished, stopped, waiting again, or failed, which is judged by how often."""
    code, standing, asked, expected = CASES[case]
    now = replace(STANDING, submission=replace(SUBMISSION, **asked), **standing)
    assert ending_of(code, now, None if now.study_id is None else record()) == expected


def test_a_study_whose_declaration_is_damaged_disturbs_no_other() -> None:
    """It is judged by its exit code, without an error."""
    damaged = replace(record(), spec_json="{")
    assert ending_of(1, replace(STANDING, submission=replace(SUBMISSION, trials=20)), damaged) is None


def test_what_fails_is_tried_again_ever_later_and_given_up() -> None:
    """Pauses of 1, 2, 4, 8 seconds; the fifth in a row is the last. What the user has to mend is never tried again."""
    endings = [after_failure(1, attempts, False, "why") for attempts in range(MOST_ATTEMPTS)]
    assert [(each.outcome, each.attempts, each.pause) for each in endings] == [
        (None, 1, 1.0), (None, 2, 2.0), (None, 3, 4.0), (None, 4, 8.0), ("failed", 5, 0.0),
    ]  # fmt: skip
    assert {each.message for each in endings} == {"why"}
    assert after_failure(2, 0, False, "why").outcome == "failed"


def test_one_that_got_on_begins_a_new_row() -> None:
    """A driver that recorded something before it was killed is no fifth one."""
    assert after_failure(KILLED, MOST_ATTEMPTS - 1, True, "") == Ending(None, "", 1, 1.0)


def test_a_cluster_is_waited_for() -> None:
    """That it cannot be joined now is not the fault of what was handed in: it is tried for as long as it takes."""
    ending = after_failure(4, MOST_ATTEMPTS - 1, False, "no cluster")
    assert (ending.outcome, ending.message, ending.attempts) == (None, "no cluster", MOST_ATTEMPTS - 1)
    assert ending.pause > 0
