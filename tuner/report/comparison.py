"""Studies side by side, and whether their losses may be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tuner.analysis.statistics import difference
from tuner.answers.base import Params
from tuner.answers.comparison import Cells, Comparison
from tuner.report.facts import Facts
from tuner.report.markup import cut, shown
from tuner.spec.length import Unit

WIDEST = 28  # of a column on the terminal


def compare(studies: Sequence[Facts]) -> Comparison:
    """Two or more studies side by side.

    Args:
        studies: the facts of each, at least two.
    """
    parameters = _parameters(studies)
    differences = tuple(_differences(studies))
    return Comparison(
        studies=tuple(facts.study for facts in studies),
        rows=_rows(studies),
        parameters=parameters,
        differing=tuple(name for name, values in parameters.items() if _differ(values)),
        fair=not differences,
        differences=differences,
        verdict=_verdict(studies, not differences),
        noise=_noise(studies),
        exported=_exported(studies),
    )


def _of_winner(key: str) -> Callable[[Facts], Any]:
    """A value of the model that a study recommends; None where there is none."""
    return lambda facts: getattr(facts.answer.winner, key, None)


def _baseline(name: str) -> Callable[[Facts], float | None]:
    return lambda facts: getattr(facts.answer.baselines, name, None)


def _seeds(facts: Facts) -> list[float]:
    return [] if facts.answer.winner is None else facts.answer.winner.seeds


def _params(facts: Facts) -> Params:
    return {} if facts.answer.winner is None else facts.answer.winner.params


def _against_pca(facts: Facts) -> float | None:
    loss, pca = _of_winner("test_loss")(facts), _baseline("pca")(facts)
    return loss / pca if loss is not None and pca else None


def _trials(facts: Facts) -> str:
    counts = facts.answer.counts
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"


def _trained(facts: Facts, unit: Unit) -> int | None:
    """Of all trials, in the unit that the study's length has; None in the other one."""
    if facts.length.unit != unit:
        return None
    return round(sum(facts.length.amount(len(curve)) for curve in facts.curves.values()))


STEPS: Final = "steps trained"  # a row where a study counts in steps alone


def _rows(studies: Sequence[Facts]) -> dict[str, tuple[Any, ...]]:
    """What is compared, by name: one value for each study."""
    found = {name: tuple(value(facts) for facts in studies) for name, value in _ROWS.items()}
    return {name: values for name, values in found.items() if name != STEPS or any(values)}


_ROWS: dict[str, Callable[[Facts], Any]] = {
    "state": lambda facts: facts.state,
    "trials": _trials,
    "epochs trained": lambda facts: _trained(facts, "epochs"),
    STEPS: lambda facts: _trained(facts, "steps"),
    "seconds": lambda facts: facts.answer.seconds,
    "best trial": _of_winner("trial"),
    "validation loss": _of_winner("value"),
    "test loss": _of_winner("test_loss"),
    "its mean over the winner's seeds": _of_winner("mean_test_loss"),
    "PCA's test loss": _baseline("pca"),
    "mean predictor's test loss": _baseline("mean"),
    "test loss / PCA's": _against_pca,
}


def _parameters(studies: Sequence[Facts]) -> dict[str, Cells]:
    """Each parameter of any winner, with every winner's value."""
    points = [_params(facts) for facts in studies]
    names = dict.fromkeys(name for point in points for name in point)
    return {name: tuple(point.get(name) for point in points) for name in names}


# Beside the data: what must be equal for two losses to mean the same.
_SAME: dict[str, Callable[[Facts], Any]] = {
    "loss": lambda facts: facts.loss,
    "the winner's bottleneck": lambda facts: _params(facts).get("bottleneck"),
    "the seed that draws the split (data.seed, by default search.seed)": lambda facts: facts.split_seed,
}


def _differences(studies: Sequence[Facts]) -> Iterator[str]:
    """Why the losses cannot be compared, a sentence each."""
    declared = [facts.data.model_dump(mode="json", exclude={"source", "seed"}) for facts in studies]
    blocks = {f"data.{key}": [data[key] for data in declared] for key in declared[0]}
    others = {name: [value(facts) for facts in studies] for name, value in _SAME.items()}
    for name, values in {**others, **blocks}.items():
        known = [each for each in values if each is not None or name in blocks]
        if _differ(known):
            yield f"{name} differs: {_each(studies, values)}."
    # The fingerprint is of the rows and of the block; where the block differs, it says nothing of the rows.
    sources = [facts.data.source for facts in studies]
    if _differ([facts.fingerprint for facts in studies]) and (
        _differ(sources) or not any(map(_differ, blocks.values()))
    ):
        marks = [f"{source} ({facts.fingerprint[:8]})" for source, facts in zip(sources, studies, strict=True)]
        yield f"the data differs: {_each(studies, marks)}."


def _differ(values: Sequence[Any]) -> bool:
    return len(set(map(repr, values))) > 1


def _each(studies: Sequence[Facts], values: Sequence[Any]) -> str:
    return ", ".join(f"{facts.study} has {shown(value)}" for facts, value in zip(studies, values, strict=True))


def _verdict(studies: Sequence[Facts], fair: bool) -> str:
    """Which study is better, as far as that can be said."""
    if not fair:
        return "The losses cannot be compared: they are not of the same rows, scale, measure or code length."
    key, ranked = _ranked(studies)
    if len(ranked) < len(studies):
        return "Not every study has a complete trial yet."
    (loss, first), (next_loss, second) = ((_of_winner(key)(facts), facts.study) for facts in ranked[:2])
    seeds = key == "mean_test_loss" and any(len(_seeds(facts)) > 1 for facts in ranked[:2])
    name = _LOSSES[key] + " (the mean over its winner's seeds)" * seeds
    if loss == next_loss:
        return f"{first} and {second} have the same {name}, {loss:.4g}."
    lower = f" {100 * (1 - loss / next_loss):.1f} % lower than {second}" if next_loss > 0 else ""
    return f"{first} has the lowest {name}, {loss:.4g}:{lower}, which has {next_loss:.4g}."


_LOSSES = {"mean_test_loss": "test loss", "value": "validation loss"}


def _ranked(studies: Sequence[Facts]) -> tuple[str, list[Facts]]:
    """The loss to go by, and the studies that have it, the best first.

    The test loss where every study has it, as a mean over the winner's seeds: which of them is exported was chosen by
    chance and by the validation rows.
    """
    key = "mean_test_loss" if all(_of_winner("test_loss")(facts) is not None for facts in studies) else "value"
    loss = _of_winner(key)
    return key, sorted((facts for facts in studies if loss(facts) is not None), key=loss)


def _noise(studies: Sequence[Facts]) -> str:
    """Whether the best two winners differ beyond the chance of their seeds, where final stages tell."""
    best = _ranked(studies)[1][:2]
    seeds = [_seeds(facts) for facts in best]
    found = difference(*seeds) if len(seeds) == 2 else None
    if found is None:
        return "Not each winner was trained with several seeds: how much of the difference is chance is not known."
    means = ", ".join(f"{facts.study} {np.mean(losses):.4g}" for facts, losses in zip(best, seeds, strict=True))
    differ = "differ" if found.is_distinct else "do not differ"
    return f"Mean validation losses: {means}; they {differ} beyond seed noise (Welch's test, p = {found.p:.2g})."


def _exported(studies: Sequence[Facts]) -> str:
    several = any(len(_seeds(facts)) > 1 for facts in studies)
    words = (
        "Each test loss is of the run that is exported: of the winner's seeds the one with the lowest validation loss."
    )
    return words * several


def as_text(found: Comparison) -> str:
    """The comparison for a terminal; parameters that differ are marked."""
    marked = {f"{'*' if name in found.differing else ' '} {name}": values for name, values in found.parameters.items()}
    lines = _columns({"": found.studies, **found.rows})
    if marked:
        lines += ["", "the winners' parameters (* differ):", *_columns(marked)]
    lines += ["", *(f"Not comparable: {why}" for why in found.differences), found.verdict]
    return "\n".join([*lines, *([found.noise] if found.fair else []), *filter(None, [found.exported])])


def _columns(rows: Mapping[str, Sequence[Any]]) -> list[str]:
    cells = {name: [cut(shown(value).replace("–", "-"), WIDEST) for value in values] for name, values in rows.items()}
    first = max(map(len, cells))
    widths = [max(map(len, column)) for column in zip(*cells.values(), strict=True)]
    return [
        "  ".join([f"  {name:<{first}}", *(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))]).rstrip()
        for name, row in cells.items()
    ]
