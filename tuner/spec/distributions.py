"""What a hyperparameter may be declared as: a value, a distribution, each with a condition if need be.

The names are Optuna's (`type`, `low`, `high`, `log`, `step`, `choices`); `when` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from tuner.spec.names import Activation, Kind, Norm

Scalar = bool | int | float | str
T = TypeVar("T")
MOST_STEPS = 1_000_000_000  # in a range of real numbers: more cannot be told apart by Optuna's decimals


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


class Condition(Frozen):
    """Values of other hyperparameters, one or a list each: all of them must have one of theirs."""

    learning_rate: _OneOrMore[float] | None = None
    batch_size: _OneOrMore[_Whole] | None = None
    depth: _OneOrMore[_Whole] | None = None
    width: _OneOrMore[_Whole] | None = None
    activation: _OneOrMore[Activation] | None = None
    bottleneck: _OneOrMore[_Whole] | None = None
    weight_decay: _OneOrMore[float] | None = None
    input_noise: _OneOrMore[float] | None = None
    kind: _OneOrMore[Kind] | None = None
    sparsity: _OneOrMore[float] | None = None
    beta: _OneOrMore[float] | None = None
    dropout: _OneOrMore[float] | None = None
    taper: _OneOrMore[float] | None = None
    norm: _OneOrMore[Norm] | None = None

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

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        choices: tuple[Scalar, ...] = self.choices  # type: ignore[attr-defined]
        if len(set(choices)) != len(choices):
            raise mistake(f"must not repeat a choice, got {list(choices)}", "choices")
        return self


class FloatChoice(Categorical):
    """One of some real numbers."""

    choices: tuple[float, ...] = Field(min_length=1, strict=False, description="The values to choose from.")


class IntChoice(Categorical):
    """One of some whole numbers."""

    choices: tuple[Annotated[int, Field(strict=True)], ...] = Field(
        min_length=1, strict=False, description="The values to choose from."
    )


class ActivationChoice(Categorical):
    """One of some activation functions."""

    choices: tuple[Activation, ...] = Field(min_length=1, strict=False, description="The functions to choose from.")


class KindChoice(Categorical):
    """One of some kinds of autoencoder."""

    choices: tuple[Kind, ...] = Field(min_length=1, strict=False, description="The kinds to choose from.")


class NormChoice(Categorical):
    """One of some normalisations."""

    choices: tuple[Norm, ...] = Field(min_length=1, strict=False, description="The normalisations to choose from.")


Distribution = (
    FloatDistribution | IntDistribution | FloatChoice | IntChoice | ActivationChoice | KindChoice | NormChoice
)


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
FloatParameter = Annotated[
    Annotated[float, Tag("fixed")]
    | Annotated[Fixed[float], Tag("conditional")]
    | Annotated[FloatDistribution, Tag("float")]
    | Annotated[FloatChoice, Tag("categorical")],
    _SEARCHED,
]
IntParameter = Annotated[
    Annotated[int, Tag("fixed")]
    | Annotated[Fixed[int], Tag("conditional")]
    | Annotated[IntDistribution, Tag("int")]
    | Annotated[IntChoice, Tag("categorical")],
    _SEARCHED,
]
ActivationParameter = Annotated[
    Annotated[Activation, Tag("fixed")]
    | Annotated[Fixed[Activation], Tag("conditional")]
    | Annotated[ActivationChoice, Tag("categorical")],
    _SEARCHED,
]
KindParameter = Annotated[
    Annotated[Kind, Tag("fixed")]
    | Annotated[Fixed[Kind], Tag("conditional")]
    | Annotated[KindChoice, Tag("categorical")],
    _SEARCHED,
]
NormParameter = Annotated[
    Annotated[Norm, Tag("fixed")]
    | Annotated[Fixed[Norm], Tag("conditional")]
    | Annotated[NormChoice, Tag("categorical")],
    _SEARCHED,
]


def named_values(value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number that bounds a parameter, with its key below the parameter's own."""
    if isinstance(value, FloatDistribution | IntDistribution):
        yield ("low",), value.low
        yield ("high",), value.high
    elif isinstance(value, Categorical):
        yield from ((("choices",), choice) for choice in value.choices)  # type: ignore[attr-defined]
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
    """All that a parameter can be where it is in force; None for a range of real numbers."""
    if isinstance(value, FloatDistribution):
        return None
    if isinstance(value, IntDistribution):
        return range(value.low, value.high + 1, value.step)
    if isinstance(value, Categorical):
        return tuple(value.choices)  # type: ignore[attr-defined]
    return (value.value if isinstance(value, Fixed) else value,)
