"""The trials of a study: history, leaderboard, curves, and what ended early for which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from tuner.answers.service import CurveItem, TrialItem
from tuner.answers.study import StudyAnswer
from tuner.report.markup import Html, element, join, shown, table
from tuner.service.pages import charts
from tuner.service.pages.frame import panel
from tuner.spec.length import Length

BEST: Final = 10
MOST_REASONS: Final = 50
_GOOD: Final = ("complete", "running")


def history(trials: Sequence[TrialItem], answer: StudyAnswer | None) -> Html | None:
    """Losses in the order of the study."""
    baselines = None if answer is None else answer.validation_baselines
    drawn = charts.history(trials, None if baselines is None else baselines.pca)
    return None if drawn is None else panel("history", "History", drawn, _needs_script())


def learning_curves(
    found: Sequence[CurveItem], answer: StudyAnswer | None, length: Length | None = None
) -> Html | None:
    """Validation loss by epoch, or by steps, of the best trials."""
    winner = None if answer is None else answer.winner
    drawn = charts.curves(found, None if winner is None else winner.trial, length)
    words = "The best trials. Drag to enlarge a part, double-click for the whole."
    note = element("p", words, class_="note")
    return None if drawn is None else panel("curves", "Learning curves", drawn, note, _needs_script())


def _needs_script() -> Html:
    return element("noscript", element("p", "Charts need JavaScript; the report shows them without.", class_="note"))


def leaderboard(trials: Sequence[TrialItem], length: Length | None = None) -> Html | None:
    """The best trials with the parameters in which they differ."""
    best = [trial for trial in trials[:BEST] if trial.value is not None]
    if not best:
        return None
    names = _different(best)
    unit, amount = _measured(length)
    head = ["trial", "state", "validation loss", f"best {unit[:-1]}", unit, *names]
    rows = [
        [t.number, t.state, t.value, t.best_epoch and amount(t.best_epoch), amount(t.epochs)]
        + [t.params.get(name) for name in names]
        for t in best
    ]
    same = {name: value for name, value in best[0].params.items() if name not in names and value is not None}
    words = "Complete trials by validation loss, then the others by how far they came."
    fixed = f" The same for all: {', '.join(f'{name} {shown(value)}' for name, value in same.items())}." if same else ""
    note = element("p", words + fixed, class_="note")
    return panel("leaderboard", "Leaderboard", table(head, rows, f"The best {len(best)} of {len(trials)} trials"), note)


def _measured(length: Length | None) -> tuple[str, Callable[[int], float]]:
    """What trials are measured in, and how many of it so many intervals are."""
    return ("epochs", lambda intervals: intervals) if length is None else (length.unit, length.amount)


def _different(trials: Sequence[TrialItem]) -> list[str]:
    """Hyperparameters with more than one value, in their own order; of a single trial all of them."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    if len(trials) == 1:
        return names
    return [name for name in names if len({trial.params.get(name) for trial in trials}) > 1]


def ended_early(trials: Sequence[TrialItem], length: Length | None = None) -> Html | None:
    """How trials ended, and of those that did not come to their end why."""
    counts = Counter(trial.state for trial in trials)
    odd = sorted((t for t in trials if t.state not in _GOOD), key=lambda t: t.number, reverse=True)
    if not odd:
        return None
    words = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    unit, amount = _measured(length)
    rows = [[t.number, t.state, amount(t.epochs), t.value, t.reason] for t in odd[:MOST_REASONS]]
    more = f", the newest {MOST_REASONS}" if len(odd) > MOST_REASONS else ""
    inside = table(["trial", "state", unit, "best loss", "why"], rows, f"Trials that ended early{more}")
    opened = element("details", element("summary", f"Why {len(odd)} trials ended early"), inside)
    return panel("ended", "Pruned and ended", join([element("p", f"{words}."), opened]))
