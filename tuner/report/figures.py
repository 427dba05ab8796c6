"""A study's figures from its plain facts: trials over time, what mattered, curves, and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tuner.ledger.records import TrialRecord
from tuner.report.facts import Facts
from tuner.report.markup import Html, shown
from tuner.report.svg import Axis, Chart, axis_of, bars, colour
from tuner.report.timeline import timeline

MOST_DOTS = 2000  # of a chart: the best half of them, and an even spread over the others
MOST_GHOSTS = 400  # other trials' curves
MOST_POINTS = 160  # of a curve
BEST = 10

_LOSS = "validation loss"


def history(facts: Facts) -> Html | None:
    """Each trial's best validation loss, the best complete one so far, and PCA's."""
    trials = _shown(facts.trials)
    if not trials:
        return None
    numbers = [trial.number for trial in facts.trials]
    baseline = facts.answer.validation_baselines and facts.answer.validation_baselines.pca
    values = [_loss(trial) for trial in trials]
    y = axis_of([*values, *([baseline] if baseline else [])], _LOSS)
    chart = Chart("Every trial's validation loss, in the order of the study", axis_of(numbers, "trial", False), y)
    chart.x = Axis("trial", min(numbers) - 1, max(numbers) + 1, ticks=_whole(max(numbers)))
    if baseline:
        chart.level(baseline, f"PCA {baseline:.4g}")
    _dots(chart, trials, lambda trial: trial.number)
    if best := _best_so_far(facts.trials):
        chart.line([*best, (max(numbers), best[-1][1])], "step")
        winner = _winner(facts)
        chart.dot(winner.number, _loss(winner), 5.5, class_="best", data_n=winner.number)
    return chart.svg()


def _whole(most: int) -> tuple[float, ...]:
    """Round whole numbers from 0 on, at most twelve."""
    powers = (10**power for power in range(len(str(most)) + 1))
    step = next(factor * power for power in powers for factor in (1, 2, 5) if factor * power * 11 >= most)
    return tuple(float(number) for number in range(0, most + 1, step))


def _best_so_far(trials: Iterable[TrialRecord]) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state == "complete" and (not points or _loss(trial) < points[-1][1]):
            points += [(trial.number, points[-1][1])] if points else []
            points.append((trial.number, _loss(trial)))
    return points


def importance(facts: Facts) -> Html | None:
    """The share of each searched parameter in being among the best."""
    shares = facts.importance
    if not shares:
        return None
    rows = [(name, share, f"{100 * share:.0f} %") for name, share in shares.items()]
    return bars("Importance of the searched parameters", rows)


def slice_of(facts: Facts, name: str) -> Html | None:
    """One parameter of every trial against its loss."""
    trials = [trial for trial in _shown(facts.trials) if name in trial.params]
    if not trials:
        return None
    x = parameter_axis(facts, name)
    y = axis_of(map(_loss, trials), _LOSS)
    chart = Chart(f"Validation loss by {name}", x, y, 360, 230)
    _dots(chart, trials, lambda trial: _place(x, trial.params[name]))
    _ring(chart, facts, (name,), lambda trial: (_place(x, trial.params[name]), _loss(trial)))
    return chart.svg()


def contour(facts: Facts) -> Html | None:
    """The two most important parameters against each other, each trial in the colour of its loss's rank."""
    names = most_important(facts)
    trials = [trial for trial in _shown(facts.trials) if set(names) <= trial.params.keys()]
    if len(names) < 2 or len(trials) < 2:
        return None
    x, y = (parameter_axis(facts, name) for name in names)
    chart = Chart(f"Trials by {names[0]} and {names[1]}", x, y, 1000, 440, left=104 if y.names else 70)
    ranks = {trial.number: place / (len(trials) - 1) for place, trial in enumerate(trials)}
    for trial in reversed(trials):
        at = [_place(axis, trial.params[name]) for axis, name in ((x, names[0]), (y, names[1]))]
        fill = colour(ranks[trial.number])
        chart.dot(at[0], at[1], 5.0, _aside(trial), class_="hue", fill=fill, data_n=trial.number)
    _ring(chart, facts, names, lambda t: (_place(x, t.params[names[0]]), _place(y, t.params[names[1]])))
    return chart.svg()


def most_important(facts: Facts) -> list[str]:
    """Two searched parameters: the most important ones, where that is known, else the first."""
    return list(facts.importance or facts.searched)[:2]


def curves(facts: Facts) -> Html | None:
    """The learning curves of the best ten above all others in grey."""
    known = {number: _thinned(losses) for number, losses in facts.curves.items() if any(map(_finite, losses))}
    if not known:
        return None
    best = [trial.number for trial in facts.trials[:BEST] if trial.number in known]
    others = [trial.number for trial in facts.trials[BEST:] if trial.number in known][:MOST_GHOSTS]
    points = [point for number in (*best, *others) for point in known[number]]
    longest = max(epoch for epoch, _ in points)
    x = Axis("epoch", 0 if longest > 1 else 0.5, max(longest, 1.5), ticks=_whole(int(longest)))
    chart = Chart("Validation loss after every epoch", x, axis_of((loss for _, loss in points), _LOSS))
    if others:
        chart.marks.append(Html(f'<path class="ghosts" d="{"".join(chart.trace(known[n]) for n in others)}"/>'))
    winner = _winner(facts).number
    for number in sorted(best, key=lambda number: number == winner):
        chart.line(known[number], "curve winner" if number == winner else "curve", data_n=number)
    return chart.svg()


def _thinned(losses: Sequence[float]) -> list[tuple[float, float]]:
    """Finite points of a curve, evenly thinned, the last one kept."""
    points = [(float(epoch), loss) for epoch, loss in enumerate(losses, start=1) if _finite(loss)]
    step = -(-len(points) // MOST_POINTS) or 1
    return points if step == 1 else [*points[:-1:step], points[-1]]


def _finite(value: float | None) -> bool:
    return value is not None and abs(value) < float("inf")


def front(facts: Facts) -> Html | None:
    """The lowest loss of every size, PCA's beside it, and the knee."""
    points = facts.answer.front
    if not points:
        return None
    size = facts.objective[1]
    losses = [point.val_loss for point in points]
    pca = sorted((getattr(point, size), point.pca_val_loss) for point in points if point.pca_val_loss is not None)
    x = axis_of([getattr(point, size) for point in points], size)
    chart = Chart(f"The front of validation loss and {size}", x, axis_of([*losses, *(loss for _, loss in pca)], _LOSS))
    if pca:
        chart.line(pca, "level")
    chart.line(sorted((getattr(point, size), point.val_loss) for point in points), "step")
    for point in points:
        chart.dot(getattr(point, size), point.val_loss, 4.5, class_="done", data_n=point.number)
        if point.knee:
            chart.dot(getattr(point, size), point.val_loss, 8.5, class_="ring")
    return chart.svg()


def rungs(facts: Facts) -> Html | None:
    """How many trials ended at each comparison."""
    table = rung_table(facts)
    if not any(pruned for _, _, pruned in table):
        return None
    rows = [
        (f"after {facts.length.shown(rung)}", float(reached), _fate(reached, pruned)) for rung, reached, pruned in table
    ]
    return bars("Trials that reached each rung", rows)


def _fate(reached: int, pruned: int) -> str:
    return f"{reached} reached, {pruned} pruned" if pruned else f"{reached} reached"


def rung_table(facts: Facts) -> list[tuple[int, int, int]]:
    """Of each rung: its interval, the trials that were trained so far, and those pruned there."""
    trials = facts.trials
    return [
        (
            epoch,
            sum(trial.epochs >= epoch for trial in trials),
            sum(trial.state == "pruned" and trial.epochs == epoch for trial in trials),
        )
        for epoch in facts.length.rungs
    ]


def parameter_axis(facts: Facts, name: str) -> Axis:
    """The axis of a searched parameter, from its declaration."""
    declared = facts.searched[name]
    if declared.type == "categorical":
        return Axis(name, names=tuple(map(shown, declared.choices)))
    low, high = declared.low, declared.high
    step = declared.step or 0
    whole = step > 0 and (high - low) / step <= 12
    ticks = tuple(low + step * place for place in range(int((high - low) / step + 1.000001))) if whole else ()
    room = 0.5 * step if whole else 0.0 if declared.log else 0.03 * (high - low) or 0.5
    return Axis(name, low - room, high + room, declared.log and not whole, ticks=ticks, whole=whole)


def _place(axis: Axis, value: object) -> float:
    """A parameter's value on its axis; a choice that is no longer declared comes last."""
    if not axis.names:
        return float(value)  # type: ignore[arg-type]
    words = shown(value)
    return float(axis.names.index(words)) if words in axis.names else len(axis.names) - 0.5


def _loss(trial: TrialRecord) -> float:
    """Infinite for a trial without one, which is not drawn."""
    return float("inf") if trial.value is None else trial.value


def _aside(trial: TrialRecord) -> float:
    """Trials of one choice are spread side by side, by their numbers so that no one can read a trend from it."""
    return float(trial.number * 0.618034 % 1 - 0.5)


def _shown(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials with a loss, the best first; of very many the best, and an even spread over the others."""
    known = [trial for trial in trials if _finite(trial.value)]
    half = MOST_DOTS // 2
    others = known[half:]
    return known if len(known) <= MOST_DOTS else known[:half] + [others[i * len(others) // half] for i in range(half)]


def _dots(chart: Chart, trials: Sequence[TrialRecord], at: Callable[[TrialRecord], float]) -> None:
    """Complete trials filled, others open, the best above all."""
    for trial in reversed(trials):
        kind = "done" if trial.state == "complete" else "early"
        chart.dot(at(trial), _loss(trial), 3.6, _aside(trial), class_=kind, data_n=trial.number)


def _ring(chart: Chart, facts: Facts, names: Sequence[str], at: Callable[[TrialRecord], tuple[float, float]]) -> None:
    """A ring around the best complete trial, where these parameters are active there."""
    best = _winner(facts)
    if best.state == "complete" and set(names) <= best.params.keys():
        x, y = at(best)
        chart.dot(x, y, 7.5, _aside(best), class_="ring")


def _winner(facts: Facts) -> TrialRecord:
    """The trial that the answer names; before there is one, the best so far."""
    number = facts.answer.winner and facts.answer.winner.trial
    return next((trial for trial in facts.trials if trial.number == number), facts.trials[0])


FIGURES: dict[str, Callable[[Facts], Html | None]] = {
    "history": history,
    "front": front,
    "importance": importance,
    "contour": contour,
    "curves": curves,
    "rungs": rungs,
    "timeline": timeline,
}


def all_figures(facts: Facts) -> dict[str, Html]:
    """Every figure that these facts are enough for, by name; a parameter's slice is `slice_<name>`."""
    drawn = {name: draw(facts) for name, draw in FIGURES.items()}
    drawn |= {f"slice_{name}": slice_of(facts, name) for name in facts.searched}
    return {name: figure for name, figure in drawn.items() if figure is not None}
