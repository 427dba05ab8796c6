"""The declaration of a study: what is read from one YAML file, frozen."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from tuner.spec.data import DataSpec, Text
from tuner.spec.distributions import Frozen, mistake, named_values
from tuner.spec.execution import ExecutionSpec
from tuner.spec.final import MOST_SEEDS
from tuner.spec.fitting import own_misfit
from tuner.spec.names import Step
from tuner.spec.rules import NEWEST
from tuner.spec.space import SearchSpace

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


def _plain(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise mistake(f"must be a number or a word, got {value!r}"[:200])
    return value


Plain = Annotated[Any, AfterValidator(_plain), WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})]
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


def _counted_from_1(schema: dict[str, Any]) -> None:
    """The default of trials stands for none that were given."""
    schema["minimum"] = 1
    del schema["default"]


class SearchSpec(Frozen):
    """How the space is searched, and for how long."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["trials"]}, {"required": ["minutes"]}]})

    sampler: Sampler = Field("tpe", description="How new values are proposed.")
    pruner: Pruner = Field("halving", description="How weak trials are ended early.")
    trials: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Trials in all, however often the study is continued. With minutes they can be left out.",
        json_schema_extra=_counted_from_1,
    )
    minutes: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="How long the study may take; what of trials and length is not given follows from this machine's"
        " speed.",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Epochs of a trial that is never pruned. Default: found from the rows and the losses.",
    )
    steps: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Optimizer steps of such a trial, in place of epochs."
    )
    intervals: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="With steps: how often the validation loss is measured, at equal distances. Default: 27 times.",
    )
    thirds: int | None = Field(
        None,
        ge=0,
        le=12,
        description="With epochs: compare also within the first one, after a third of it, a ninth, ..., so many times.",
    )
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
    first: Annotated[tuple[dict[Text, Plain], ...], Field(min_length=1, max_length=1000, strict=False)] | None = Field(
        None,
        description="Your own sets of hyperparameters, a new study's first trials: a value for each that is searched.",
    )
    portfolio: bool = Field(
        True,
        description="Begin with configurations that were good on other data, unless first or --from says what to begin"
        " with.",
    )

    @property
    def is_planned(self) -> bool:
        """Whether the number of trials is known, and does not follow from the minutes yet."""
        return self.trials > 0

    @model_validator(mode="after")
    def _has_a_budget(self) -> Self:
        if self.trials < 1 and self.minutes is None:
            given = "trials" in self.model_fields_set
            missing = "must be given, but is missing; or give search.minutes, the time that the study may take"
            raise mistake(f"must be at least 1, got {self.trials}" if given else missing, "trials")
        return self

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise mistake("must be left out where epochs is given: a training has one length, in either unit", "steps")
        if self.intervals is not None and self.steps is None:
            raise mistake("must be left out unless steps is given, which it divides", "intervals")
        if self.thirds is not None and self.epochs is None:
            raise mistake("must be left out unless epochs is given, whose first one it divides", "thirds")
        return self


class FinalSpec(Frozen):
    """How the winner is made sure of."""

    top: int | None = Field(
        None, ge=1, le=100, description="Configurations that are trained again. Default: by the budget, 2 or 3."
    )
    seeds: int | None = Field(
        None,
        ge=1,
        le=MOST_SEEDS,
        description="Seeds of the winner, which its mean and its interval are of. Default: by the budget, 3 or 5.",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Epochs of each of its trainings, with a rate that falls to 0 along a cosine. Default: until the"
        " loss is flat, with a constant or a falling rate, whichever came lower.",
    )


FinalStage = Annotated[
    Annotated[FinalSpec, Tag("stage")] | Annotated[Literal["none"], Tag("none")],
    Discriminator(lambda value: "none" if isinstance(value, str) else "stage"),
]


DeclaredLoss = Literal[
    "auto", "mse", "bce", "mixed", "huber", "poisson"
]  # Loss and auto; a union would be two kinds of thing
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
    rules: int | None = Field(
        None, ge=1, le=NEWEST, description="By which a new study settles what it leaves open; by default the newest."
    )
    data: DataSpec
    space: SearchSpace
    loss: DeclaredLoss = Field(
        "auto",
        description="Reconstruction loss: mse for numbers, bce for values in [0, 1], mixed for columns of several"
        " kinds, huber, poisson for counts; auto: mixed where a column is no number, else mse.",
    )
    bounds: Literal["auto", "none"] = Field(
        "auto",
        description="With loss mse. auto: outputs do not pass a limit on which a twentieth or more of a column's values"
        " lie; none: they may be anything.",
    )
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
    execution: ExecutionSpec | None = Field(
        None, description="Where trials train, unless the run says otherwise; it is not recorded."
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
    def _schedules_have_a_length(self) -> Self:
        if self.search.epochs is not None or self.search.steps is not None:
            return self
        for name, plain in (("schedule", "constant"), ("warmup", 0)):
            if any(value != plain for _, value in named_values(getattr(self.space, name))):
                raise mistake(
                    f"must be {plain} where trials train until their loss is flat, for rates that change follow from"
                    " the length of the training; give search.epochs or search.steps, or leave this out",
                    "space",
                    name,
                )
        return self

    @model_validator(mode="after")
    def _final_has_its_unit(self) -> Self:
        stage = self.final_stage
        if stage is not None and stage.epochs is not None and self.search.steps is not None:
            raise mistake("must be left out where search.steps says how long trials train", "final", "epochs")
        return self

    @model_validator(mode="after")
    def _own_sets_fit(self) -> Self:
        own = self.search.first or ()
        reasons = {number: own_misfit(self.space, values) for number, values in enumerate(own, 1)}
        if odd := [f"of set {number}, {reason}" for number, reason in reasons.items() if reason is not None]:
            raise mistake(f"must be values that the space can yield, but {'; '.join(odd)}", "search", "first")
        if own and self.search.sampler == "grid":
            raise mistake("must be left out with sampler grid, which visits every point once", "search", "first")
        if self.search.is_planned and len(own) > self.search.trials:
            raise mistake(
                f"must be at least {len(own)}, the sets of search.first, got {self.search.trials}", "search", "trials"
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
