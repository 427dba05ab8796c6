"""The JSON Schema of a space file, for editors; `study.schema.json` beside this file is its committed copy."""

from __future__ import annotations

import json
from typing import Any

from tuner.spec.study import StudySpec


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a space file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Study of autoencoder-tuner",
        **{key: value for key, value in StudySpec.model_json_schema().items() if key != "title"},
    }


def schema_text() -> str:
    """The schema as the committed file holds it."""
    return json.dumps(schema(), indent=2) + "\n"
