"""What a hyperparameter may be declared as: a value, a distribution, each with a condition if need be.

The names are Optuna's (`type`, `low`, `high`, `log`, `step`, `choices`); `when` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Generic, Literal, Optional, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tuner.spec.hyperparameters import TABLE, Hyperparameter

Scalar = bool | int | float | str
T = TypeVar("T")
MOST_STEPS = 1_000_000_000  # in a range of real numbers: Optuna's decimals cannot distinguish more


def mistake(message: str, *key: str) -> PydanticCustomError:
    """A validation error at `key` below the place where it is raised; the reader joins the two."""
    return PydanticCustomError("tuner", "{message}", {"message": message, "key": key})


class Frozen(BaseModel):
    """What every part of a declaration is: strict, closed and immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _many(value: Any) -> str:
    return "many" if isinstance(value, list | tuple) else "one"


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else (value,)


_OneOrMore = Annotated[
    Annotated[T, Tag("one")] | Annotated[tuple[T, ...], Field(min_length=1, strict=False), Tag("many")],
    Discriminator(_many),
    AfterValidator(_listed),
]
_Whole = Annotated[int, Field(strict=True)]


def _condition(row: Hyperparameter) -> Any:
    """The type of a hyperparameter's values in a condition."""
    one: Any = _Whole if row.type is int else row.type
    return Optional[_OneOrMore[one]]  # type: ignore[misc]  # noqa: UP045 - the running program alone knows the type


# The fields follow from the table of hyperparameters; a type checker cannot see them.
_WHENS: dict[str, Any] = {row.name: (_condition(row), None) for row in TABLE}
_Conditional: Any = create_model("_Conditional", __base__=Frozen, **_WHENS)


class Condition(_Conditional):
    """Values of other hyperparameters, one or a list each: all of them must have one of theirs."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.named():
            raise mistake("must name at least one other hyperparameter")
        return self

    def named(self) -> dict[str, tuple[Scalar, ...]]:
        """Name to the values that it may have, in the order of declaration."""
        return {name: values for name, values in self if values is not None}

    @model_serializer
    def _written(self) -> dict[str, Any]:
        return {name: values[0] if len(values) == 1 else list(values) for name, values in self.named().items()}


When = Annotated[
    Condition | None,
    Field(description="Only where other hyperparameters have these values; elsewhere as if it were not declared."),
]


class Fixed(Frozen, Generic[T], title="Conditional value"):
    """One value, where a condition holds."""

    value: T = Field(description="The value where the condition holds.")
    when: Condition = Field(description="Where it holds; elsewhere as if it were not declared.")


class FloatDistribution(Frozen):
    """A real number between `low` and `high`, both included."""

    type: Literal["float"]
    low: float = Field(description="Smallest value, included.")
    high: float = Field(description="Largest value, included.")
    log: bool = Field(False, description="Sample the logarithm uniformly: for scales such as a learning rate.")
    step: float | None = Field(None, gt=0, description="Only low, low + step, low + 2 step, ...")
    when: When = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step is not None)
        if self.step is not None and self.high - self.low > self.step * MOST_STEPS:
            raise mistake(f"must be at least the range from low to high by {MOST_STEPS:,}, got {self.step}", "step")
        return self


class IntDistribution(Frozen):
    """A whole number between `low` and `high`, both included."""

    type: Literal["int"]
    low: int = Field(description="Smallest value, included.")
    high: int = Field(description="Largest value, included.")
    log: bool = Field(False, description="Sample the logarithm uniformly: for scales such as a width.")
    step: int = Field(1, ge=1, description="Only low, low + step, low + 2 step, ...")
    when: When = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step != 1)
        return self


class Categorical(Frozen):
    """One of some values."""

    type: Literal["categorical"]
    when: When = None
    choices: tuple[Any, ...] = Field(min_length=1, strict=False, description="The values to choose from.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.choices)) != len(self.choices):
            raise mistake(f"must not repeat a choice, got {list(self.choices)}", "choices")
        return self


Distribution = FloatDistribution | IntDistribution | Categorical
_RANGES: dict[Any, type[Frozen]] = {float: FloatDistribution, int: IntDistribution}


def _check_range(low: float, high: float, log: bool, stepped: bool) -> None:
    if high < low:
        raise mistake(f"must be at least low ({low}), got {high}", "high")
    if log and low <= 0:
        raise mistake(f"must be above 0 where log is true, got {low}", "low")
    if log and stepped:
        raise mistake("must be left out where log is true", "step")


def _kind(value: Any) -> str:
    """The union's tag of a raw value: a mapping's own `type`, that it is a value with a condition, or a plain one."""
    if isinstance(value, dict):
        return str(value.get("type", "conditional" if "value" in value else "missing"))
    return "conditional" if isinstance(value, Fixed) else str(getattr(value, "type", "fixed"))


_SEARCHED = Discriminator(
    _kind,
    custom_error_type="tuner_distribution",
    custom_error_message="must be a value or a distribution of a type that fits this hyperparameter",
)


def _choice(row: Hyperparameter) -> type[Categorical]:
    """The distribution over some of a hyperparameter's values; those of one type share one."""
    choices: Any = tuple[_Whole if row.type is int else row.type, ...]  # type: ignore[misc]
    name = row.name if row.words else row.type.__name__
    return create_model(
        f"{name.title()}Choice",
        __base__=Categorical,
        __doc__=f"One of some values of `{name}`." if row.words else "One of some numbers.",
        choices=(choices, Field(min_length=1, strict=False, description="The values to choose from.")),
    )


_CHOICES = {row.type: _choice(row) for row in reversed(TABLE)}


def parameter(row: Hyperparameter) -> Any:
    """The type of what a hyperparameter may be declared as."""
    kinds: list[Any] = [Annotated[row.type, Tag("fixed")], Annotated[Fixed[row.type], Tag("conditional")]]  # type: ignore[name-defined]
    if row.type in _RANGES:
        kinds.append(Annotated[_RANGES[row.type], Tag(row.type.__name__)])
    kinds.append(Annotated[_CHOICES[row.type], Tag("categorical")])
    return Annotated[reduce(or_, kinds), _SEARCHED]


def types_of(row: Hyperparameter) -> list[str]:
    """The types of distribution that a hyperparameter may have."""
    return [row.type.__name__] * (row.type in _RANGES) + ["categorical"]


def named_values(value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number that bounds a parameter, with its key below the parameter's own."""
    if isinstance(value, FloatDistribution | IntDistribution):
        yield ("low",), value.low
        yield ("high",), value.high
    elif isinstance(value, Categorical):
        yield from ((("choices",), choice) for choice in value.choices)
    elif isinstance(value, Fixed):
        yield ("value",), value.value
    else:
        yield (), value


def grid_size(value: Distribution) -> float:
    """How many values a distribution has; infinity for a continuous range."""
    if isinstance(value, FloatDistribution):
        return math.inf if value.step is None else _steps(value.low, value.high, value.step) + 1
    if isinstance(value, IntDistribution):
        return (value.high - value.low) // value.step + 1
    return len(value.choices)


def _steps(low: float, high: float, step: float) -> int:
    return int((high - low) / step + 1e-9)


def grid_values(value: Distribution) -> list[Scalar]:
    """Every value of a distribution that has finitely many.

    Raises:
        ValueError: it is a continuous range.
    """
    if isinstance(value, FloatDistribution):
        if value.step is None:
            raise ValueError("a continuous range has no grid")
        return [value.low + i * value.step for i in range(_steps(value.low, value.high, value.step) + 1)]
    if isinstance(value, IntDistribution):
        return list(range(value.low, value.high + 1, value.step))
    return list(value.choices)


def values_of(value: Any) -> Sequence[Scalar] | None:
    """All that a parameter can be where it is active; None for a range of real numbers."""
    if isinstance(value, FloatDistribution):
        return None
    if isinstance(value, IntDistribution):
        return range(value.low, value.high + 1, value.step)
    if isinstance(value, Categorical):
        return tuple(value.choices)
    return (value.value if isinstance(value, Fixed) else value,)
