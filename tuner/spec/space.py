"""The search space: which values each hyperparameter may take, and where.

A plain value is fixed, a mapping is searched, in Optuna's own words (`type`, `low`, `high`, `log`, `step`, `choices`);
`when` makes either conditional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, create_model, model_validator

from tuner.spec.architecture import Architecture, encoder_sizes
from tuner.spec.conditions import Conditions, When, ordered, problems
from tuner.spec.distributions import (
    Distribution,
    Fixed,
    Frozen,
    Scalar,
    grid_size,
    grid_values,
    mistake,
    named_values,
    parameter,
    values_of,
)
from tuner.spec.hyperparameters import BOUNDS, OF_KIND, TABLE, Hyperparameters

_FIELDS: dict[str, Any] = {
    row.name: (parameter(row), Field(... if row.default is None else row.default, description=row.text))
    for row in TABLE
}
_Declared: Any = create_model("_Declared", __base__=Frozen, **_FIELDS)


class SearchSpace(_Declared):
    """What is searched: every hyperparameter of a trial, each a value or a distribution."""

    if TYPE_CHECKING:  # the fields, which follow from the table of hyperparameters

        def __getattr__(self, name: str) -> Any: ...

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, raw: Any) -> Any:
        """Write down what a kind needs and the declaration leaves out, so that it is in the record."""
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

        What is not active has its default, as if it were not declared; what was drawn for it counts for nothing.
        """
        active = self.conditions.active({**self.fixed(), **drawn})
        fields = type(self).model_fields
        return Hyperparameters.of({name: active.get(name, field.default) for name, field in fields.items()})

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The hyperparameters that a table of trials shows: the newer ones only where the space has a use for them."""
        fields = type(self).model_fields
        used = [name for name, value in self._declared().items() if value != fields[name].default]
        return tuple(row.name for row in TABLE if row.original or row.name in used)

    def shown(self, point: Hyperparameters) -> dict[str, Scalar | None]:
        """A point's values by column; None for what is not active there."""
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
        """Every distinct point of such a space: what is searched and active there."""
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
    skip = bool({"linear", "pca"} & set(values_of(space.skip) or ()))
    return max(Architecture(encoder + encoder[-2::-1], variational, norm, skip).parameters for encoder in encoders)
