"""What every part of an answer is, and how it is written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from tuner.spec.distributions import Scalar

Params: TypeAlias = Mapping[str, Scalar]
"""The hyperparameters that are in use at a point of the search space."""

Loss: TypeAlias = Annotated[float, WithJsonSchema({"type": ["number", "null"]})]
"""A loss that may be infinite or NaN; as JSON knows neither, both are written as null."""


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
