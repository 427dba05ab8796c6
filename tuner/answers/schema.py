"""The JSON Schema of every answer; `answers.schema.json` beside this file is its committed copy."""

from __future__ import annotations

import json
from typing import Any

from pydantic import RootModel
from pydantic.json_schema import models_json_schema

from tuner.answers.comparison import Comparison
from tuner.answers.parts import FrontPoint
from tuner.answers.study import StudyAnswer
from tuner.answers.summary import Summary


class Front(RootModel[tuple[FrontPoint, ...]]):
    """A Pareto front, the lowest loss first, as `tuner front --json` prints it."""


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12; each kind of answer is one of its `$defs`."""
    roots: list[tuple[Any, Any]] = [(each, "validation") for each in (StudyAnswer, Front, Comparison, Summary)]
    _, found = models_json_schema(roots)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of autoencoder-tuner",
        "description": "`tuner run --json` and `tuner show --json` print a StudyAnswer, `tuner front --json` a Front,"
        " `tuner compare --json` a Comparison; the ledger stores a Summary.",
        "$defs": found["$defs"],
    }


def schema_text() -> str:
    """The schema as the committed file holds it."""
    return json.dumps(schema(), indent=2) + "\n"
