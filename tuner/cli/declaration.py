"""What `tuner validate` says: what a declaration would search, on which rows, and how long."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tuner.cli.display import counted, table

if TYPE_CHECKING:
    from tuner.data.examined import Examined
    from tuner.spec.distributions import Distribution
    from tuner.spec.length import Length
    from tuner.spec.space import SearchSpace
    from tuner.spec.study import SearchSpec, StudySpec


def declaration(spec: StudySpec, data: Examined, device: str, mlflow: str) -> str:
    """What a declaration would do."""
    from tuner.search.final_budget import final_amount
    from tuner.search.lengths import resolved
    from tuner.search.rungs import expected_amount
    from tuner.spec.defaults import rules_of
    from tuner.spec.space import largest_model

    searched, search = spec.space.searched(), spec.search
    fixed, shown = spec.space.fixed(), spec.space.columns
    features = len(data.data.names)
    parameters = largest_model(features, spec.space)
    split = data.split
    length = resolved(spec, len(split.train), len(split.validation))
    planned = expected_amount(search, length, search.trials, len(spec.objective))
    amount = planned + final_amount(spec, length, rules_of(spec))
    rows = [
        ("study", spec.name),
        ("data", f"{data.data.where}: {data.data.rows} rows, {features} features, scaling {_scaling(data)}"),
        *_label(data),
        *_columns(data),
        *(("note", note) for note in data.notes),
        (
            "split",
            f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test, {_split_by(spec)}",
        ),
        *((f"searched: {name}", _range(value) + _when(name, spec.space)) for name, value in searched.items()),
        *((f"fixed: {name}", f"{fixed[name]}{_when(name, spec.space)}") for name in shown if name in fixed),
        ("loss", data.loss if spec.loss == data.loss else f"{data.loss} ({spec.loss})"),
        ("objective", " and ".join(spec.objective)),
        (
            "search",
            f"{_trials(search)} by {search.sampler}, pruner {search.pruner}, {_longest(length)}",
        ),
        *([("first trials", f"{counted(len(search.first), 'set')} of search.first")] if search.first else []),
        *(
            [("final stage", _stage(spec, length)), (f"{length.unit} in all", f"at most {round(amount):,}")]
            if search.is_planned
            else []
        ),
        (
            "largest model",
            f"{parameters:,} parameters, {_bytes(4 * parameters)}; in training {_bytes(20 * parameters)}",
        ),
        ("device", device),
        ("MLflow", mlflow),
    ]
    return "\n".join([*table(rows), *_longest_code_wins(spec), "", "No mistakes found."])


def _trials(search: SearchSpec) -> str:
    if search.is_planned:
        return counted(search.trials, "trial")
    return f"as many trials as there is time for in {search.minutes:g} minutes"


def _longest(length: Length) -> str:
    """How long a trial can train, and where that follows from its losses, when trials are first compared."""
    most = f"at most {length.shown(length.plan.intervals)}"
    if not length.is_open:
        return most
    return f"compared from {length.shown(length.rungs[0])} on, trained until the loss is flat, {most}"


def _split_by(spec: StudySpec) -> str:
    """What decides which rows are held out."""
    split, drawn = spec.data.split, f"drawn by seed {spec.split_seed}"
    if split is None:
        return drawn
    if split.group is not None:
        return f"{drawn} from whole groups of {split.group}"
    if split.stratify is not None:
        return f"{drawn} from each {split.stratify} in its share"
    if split.time is not None:
        return f"in the order of {split.time}"
    return f"as {split.column} says" if split.column is not None else "a file each"


def _longest_code_wins(spec: StudySpec) -> list[str]:
    if "bottleneck" not in spec.space.searched() or len(spec.objective) > 1:
        return []
    return [
        "",
        "space.bottleneck is searched by validation loss alone: a longer code has the smaller loss and wins."
        " `objective: [val_loss, bottleneck]` finds the best of every length.",
    ]


def _scaling(data: Examined) -> str:
    from tuner.data.preprocess import described

    fitted = data.preprocessor
    if fitted.extent is None or len(fitted.shape) == 1:
        return fitted.scaling
    return f"{fitted.scaling}, {described(fitted.shape, fitted.extent.each)}"


def _columns(data: Examined) -> list[tuple[str, str]]:
    """Of a table, how many columns of each type are modelled."""
    table = data.preprocessor.table
    if table is None:
        return []
    types = Counter(field.type for field in table.fields if field.kind != "indicator")
    kinds = ", ".join(f"{count} {name}" for name, count in types.most_common())
    return [("columns", f"{sum(types.values())} are modelled: {kinds}; `tuner inspect` lists them")]


def _label(data: Examined) -> list[tuple[str, str]]:
    labels = data.data.labels
    if labels is None:
        return []
    text = f"{labels.name}: {len(labels.classes)} classes"
    if labels.anomaly is not None:
        text += f"; the anomaly is {labels.anomaly}, the rarer one ({counted(labels.sizes[labels.anomaly], 'row')})"
    return [("label", text)]


def _stage(spec: StudySpec, length: Length) -> str:
    from tuner.search.final_budget import allotment
    from tuner.spec.defaults import rules_of
    from tuner.spec.final import SEEDS, TOP
    from tuner.spec.rules import ANSWERS

    stage, declared = allotment(spec, length), spec.final_stage
    if stage is None or declared is None:
        return "none"
    top = stage.top if rules_of(spec) >= ANSWERS else declared.top or TOP
    what = "the knee of the front" if len(spec.objective) > 1 else f"the best {top}"
    if rules_of(spec) < ANSWERS:
        return f"{what} again, with {counted(declared.seeds or SEEDS, 'seed')} each"
    if stage.falls:
        long = length.of_final.shown(stage.most)
        return f"{what} again, for {long} with a rate that falls to 0; the winner with {counted(stage.seeds, 'seed')}"
    return (
        f"{what} again, up to {length.of_final.shown(stage.most)}; the winner with {counted(stage.seeds, 'seed')} more"
    )


def _range(value: Distribution) -> str:
    if value.type == "categorical":
        return " | ".join(map(str, value.choices))
    step = "" if value.step in (None, 1) else f", step {value.step:g}"
    return f"{value.type} from {value.low:g} to {value.high:g}{', log scale' if value.log else ''}{step}"


def _when(name: str, space: SearchSpace) -> str:
    """`, where kind is sparse or variational`; nothing for what is always active."""
    parts = [
        f"{other} is {' or '.join(map(str, values))}" for other, values in space.conditions.when.get(name, {}).items()
    ]
    return f", where {' and '.join(parts)}" if parts else ""


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
