"""What every part of an answer is, and how it is written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from tuner.spec.distributions import Scalar

Params: TypeAlias = Mapping[str, Scalar]
"""The hyperparameters that are in use at a point of the search space."""


def _from_null(value: object) -> object:
    return math.nan if value is None else value


Loss: TypeAlias = Annotated[float, BeforeValidator(_from_null), WithJsonSchema({"type": ["number", "null"]})]
"""A loss that may be infinite or NaN; as JSON knows neither, both are written as null, which is read as NaN."""


class Answer(BaseModel):
    """A part of an answer: immutable, with exactly the keys that it declares."""

    # Built on first use: `tuner --help` and `tuner list` need none of the validators.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)

    def as_dict(self) -> dict[str, Any]:
        """The values that `--json` prints; a number that JSON does not know is None."""
        found: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True))
        return found

    def as_json(self) -> str:
        """One JSON object, as `--json` prints it."""
        return json.dumps(self.as_dict(), indent=1)
