"""The declaration of a study: what is read from one YAML file, frozen."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from tuner.spec.distributions import Frozen, mistake
from tuner.spec.final import MOST_SEEDS
from tuner.spec.names import Loss, Step
from tuner.spec.space import SearchSpace

Scaling = Literal["minmax", "standard", "none"]
Sampler = Literal["tpe", "random", "sobol", "gp", "grid"]
ObjectiveName = Literal["val_loss", "bottleneck", "parameters"]
Pruner = Literal["halving", "hyperband", "median", "none"]

_OBJECTIVES: tuple[tuple[ObjectiveName, ...], ...] = (
    ("val_loss",),
    ("val_loss", "bottleneck"),
    ("val_loss", "parameters"),
)
_OBJECTIVE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"const": "val_loss"}, *({"const": list(names)} for names in _OBJECTIVES)]
}
MOST_GRID_POINTS = 1_000_000  # Optuna lists them all; as many as there can be trials
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    """`10m`, `1.5h`, `90s`, `2d` or a number of seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])", value)
    if match is None:
        raise mistake(f"must be a time such as 90s, 10m, 1.5h or 2d, got {value!r}")
    return float(match[1]) * _UNITS[match[2]]


def _device(value: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", value) is None:
        raise mistake(f"must be auto, cpu, cuda, cuda:N or mps, got {value!r}")
    return value


def _whole(value: str) -> str:
    """Halves of characters (lone surrogates) cannot be written down; pydantic sees them in constrained texts alone."""
    if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
        raise mistake(f"must be text without halves of characters, got {value[:40]!r}")
    return value


Text = Annotated[str, AfterValidator(_whole)]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=float | str),
    Field(gt=0),
]
Objectives = Annotated[
    tuple[ObjectiveName, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=Any),
    Field(min_length=1, strict=False),
]
Names = Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]


class DataSpec(Frozen):
    """Where the rows come from, and how they are scaled and split."""

    source: str = Field(
        min_length=1,
        description="sklearn:digits, or a path beside this file: table.csv, .parquet, arrays.npy, .npz, .idx, images/",
    )
    array: Text | None = Field(None, description="The array's name inside an .npz file.")
    columns: Names | None = Field(None, description="Only these columns of a table.")
    exclude: Names | None = Field(None, description="All columns of a table but these.")
    label: Text | None = Field(
        None, description="A column that the model never sees: codes are judged by how well they tell it."
    )
    scaling: Scaling = Field("minmax", description="Fitted on the training split alone.")
    validation: float = Field(0.2, gt=0, lt=1, description="Share of the rows that trials are compared on.")
    test: float = Field(0.1, gt=0, lt=1, description="Share of the rows that only the winner is scored on, once.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Draws the split; by default search.seed does.")

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise mistake(
                f"must leave rows to train on: validation + test must be below 1, got {self.validation + self.test:g}",
                "validation",
            )
        if self.columns and self.exclude:
            raise mistake("must be left out where columns is given", "exclude")
        if self.label is not None and self.label in (self.columns or ()):
            raise mistake(f"must be a column that the model never sees, but columns names {self.label}", "label")
        if self.label is not None and self.label == self.array:
            raise mistake(f"must be another array than array, got {self.label} twice", "label")
        return self


class SearchSpec(Frozen):
    """How the space is searched, and for how long."""

    sampler: Sampler = Field("tpe", description="How new values are proposed.")
    pruner: Pruner = Field("halving", description="How weak trials are ended early.")
    trials: int = Field(ge=1, le=1_000_000, description="Trials in all, however often the study is continued.")
    epochs: int = Field(ge=1, le=1_000_000, description="Epochs of a trial that is never pruned.")
    seed: int = Field(0, ge=0, lt=2**63, description="All randomness comes from it; data.seed can fix the split.")
    timeout: Seconds | None = Field(None, description="Stop after this time (90s, 10m, 2h); run again to go on.")
    cohort: int | None = Field(
        None, ge=1, le=100_000, description="Trials asked for together. Default: 27 with halving or hyperband, else 16."
    )
    in_flight: int = Field(2, ge=1, le=64, description="Cohorts that climb at the same time.")
    patience: int | None = Field(
        None, ge=1, le=1_000_000, description="Stop when so many cohorts in a row brought no improvement."
    )
    min_improvement: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="What counts as one: relative, of the validation loss; less may be the seed's luck.",
    )
    trial_seed: int | None = Field(
        None, ge=0, lt=2**63, description="One training seed for every trial; by default each gets its own from seed."
    )


class FinalSpec(Frozen):
    """How the winner is made sure of."""

    top: int = Field(3, ge=1, le=100, description="Configurations that are trained again.")
    seeds: int = Field(5, ge=1, le=MOST_SEEDS, description="Seeds for each of them.")


FinalStage = Annotated[
    Annotated[FinalSpec, Tag("stage")] | Annotated[Literal["none"], Tag("none")],
    Discriminator(lambda value: "none" if isinstance(value, str) else "stage"),
]


StudyName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Names the study in the ledger and the experiment in MLflow.",
    ),
]


class StudySpec(Frozen):
    """A study: data, space, objective and search. Same spec, data and seed: the same table of trials."""

    name: StudyName
    data: DataSpec
    space: SearchSpace
    loss: Loss = Field("mse", description="Reconstruction loss: mse for continuous data, bce for values in [0, 1].")
    objective: Objectives = Field(
        ("val_loss",),
        description="val_loss, or [val_loss, bottleneck] or [val_loss, parameters] for the front of both.",
        json_schema_extra=_OBJECTIVE_SCHEMA,
    )
    search: SearchSpec
    final: FinalStage = Field(
        default_factory=FinalSpec, description="How the winner is made sure of; none: the search's best trial is it."
    )
    device: Annotated[str, AfterValidator(_device)] = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="Of the layers' products; tf32 and bf16 need a CUDA device. All else is fp32."
    )
    step: Step = Field(
        "auto",
        description="What trains on the CPU: the compiled step, or PyTorch's functions. auto: compiled where built.",
    )

    @property
    def final_stage(self) -> FinalSpec | None:
        """How the winner is made sure of; None where that is switched off."""
        return None if self.final == "none" else self.final

    @property
    def split_seed(self) -> int:
        """Draws the rows of each split, and those that codes are measured on."""
        return self.search.seed if self.data.seed is None else self.data.seed

    @model_validator(mode="after")
    def _loss_fits_scaling(self) -> Self:
        if self.loss == "bce" and self.data.scaling == "standard":
            raise mistake(
                "must be minmax or none with loss bce, which needs values between 0 and 1, got standard",
                "data",
                "scaling",
            )
        return self

    @model_validator(mode="after")
    def _objectives_fit(self) -> Self:
        if self.objective not in _OBJECTIVES:
            shown = " | ".join(f"[{', '.join(names)}]" for names in _OBJECTIVES)
            raise mistake(f"must be {shown}, got [{', '.join(self.objective)}]", "objective")
        if len(self.objective) == 1:
            return self
        if self.objective[1] == "bottleneck" and "bottleneck" not in self.space.searched():
            raise mistake("must be searched where it is an objective, got a plain value", "space", "bottleneck")
        if self.search.sampler == "gp":
            raise mistake(
                "must be tpe, random, sobol or grid with several objectives, where gp takes seconds a trial; got gp",
                "search",
                "sampler",
            )
        if self.search.pruner in ("hyperband", "median"):
            raise mistake(
                f"must be halving or none with several objectives, for {self.search.pruner} compares one value;"
                f" got {self.search.pruner}",
                "search",
                "pruner",
            )
        return self

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        if self.search.sampler != "grid":
            return self
        for name, distribution in self.space.searched().items():
            if distribution.type == "float" and distribution.step is None:
                raise mistake(
                    "must be categorical, int or have a step with sampler grid, got a continuous range", "space", name
                )
        return self

    @model_validator(mode="after")
    def _grid_is_large_enough(self) -> Self:
        if self.search.sampler == "grid":
            points = self.space.grid_size(MOST_GRID_POINTS)
            if points > MOST_GRID_POINTS:
                raise mistake(
                    f"must yield at most {MOST_GRID_POINTS:,} points with sampler grid, got {points:,} or more", "space"
                )
            if self.search.trials > points:
                raise mistake(
                    f"must be at most {points}, the points of the grid, got {self.search.trials}", "search", "trials"
                )
        return self
