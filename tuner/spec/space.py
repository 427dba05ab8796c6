"""The search space: which values each hyperparameter may take.

A plain value is fixed, a mapping is searched, in Optuna's own words (`type`, `low`, `high`, `log`, `step`, `choices`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from tuner.spec.architecture import encoder_sizes, parameter_count

Scalar = bool | int | float | str
MOST_STEPS = 1_000_000_000  # in a range of real numbers: more cannot be told apart by Optuna's decimals
Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
Kind = Literal["plain", "denoising", "sparse", "variational"]
Norm = Literal["none", "layer"]


def mistake(message: str, *key: str) -> PydanticCustomError:
    """A validation error at `key` below the place where it is raised; the reader joins the two."""
    return PydanticCustomError("tuner", "{message}", {"message": message, "key": key})


class Frozen(BaseModel):
    """What every part of a declaration is: strict, closed and immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FloatDistribution(Frozen):
    """A real number between `low` and `high`, both included."""

    type: Literal["float"]
    low: float = Field(description="Smallest value, included.")
    high: float = Field(description="Largest value, included.")
    log: bool = Field(False, description="Sample the logarithm uniformly: for scales such as a learning rate.")
    step: float | None = Field(None, gt=0, description="Only low, low + step, low + 2 step, ...")

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

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step != 1)
        return self


class _Categorical(Frozen):
    type: Literal["categorical"]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        choices: tuple[Scalar, ...] = self.choices  # type: ignore[attr-defined]
        if len(set(choices)) != len(choices):
            raise mistake(f"must not repeat a choice, got {list(choices)}", "choices")
        return self


class FloatChoice(_Categorical):
    """One of some real numbers."""

    choices: tuple[float, ...] = Field(min_length=1, strict=False, description="The values to choose from.")


class IntChoice(_Categorical):
    """One of some whole numbers."""

    choices: tuple[Annotated[int, Field(strict=True)], ...] = Field(
        min_length=1, strict=False, description="The values to choose from."
    )


class ActivationChoice(_Categorical):
    """One of some activation functions."""

    choices: tuple[Activation, ...] = Field(min_length=1, strict=False, description="The functions to choose from.")


class KindChoice(_Categorical):
    """One of some kinds of autoencoder."""

    choices: tuple[Kind, ...] = Field(min_length=1, strict=False, description="The kinds to choose from.")


class NormChoice(_Categorical):
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
    """The union's tag of a raw value: a mapping's own `type`, or that it is a plain value."""
    if isinstance(value, dict):
        return str(value.get("type", "missing"))
    return str(getattr(value, "type", "fixed"))


_SEARCHED = Discriminator(
    _kind,
    custom_error_type="tuner_distribution",
    custom_error_message="must be a value or a distribution of a type that fits this hyperparameter",
)
FloatParameter = Annotated[
    Annotated[float, Tag("fixed")]
    | Annotated[FloatDistribution, Tag("float")]
    | Annotated[FloatChoice, Tag("categorical")],
    _SEARCHED,
]
IntParameter = Annotated[
    Annotated[int, Tag("fixed")] | Annotated[IntDistribution, Tag("int")] | Annotated[IntChoice, Tag("categorical")],
    _SEARCHED,
]
ActivationParameter = Annotated[
    Annotated[Activation, Tag("fixed")] | Annotated[ActivationChoice, Tag("categorical")], _SEARCHED
]
KindParameter = Annotated[Annotated[Kind, Tag("fixed")] | Annotated[KindChoice, Tag("categorical")], _SEARCHED]
NormParameter = Annotated[Annotated[Norm, Tag("fixed")] | Annotated[NormChoice, Tag("categorical")], _SEARCHED]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a hyperparameter's values must lie between, both ends included unless `above` is set."""

    least: float
    most: float
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.least if self.above else value >= self.least) and value <= self.most

    def __str__(self) -> str:
        return f"{'above' if self.above else 'at least'} {self.least:g} and at most {self.most:g}"


BOUNDS = {
    "learning_rate": Bounds(0, 100, above=True),
    "batch_size": Bounds(1, 1_048_576),
    "depth": Bounds(0, 32),
    "width": Bounds(1, 65_536),
    "bottleneck": Bounds(1, 65_536),
    "weight_decay": Bounds(0, 100),
    "input_noise": Bounds(0, 100),
    "sparsity": Bounds(0, 100),
    "beta": Bounds(0, 1000),
    "dropout": Bounds(0, 0.9),
    "taper": Bounds(0, 1),
}


class SearchSpace(Frozen):
    """What is searched: every hyperparameter of a trial, each a value or a distribution."""

    learning_rate: FloatParameter = Field(1e-3, description="AdamW's step size.")
    batch_size: IntParameter = Field(64, description="Rows in one step of the optimizer.")
    depth: IntParameter = Field(2, description="Hidden layers on each side; 0 is a linear autoencoder.")
    width: IntParameter = Field(
        128, description="Units of the outermost hidden layer; the others fall towards the code."
    )
    activation: ActivationParameter = Field("relu", description="Function after every hidden layer.")
    bottleneck: IntParameter = Field(description="Length of the code: what each row is compressed to.")
    weight_decay: FloatParameter = Field(0.0, description="AdamW's decoupled weight decay.")
    input_noise: FloatParameter = Field(
        0.0, description="Denoising: standard deviation of the Gaussian noise on scaled training inputs."
    )
    kind: KindParameter = Field("plain", description="What is asked of the code beside a small reconstruction loss.")
    sparsity: FloatParameter = Field(0.0, description="Sparse: weight of the code's mean absolute value (L1).")
    beta: FloatParameter = Field(0.0, description="Variational: weight of the divergence from the prior.")
    dropout: FloatParameter = Field(0.0, description="Share of hidden units left out of a training step.")
    taper: FloatParameter = Field(
        1.0, description="How fast hidden layers narrow towards the code: 1 geometrically, 0 not at all."
    )
    norm: NormParameter = Field("none", description="layer: normalise every hidden layer before its activation.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name, bounds in BOUNDS.items():
            for key, value in _named_values(getattr(self, name)):
                if value not in bounds:
                    raise mistake(f"must be {bounds}, got {value}", name, *key)
        return self

    @model_validator(mode="after")
    def _compresses(self) -> Self:
        widest, code = largest(self.width), smallest(self.bottleneck)
        if largest(self.depth) > 0 and widest < code:
            raise mistake(
                f"must reach at least the bottleneck ({code}), else every hidden layer is narrower than the code,"
                f" got at most {widest}",
                "width",
            )
        return self

    def searched(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, in the order of declaration."""
        return {name: value for name, value in self if isinstance(value, Distribution)}

    def fixed(self) -> dict[str, Scalar]:
        """The hyperparameters that are fixed, in the order of declaration."""
        return {name: value for name, value in self if not isinstance(value, Distribution)}


def _named_values(value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number that bounds a parameter, with its key below the parameter's own."""
    if isinstance(value, FloatDistribution | IntDistribution):
        yield ("low",), value.low
        yield ("high",), value.high
    elif isinstance(value, _Categorical):
        yield from ((("choices",), choice) for choice in value.choices)  # type: ignore[attr-defined]
    else:
        yield (), value


def largest(value: IntParameter) -> int:
    """The largest value an integer parameter can take."""
    return int(max(number for _, number in _named_values(value)))


def smallest(value: IntParameter) -> int:
    """The smallest value an integer parameter can take."""
    return int(min(number for _, number in _named_values(value)))


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


def largest_model(features: int, space: SearchSpace) -> int:
    """Parameters of the largest autoencoder that the space can yield."""
    encoder = encoder_sizes(features, largest(space.depth), largest(space.width), largest(space.bottleneck))
    return parameter_count(encoder + encoder[-2::-1])
