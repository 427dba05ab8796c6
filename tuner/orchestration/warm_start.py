"""Warm starts: a new study begins with configurations that were good elsewhere, or that its user trusts.

They are written down when the study begins, so that its table is a pure function of declaration, data, seed and these
points, and replay needs neither the other study nor the exported folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from tuner.errors import StudyError
from tuner.export.model_card import CONFIG
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import Event, StudyRecord, TrialRecord
from tuner.search.portfolio import portfolio
from tuner.spec.architecture import Hyperparameters
from tuner.spec.canonical import BY_RULES
from tuner.spec.fitting import misfit, own_point
from tuner.spec.objectives import is_front, size
from tuner.spec.pareto import ranked
from tuner.spec.reader import read_spec
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState

MOST = 5  # points: enough to show the sampler where it was good, few compared with a cohort
EVENT = "warm_start"
OWN = "search.first"  # the origin of a user's own points
PORTFOLIO = "search.portfolio"  # the origin of points that nobody named
# The new space's own values take the place of these, where it fixes them, for nobody declared them there: a default of
# newer rules gave the one, the final stage the other.
GIVEN: Final = (*BY_RULES, "schedule")


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The points that a study begins with.

    Attributes:
        origin: a study's name, or an exported folder, as the user named it; `OWN` where there are only the user's own,
            `PORTFOLIO` where nobody named any.
        points: a value for every hyperparameter, the best point first.
        left_out: distinct configurations that the new space cannot yield.
    """

    origin: str
    points: tuple[dict[str, Any], ...]
    left_out: int

    @classmethod
    def recorded(cls, events: Sequence[Event]) -> Self | None:
        """What a study began with; None where that was nothing."""
        body = next((event.body for event in events if event.kind == EVENT), None)
        return None if body is None else cls(body["origin"], tuple(body["points"]), body["left_out"])

    def body(self) -> dict[str, Any]:
        """The event's body."""
        return {"origin": self.origin, "points": list(self.points), "left_out": self.left_out}

    def after(self, own: Self | None) -> Self:
        """The same, begun with the user's own points."""
        if own is None:
            return self
        return replace(self, points=(*own.points, *(point for point in self.points if point not in own.points)))


def has_begun(events: Sequence[Event]) -> bool:
    """Whether trials may have been asked for: from then on a study's beginning cannot change."""
    return any(event.kind == "budget" for event in events)


def check_same(study: StudyRecord, events: Sequence[Event], origin: str | Path) -> None:
    """A study that has begun can be told again what it began with, and nothing else.

    Raises:
        StudyError: it began with other points, or with none.
    """
    began = WarmStart.recorded(events)
    if began is not None and Path(began.origin) == Path(origin):
        return
    raise StudyError(
        f"study {study.name}: has begun already, {_how(began)}; leave --from {origin} out to go on,"
        " or give the study another name."
    )


def _how(began: WarmStart | None) -> str:
    if began is None:
        return "without a warm start"
    return "with the portfolio" if began.origin == PORTFOLIO else f"from {began.origin}"


def own_start(spec: StudySpec) -> WarmStart | None:
    """The user's own points, `search.first`; None where there are none."""
    own = [own_point(spec.space, values) for values in spec.search.first or ()]
    return WarmStart(OWN, tuple(own), 0) if own else None


def portfolio_start(spec: StudySpec, rules: int) -> WarmStart | None:
    """What a study begins with that was told nothing; None where it has no use for the portfolio.

    Args:
        spec: the declaration.
        rules: the study's number of rules.
    """
    points = portfolio(spec, rules)
    return WarmStart(PORTFOLIO, points, 0) if points else None


def warm_start(ledger: Ledger, spec: StudySpec, origin: str | Path, base: Path) -> WarmStart:
    """The best distinct configurations of another study, or the one of an export, that fit a new study's space.

    Args:
        ledger: where the other study is.
        spec: the new study's declaration.
        origin: the other study's name, or an exported folder.
        base: the folder that a relative one is in.

    Raises:
        StudyError: there is neither, nothing fits, or a grid is searched.
        SpecError: the exported configuration is damaged.
    """
    if spec.search.sampler == "grid":
        raise StudyError(
            f"study {spec.name}: cannot begin with other points where search.sampler is grid, which visits every"
            " point once."
        )
    fixed = {name: value for name, value in spec.space.fixed().items() if name in GIVEN}
    begun = _configurations(ledger, origin, base)
    known = list(dict.fromkeys(Hyperparameters.of({**point.as_dict(), **fixed}) for point in begun))
    reasons = [misfit(spec.space, point.as_dict()) for point in known]
    fitting = [point for point, reason in zip(known, reasons, strict=True) if reason is None]
    if not fitting:
        first = f": of the best, {reasons[0]}" if reasons else ", for no trial of it is complete"
        raise StudyError(f"study {spec.name}: nothing of {origin} fits its space{first}.")
    points = tuple(point.as_dict() for point in fitting[:MOST])
    return WarmStart(str(origin), points, len(known) - len(fitting))


def _configurations(ledger: Ledger, origin: str | Path, base: Path) -> Iterator[Hyperparameters]:
    """The best first."""
    folder = base / origin
    study = ledger.study(origin) if isinstance(origin, str) else None
    if study is not None:
        features = next((event.body["features"] for event in ledger.events(study.id) if event.kind == "run"), 0)
        yield from (trial.point for trial in _ranked(study.spec, ledger.trials(study.id), features))
    elif (folder / CONFIG).is_file():
        yield _exported(folder)
    else:
        names = ", ".join(known.name for known in ledger.studies()) or "none"
        raise StudyError(
            f"--from {origin}: must be a study of this ledger ({names}) or a folder that `tuner export` wrote."
        )


def _ranked(spec: StudySpec, trials: Sequence[TrialRecord], features: int) -> list[TrialRecord]:
    """By validation loss, or with several objectives by front and crowding."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    values = [(float(trial.value or 0.0), size(spec, trial.point, features)) for trial in complete]
    if is_front(spec):
        return [complete[i] for i, _ in ranked(values)]
    return [complete[i] for i in sorted(range(len(complete)), key=lambda i: (values[i], complete[i].number))]


def _exported(folder: Path) -> Hyperparameters:
    space = read_spec(folder / CONFIG).space
    if space.searched():
        raise StudyError(f"{folder / CONFIG}: must fix every hyperparameter to be a study's first point.")
    return space.point({})
