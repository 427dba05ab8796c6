"""The search space: which values each hyperparameter may take, and where.

A plain value is fixed, a mapping is searched, in Optuna's own words (`type`, `low`, `high`, `log`, `step`, `choices`);
`when` makes either conditional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

from pydantic import Field, model_validator

from tuner.spec.architecture import Architecture, Hyperparameters, encoder_sizes
from tuner.spec.conditions import Conditions, When, ordered, problems
from tuner.spec.distributions import (
    ActivationParameter,
    Distribution,
    Fixed,
    FloatParameter,
    Frozen,
    IntParameter,
    KindParameter,
    NormParameter,
    Scalar,
    grid_size,
    grid_values,
    mistake,
    named_values,
    values_of,
)
from tuner.spec.names import MOST_DEPTH


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
    "depth": Bounds(0, MOST_DEPTH),
    "width": Bounds(1, 65_536),
    "bottleneck": Bounds(1, 65_536),
    "weight_decay": Bounds(0, 100),
    "input_noise": Bounds(0, 100),
    "sparsity": Bounds(0, 100),
    "beta": Bounds(0, 1000),
    "dropout": Bounds(0, 0.9),
    "taper": Bounds(0, 1),
}


@dataclass(frozen=True, slots=True)
class OfKind:
    """A hyperparameter that makes a kind of autoencoder what it is: it must be above 0 there.

    Attributes:
        kind: the kind.
        default: its value where it is not declared and an autoencoder can be of that kind.
        alone: it means nothing to the other kinds.
    """

    kind: str
    default: float
    alone: bool


OF_KIND: Final = {
    "input_noise": OfKind("denoising", 0.1, alone=False),
    "sparsity": OfKind("sparse", 1e-3, alone=True),
    "beta": OfKind("variational", 1.0, alone=True),
}
ALWAYS_SHOWN: Final = 8  # the first hyperparameters; later ones are shown where a study has a use for them


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

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, raw: Any) -> Any:
        """Write down what a kind needs and the declaration leaves out, so that it stands in the record."""
        if not isinstance(raw, dict):
            return raw
        kind = raw.get("kind")
        known = kind.get("choices", kind.get("value")) if isinstance(kind, dict) else getattr(kind, "choices", kind)
        kinds = known if isinstance(known, list | tuple) else [getattr(known, "value", known)]
        needed = {name: of.default for name, of in OF_KIND.items() if of.kind in kinds and name not in raw}
        return {**raw, **needed}

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name, bounds in BOUNDS.items():
            for key, value in named_values(getattr(self, name)):
                if value not in bounds:
                    raise mistake(f"must be {bounds}, got {value}", name, *key)
        return self

    @model_validator(mode="after")
    def _conditions_can_be_meant(self) -> Self:
        if isinstance(self.bottleneck, Fixed) or getattr(self.bottleneck, "when", None) is not None:
            raise mistake("must not depend on others: every autoencoder has a code", "bottleneck", "when")
        for key, message in problems(
            self._when(), {name: values_of(value) for name, value in self._declared().items()}
        ):
            raise mistake(message, *key)
        return self

    @model_validator(mode="after")
    def _fits_its_kinds(self) -> Self:
        kinds, own = self.kinds(), self._own()
        for name, of in OF_KIND.items():
            value, when = getattr(self, name), own.get(name, {})
            key, least = min(named_values(value), key=lambda named: named[1])
            if of.kind not in kinds:
                if of.alone and (least > 0 or isinstance(value, Distribution)):
                    raise mistake(f"means nothing unless kind can be {of.kind}, got kind {' | '.join(kinds)}", name)
            elif least <= 0:
                raise mistake(f"must be above 0 where kind is {of.kind}, got {least}", name, *key)
            elif when and (when.keys() != {"kind"} or of.kind not in when["kind"]):
                raise mistake(f"must hold wherever kind is {of.kind}, and name nothing but kind", name, "when")
            elif when and of.alone and len(when["kind"]) > 1:
                raise mistake(f"must be kind: {of.kind} alone, for it means nothing to other kinds", name, "when")
        return self

    @model_validator(mode="after")
    def _compresses(self) -> Self:
        widest, code = max(number for _, number in named_values(self.width)), self.smallest("bottleneck")
        if self.largest("depth") > 0 and widest < code:
            raise mistake(
                f"must reach at least the bottleneck ({code}), else every hidden layer is narrower than the code,"
                f" got at most {widest}",
                "width",
            )
        return self

    def _declared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}

    def searched(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, conditional ones as well, in the order of declaration."""
        return {name: value for name, value in self._declared().items() if isinstance(value, Distribution)}

    def fixed(self) -> dict[str, Scalar]:
        """The hyperparameters that have one value, conditional ones as well, in the order of declaration."""
        plain = {name: value for name, value in self._declared().items() if not isinstance(value, Distribution)}
        return {name: value.value if isinstance(value, Fixed) else value for name, value in plain.items()}

    @cached_property
    def conditions(self) -> Conditions:
        """Which hyperparameters depend on which values of others.

        Where an autoencoder can be of several kinds, what belongs to one of them depends on `kind` unless it says else.
        """
        when = self._when()
        return Conditions(ordered(tuple(type(self).model_fields), when), when)

    def _when(self) -> dict[str, When]:
        own, kinds = self._own(), self.kinds()
        if len(kinds) == 1:
            return own
        of_kinds = {name: of.kind for name, of in OF_KIND.items() if of.kind in kinds}
        return {**own, **{name: {"kind": (kind,)} for name, kind in of_kinds.items() if name not in own}}

    def _own(self) -> dict[str, When]:
        """The conditions that are written down."""
        declared = {name: getattr(value, "when", None) for name, value in self._declared().items()}
        return {name: when.named() for name, when in declared.items() if when is not None}

    def kinds(self) -> tuple[str, ...]:
        """The kinds that an autoencoder can be of."""
        own = tuple(map(str, values_of(self.kind) or ()))
        return own if "kind" not in self._own() else tuple(dict.fromkeys((*own, "plain")))

    def point(self, drawn: Mapping[str, Scalar]) -> Hyperparameters:
        """The point at which what is searched has these values.

        What is not in force has its default, as if it were not declared; what was drawn for it counts for nothing.
        """
        active = self.conditions.active({**self.fixed(), **drawn})
        fields = type(self).model_fields
        return Hyperparameters.of({name: active.get(name, field.default) for name, field in fields.items()})

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The hyperparameters that a table of trials shows: the newer ones only where the space has a use for them."""
        fields = type(self).model_fields
        used = [name for name, value in self._declared().items() if value != fields[name].default]
        return tuple(name for n, name in enumerate(fields) if n < ALWAYS_SHOWN or name in used)

    def shown(self, point: Hyperparameters) -> dict[str, Scalar | None]:
        """A point's values by column; None for what is not in force there."""
        active = self.conditions.active(point.as_dict())
        return {name: active.get(name) for name in self.columns}

    def largest(self, name: str) -> Any:
        """The largest number that a hyperparameter can be."""
        return max(self._numbers(name))

    def smallest(self, name: str) -> Any:
        """The smallest number that a hyperparameter can be."""
        return min(self._numbers(name))

    def _numbers(self, name: str) -> list[float]:
        own = [number for _, number in named_values(getattr(self, name))]
        return own + [type(self).model_fields[name].default] * (name in self.conditions.when)

    def grid_size(self, most: int) -> int:
        """How many distinct points a space without continuous ranges has, or some number above `most` if more."""
        sizes = {name: values_of(value) or range(int(grid_size(value))) for name, value in self.searched().items()}
        return self.conditions.count({**self._fixed_values(), **sizes}, most)

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """Every distinct point of such a space: what is searched and in force there."""
        searched = self.searched()
        values = {name: grid_values(value) for name, value in searched.items()}
        for point in self.conditions.points({**self._fixed_values(), **values}):
            yield {name: value for name, value in point.items() if name in searched}

    def _fixed_values(self) -> dict[str, Sequence[Scalar]]:
        return {name: (value,) for name, value in self.fixed().items()}


def largest_model(features: int, space: SearchSpace) -> int:
    """Parameters of the largest autoencoder that the space can yield."""
    depth, width, code = (space.largest(name) for name in ("depth", "width", "bottleneck"))
    tapers = {space.largest("taper"), space.smallest("taper")}  # which is larger depends on width and code
    encoders = [encoder_sizes(features, depth, width, code, taper) for taper in tapers]
    variational, norm = "variational" in space.kinds(), "layer" in (values_of(space.norm) or ())
    return max(Architecture(encoder + encoder[-2::-1], variational, norm).parameters for encoder in encoders)
