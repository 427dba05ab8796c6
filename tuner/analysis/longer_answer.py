"""What the final stage of rules 4 says once its runs have ended, from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tuner.analysis.final_stage import configuration
from tuner.analysis.longer_stage import Stage
from tuner.analysis.statistics import difference
from tuner.answers.parts import Configuration, FinalStage, LongerTraining
from tuner.ledger.records import TrialRecord
from tuner.spec.final import COSINE
from tuner.spec.length import Length
from tuner.spec.objectives import is_front
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState

METHOD: Final = (
    "mean and 95 % interval (Student's t) of the winner's validation loss over seeds that had no part in choosing it;"
    " chosen by the lowest mean over the seeds that choose, where two are told apart by Welch's t-test at 5 %"
)


def longer_answer(spec: StudySpec, stage: Stage, length: Length) -> FinalStage:
    """The answer, without test losses.

    The exported run is the winner's lowest of the seeds that measure; the mean and the interval are of all of them.

    Args:
        spec: the study's declaration.
        stage: the stage, whose runs have ended.
        length: how long the search's trials train.
    """
    ranked, winner = stage.ranked, stage.winner
    runs = stage.answering()
    losses = [_value(run) for run in runs]
    told = [_configuration(stage, trial, runs if trial is winner else []) for trial in ranked]
    known = [(loss, index) for index, loss in enumerate(losses) if loss is not None]
    return FinalStage(
        top=stage.plan.allotment.top,
        seeds=stage.plan.allotment.seeds,
        trials=stage.plan.trials,
        method=METHOD,
        configurations=tuple(told),
        winner=winner.number if winner is not None and known else None,
        exported=min(known)[1] if known else None,
        sentence=" ".join(_sentences(spec, stage, told, length.of_final)),
        training=_training(stage, length.of_final) if known else None,
        of_choosing=bool(known) and stage.answers_by_choosing,
    )


def _configuration(stage: Stage, trial: TrialRecord, runs: Sequence[TrialRecord | None]) -> Configuration:
    return configuration(
        trial,
        [_value(run) for run in runs],
        [*_lost("choosing run", stage.choosing(trial)), *_lost("run", runs)],
        choosing=stage.losses(trial),
        predicted=next(one.predicted for one in stage.plan.candidates if one.trial == trial.number),
        pruned=trial.state is TrialState.PRUNED,
    )


def _training(stage: Stage, of_final: Length) -> LongerTraining | None:
    winner, schedules, trained = stage.winner, stage.schedules, stage.length
    if winner is None or trained is None:
        return None
    own = stage.is_own(winner)
    return LongerTraining(
        length=of_final.amount(trained),
        searched=of_final.amount(stage.plan.allotment.least),
        unit=of_final.unit,
        schedule=(schedules and schedules.winner) or stage.schedule_of(winner) or winner.point.schedule,
        constant=schedules and schedules.constant,
        cosine=schedules and schedules.cosine,
        is_flat=not own and not stage.is_cut and trained < stage.plan.allotment.most,
    )


def _value(run: TrialRecord | None) -> float | None:
    return run.value if run is not None and run.state is TrialState.COMPLETE else None


def _lost(name: str, runs: Sequence[TrialRecord | None]) -> list[str]:
    told = []
    for index, run in enumerate(runs):
        if run is None:
            told.append(f"{name} {index}: not trained")
        elif run.state is TrialState.RUNNING:
            told.append(f"{name} {index}: the minutes were over")
        elif run.state is not TrialState.COMPLETE:
            told.append(f"{name} {index} {run.state}: {run.reason}")
    return told


def _sentences(spec: StudySpec, stage: Stage, told: Sequence[Configuration], of_final: Length) -> list[str]:
    """The whole of it in plain words."""
    winner = stage.winner
    if not told:
        return ["No trial came to a loss, so there was nothing to train again."]
    if winner is None or not told[0].completed:
        return ["No run of the final stage was completed: the answer is the search's best trial, and is not confirmed."]
    parts = [_choice(spec, stage, told)]
    if (training := _training(stage, of_final)) is not None:
        parts.append(_how(training, stage.is_cut))
    parts.append(_of(len(told[0].completed), stage.answers_by_choosing))
    if 1 < len(told) < stage.plan.allotment.top:
        parts.append(f"Only {len(told)} different configurations came to a loss.")
    if lost := sum(loss is None for loss in told[0].losses):
        parts.append(f"Trial {winner.number} lost {lost} of {len(told[0].losses)} runs.")
    parts += [
        f"Trial {one.trial} lost {one.choosing.count(None)} of {len(one.choosing)} runs that choose."
        for one in told
        if None in one.choosing
    ]
    return parts


def _choice(spec: StudySpec, stage: Stage, told: Sequence[Configuration]) -> str:
    """Why this one, and how sure that is."""
    winner = told[0]
    if is_front(spec):
        return f"Trial {winner.trial}, the knee of the front, was trained again."
    if len(told) == 1:
        why = "final.top is 1" if stage.plan.allotment.top == 1 else "only one configuration came to a loss"
        return f"Trial {winner.trial} was trained again alone, for {why}: there is none to compare it with."
    second, each = told[1], f"{stage.seeds} seed{'s' * (stage.seeds > 1)} each"
    name = f"the second, trial {second.trial}"
    ours, theirs = _known(winner.choosing), _known(second.choosing)
    first = f"Of {len(told)} configurations trained again with {each} to choose by, trial {winner.trial} is the lowest"
    if len(ours) > len(theirs):
        return f"{first} that lost no more runs than {name}."
    found = difference(ours, theirs)
    if found is None:
        return f"{first}; with one seed each nothing can be said about whether that is more than luck."
    verdict, luck = ("is", "") if found.is_distinct else ("is not", ", which may be the seeds' luck")
    return (
        f"{first} and {verdict} distinguishable from {name}, by those seeds: its mean is lower by"
        f" {found.value:.3g}{luck} (95 % interval {found.low:.3g} to {found.high:.3g}; Welch's t-test,"
        f" p = {found.p:.2g})."
    )


def _known(losses: Sequence[float | None]) -> list[float]:
    return [loss for loss in losses if loss is not None]


def _how(training: LongerTraining, is_cut: bool) -> str:
    """How long, and by which schedule."""
    long = f"{training.length:,} {training.unit[:-1] if training.length == 1 else training.unit}"
    if training.constant is None and training.cosine is None:
        falling = ", with cosine decay" if training.schedule == COSINE else ""
        return f"It was trained for {long}{falling}, as the study declares."
    why = "when more training brought less than 2 %" if training.is_flat else "the longest that the budget allows"
    if training.length == training.searched:
        why = "as long as the search's longest training"
    if is_cut:
        why = "for the minutes were over"
    said = f"It was trained for {long}, {why}"
    if training.cosine is None and is_cut:
        return f"{said}, at a constant learning rate."
    if training.cosine is None:
        return f"{said}, at a constant learning rate: with cosine decay the run was lost."
    constant = "was lost" if training.constant is None else f"came to {training.constant:.4g}"
    kept = "with cosine decay" if training.schedule == COSINE else "at a constant learning rate"
    return f"{said}, {kept}: from one seed cosine decay came to {training.cosine:.4g}, a constant rate {constant}."


def _of(count: int, by_choosing: bool) -> str:
    """What the mean and the interval are of."""
    if by_choosing:
        runs = "the run" if count == 1 else f"the {count} runs"
        return f"Its loss is of {runs} that chose it, for there was no time for further seeds: expect a higher one."
    if count == 1:
        return "Its loss is of one further seed, so there is no interval."
    return f"Mean and interval are of {count} further seeds, which had no part in any choice."
