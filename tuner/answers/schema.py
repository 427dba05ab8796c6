"""The JSON Schema of every answer; `answers.schema.json` beside this file is its committed copy."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import RootModel
from pydantic.json_schema import models_json_schema

from tuner.answers.comparison import Comparison
from tuner.answers.inspection import Inspection
from tuner.answers.parts import FrontPoint
from tuner.answers.service import (
    AuditList,
    BulkAnswer,
    Checked,
    CurveList,
    DatasetList,
    EventItem,
    Mistake,
    NewToken,
    Scored,
    StudyDetail,
    StudyPage,
    TokenList,
    TrialPage,
)
from tuner.answers.study import StudyAnswer
from tuner.answers.summary import Summary


class Front(RootModel[tuple[FrontPoint, ...]]):
    """A Pareto front, the lowest loss first, as `tuner front --json` prints it."""


OF_STUDIES: Final = (StudyAnswer, Front, Comparison, Summary, Inspection)
OF_SERVICE: Final = (
    StudyPage,
    StudyDetail,
    TrialPage,
    CurveList,
    EventItem,
    Checked,
    Mistake,
    DatasetList,
    Scored,
    BulkAnswer,
    TokenList,
    NewToken,
    AuditList,
)


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12; each kind of answer is one of its `$defs`."""
    roots: list[tuple[Any, Any]] = [(each, "validation") for each in (*OF_STUDIES, *OF_SERVICE)]
    _, found = models_json_schema(roots)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of autoencoder-tuner",
        "description": "`tuner run --json` and `tuner show --json` print a StudyAnswer, `tuner front --json` a Front,"
        " `tuner compare --json` a Comparison, `tuner inspect --json` an Inspection; the ledger stores a Summary; the"
        " others are the service's.",
        "$defs": found["$defs"],
    }


def schema_text() -> str:
    """The schema as the committed file holds it."""
    return json.dumps(schema(), indent=2) + "\n"
