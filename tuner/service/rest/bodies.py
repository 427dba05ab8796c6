"""What clients send, as models: closed, so that a misspelt key is a mistake and not a wish unheard."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from tuner.errors import Problem, SpecError
from tuner.service.declarations import SOURCE
from tuner.spec.strict_yaml import decoded

_PAIR: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_Text = {"schema": {"type": "string"}, "example": "name: digits\ndata:\n  source: sklearn:digits\n"}
SPACE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A space file, as YAML or as JSON of the same mapping.",
        "content": {"application/yaml": _Text, "text/yaml": _Text, "application/json": {"schema": {"type": "object"}}},
    }
}
MOST_NOTE: Final = 10_000  # characters
MOST_TAG: Final = 60
MOST_TAGS: Final = 30
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Budget(_Asked):
    """How far a study is to go on; what is left out stays as it is."""

    trials: int | None = Field(None, ge=1, le=1_000_000, description="Trials in all.")
    timeout: Seconds | None = Field(None, description="Seconds that a run may take.")


class Clone(_Asked):
    """A study's declaration under another name."""

    name: str = Field(max_length=200)
    changes: list[str] = Field([], max_length=100, description="`search.trials=20` each, as `--set` takes them.")


class NewName(_Asked):
    """Another name."""

    name: str = Field(max_length=200)


class NoteText(_Asked):
    """A study's note and tags, in place of those it has."""

    text: str = Field("", max_length=MOST_NOTE)
    tags: list[Annotated[str, Field(min_length=1, max_length=MOST_TAG)]] = Field([], max_length=MOST_TAGS)


class Bulk(_Asked):
    """An action on many studies."""

    action: Literal["run", "stop", "archive", "unarchive", "retry", "delete"]
    names: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=500)


class TokenWish(_Asked):
    """A new token."""

    name: str = Field(min_length=1, max_length=100)
    role: Literal["read", "launch", "admin"]
    days: float = Field(90, gt=0, le=3650, allow_inf_nan=False)


def space_text(request: Request, body: bytes) -> str:
    """The space file in a body: YAML, or JSON, which YAML is made to read.

    Raises:
        SpecError: it is no such text.
    """
    text = decoded(body, SOURCE)
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        return text
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError([Problem("", f"must be JSON, got: {error.msg}", error.lineno, SOURCE)]) from None
    except (ValueError, RecursionError) as error:
        raise SpecError([Problem("", f"must be JSON, got: {error}", None, SOURCE)]) from None
    # YAML knows neither tabs between values nor characters that are written as two halves.
    return _PAIR.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), text.replace("\t", " "))
