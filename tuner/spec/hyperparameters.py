"""The one table of hyperparameters: each is declared here, once, and everything else follows or is checked against it.

From a field of `Hyperparameters` follow the keys under `space` and `when` of a space file with their JSON Schema
(`space.py`, `distributions.py`), the bounds, what belongs to a kind, the columns of a table of trials, and the float
fields of the compiled step (`learning/compiled/border.py`). The table in docs/space-file.md is what
`python -m tuner.spec.hyperparameters` prints; a test compares them. Free of pydantic, for workers read it too.
"""

# ruff: noqa: RUF009 - the calls make the fields of a frozen dataclass
from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self, get_args, get_type_hints

from tuner.spec.names import MOST_DEPTH, Activation, Kind, Norm, Schedule, Skip


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


@dataclass(frozen=True, slots=True)
class KindRule:
    """A hyperparameter that makes a kind of autoencoder what it is: it must be above 0 there.

    Attributes:
        kind: the kind.
        default: its value where it is not declared and an autoencoder can be of that kind.
        alone: it means nothing to the other kinds.
    """

    kind: str
    default: float
    alone: bool


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One row of the table.

    Attributes:
        name: its key in a space file, its column in a table of trials, and its field in `Hyperparameters`.
        type: float, int, or a Literal of words.
        default: its value where a space does not declare it; None where every space must.
        text: what it is, in one sentence.
        step: the field of the compiled step's structures that carries it.
        bounds: of its numbers.
        of_kind: the kind that it belongs to.
        original: the first version had it: every record names it, and every table shows it. A later one has its
            default where a record does not name it, and is shown where a space uses it.
    """

    name: str
    type: Any
    default: int | float | str | None
    text: str
    step: str
    bounds: Bounds | None
    of_kind: KindRule | None
    original: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it chooses among; empty for a number."""
        return get_args(self.type)


def _declared(
    default: int | float | str | None,
    text: str,
    step: str,
    bounds: Bounds | None = None,
    of_kind: KindRule | None = None,
) -> Any:
    """A field of `Hyperparameters`; `_original` is for those of the first version."""
    row = Hyperparameter("", None, default, text, step, bounds, of_kind, original=False)
    return field(default=default, metadata={"row": row})


def _original(
    default: int | float | str | None, text: str, step: str, bounds: Bounds | None = None, **more: Any
) -> Any:
    row = Hyperparameter("", None, default, text, step, bounds, more.get("of_kind"), original=True)
    return field(metadata={"row": row})


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One point of the search space: all that a trial's training depends on beside seed, data and planned training.

    The order is that of a table's columns and of a sampler's draws, so a new hyperparameter comes last.
    """

    learning_rate: float = _original(1e-3, "AdamW's step size.", "learning_rate", Bounds(0, 100, above=True))
    batch_size: int = _original(64, "Rows in one step of the optimizer.", "batch", Bounds(1, 1_048_576))
    depth: int = _original(2, "Hidden layers on each side; 0 is a linear autoencoder.", "layers", Bounds(0, MOST_DEPTH))
    width: int = _original(
        128, "Units of the outermost hidden layer; the others fall towards the code.", "sizes", Bounds(1, 65_536)
    )
    activation: Activation = _original("relu", "Function after every hidden layer.", "activation")
    bottleneck: int = _original(None, "Length of the code: what each row is compressed to.", "sizes", Bounds(1, 65_536))
    weight_decay: float = _original(0.0, "AdamW's decoupled weight decay.", "weight_decay", Bounds(0, 100))
    input_noise: float = _original(
        0.0,
        "Denoising: standard deviation of the Gaussian noise on scaled training inputs.",
        "noise",
        Bounds(0, 100),
        of_kind=KindRule("denoising", 0.1, alone=False),
    )
    kind: Kind = _declared("plain", "What is asked of the code beside a small reconstruction loss.", "variational")
    sparsity: float = _declared(
        0.0,
        "Sparse: weight of the code's mean absolute value (L1).",
        "sparsity",
        Bounds(0, 100),
        KindRule("sparse", 1e-3, alone=True),
    )
    beta: float = _declared(
        0.0,
        "Variational: weight of the divergence from the prior.",
        "beta",
        Bounds(0, 1000),
        KindRule("variational", 1.0, alone=True),
    )
    dropout: float = _declared(0.0, "Share of hidden units left out of a training step.", "dropped", Bounds(0, 0.9))
    taper: float = _declared(
        1.0, "How fast hidden layers narrow towards the code: 1 geometrically, 0 not at all.", "sizes", Bounds(0, 1)
    )
    norm: Norm = _declared("none", "layer: normalise every hidden layer before its activation.", "norm")

    schedule: Schedule = _declared(
        "constant", "How the learning rate falls to 0 over the steps of a whole training.", "rates"
    )
    warmup: float = _declared(
        0.0, "Share of a whole training's steps in which the learning rate rises to its value.", "rates", Bounds(0, 1)
    )
    clip_norm: float = _declared(
        0.0, "Largest norm of a step's gradient, all parameters together; 0: any.", "clip_norm", Bounds(0, 1_000_000)
    )
    skip: Skip = _declared(
        "none",
        "A linear way around encoder and decoder: none, linear, or begun at PCA. A file without it means pca.",
        "skip",
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a value for each name; a later hyperparameter that is missing has its default.

        Raises:
            TypeError: an original one is missing, or a name is unknown.
        """
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Name to value, in the order of declaration."""
        return {name: getattr(self, name) for name in BY_NAME}

    def in_use(self, name: str) -> Any:
        """A number, or 0 where it means nothing to the point's kind."""
        of = BY_NAME[name].of_kind
        return 0.0 if of is not None and of.alone and of.kind != self.kind else getattr(self, name)

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate depends on a step's place in the whole training."""
        return self.schedule != "constant" or self.warmup > 0

    @property
    def code_penalty(self) -> float:
        """Weight of the code's mean absolute value in the training loss."""
        return float(self.in_use("sparsity"))

    @property
    def divergence_weight(self) -> float:
        """Weight of the code's divergence from its prior in the training loss."""
        return float(self.in_use("beta"))


def _table() -> tuple[Hyperparameter, ...]:
    types = get_type_hints(Hyperparameters)
    return tuple(replace(one.metadata["row"], name=one.name, type=types[one.name]) for one in fields(Hyperparameters))


TABLE: Final = _table()
BY_NAME: Final[Mapping[str, Hyperparameter]] = {row.name: row for row in TABLE}
BOUNDS: Final[Mapping[str, Bounds]] = {row.name: row.bounds for row in TABLE if row.bounds is not None}
OF_KIND: Final[Mapping[str, KindRule]] = {row.name: row.of_kind for row in TABLE if row.of_kind is not None}


def as_markdown() -> str:
    """The table of docs/space-file.md."""
    rows = [("key", "values", "default", "what it is"), ("---",) * 4]
    for row in TABLE:
        values = ", ".join(f"`{word}`" for word in row.words) or f"{row.type.__name__}, {_range(row.bounds)}"
        default = "must be given" if row.default is None else f"`{row.default}`"
        if row.of_kind is not None:
            default += f"; `{row.of_kind.default}` where `kind` can be `{row.of_kind.kind}`"
        rows.append((f"`{row.name}`", values, default, row.text))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _range(bounds: Bounds | None) -> str:
    if bounds is None:
        return "any"
    return f"{'above ' if bounds.above else ''}{bounds.least:,} to {bounds.most:,}"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
