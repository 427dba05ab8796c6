"""What a space file would cost, before it is launched: its data is read once, the rest is arithmetic.

Legend: N training rows, F features.
"""

from __future__ import annotations

import json
import random
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final, final

from tuner.answers.service import Checked
from tuner.errors import InputError
from tuner.learning.compiled.planner import seconds as cost
from tuner.search.final_budget import final_amount
from tuner.search.lengths import resolved
from tuner.search.minutes import TRIAL_SECONDS
from tuner.search.rungs import expected_amount
from tuner.service.bounded import Bounded
from tuner.service.declarations import SKLEARN, Declarations, data_named, with_data
from tuner.service.inside import DataFacts, facts_of, hiding
from tuner.spec.architecture import Hyperparameters
from tuner.spec.defaults import rules_of
from tuner.spec.distributions import Categorical, Distribution, FloatDistribution, Scalar
from tuner.spec.length import Length
from tuner.spec.space import SearchSpace, largest_model
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial

DRAWN: Final = 24  # configurations whose mean cost is taken
KEPT: Final = 64  # data sets whose facts are remembered
STARTING: Final = 5.0  # seconds of a run before its first trial and after its last


@final
@dataclass(frozen=True, slots=True)
class Checker:
    """Checks space files; data is read in a process with limits, and what was found is remembered.

    Attributes:
        declarations: the one reader.
        bounded: where data is read.
        data_root: no data outside it is read.
    """

    declarations: Declarations
    bounded: Bounded
    data_root: Path | None
    _known: OrderedDict[str, DataFacts] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, text: str, *, with_data: bool = True) -> Checked:
        """What the file would do.

        Args:
            text: the file.
            with_data: also read its data; without it only what the file says is checked.

        Raises:
            SpecError: every mistake, each with its line.
            DataError: the data cannot be used.
        """
        spec = self.declarations.read(text)
        trials = spec.search.trials if spec.search.is_planned else None
        if not with_data:
            return Checked(name=spec.name, trials=trials, epochs="", rows=None, features=None,
                           largest_parameters=None, seconds=None, notes=())  # fmt: skip
        facts = self._facts(spec)
        length = resolved(spec, facts.rows, facts.validation)
        return Checked(
            name=spec.name,
            trials=trials,
            epochs=_in_words(length),
            rows=facts.rows,
            features=facts.features,
            largest_parameters=largest_model(facts.features, spec.space),
            seconds=_seconds(spec, facts, length),
            notes=facts.notes,
        )

    def _facts(self, spec: StudySpec) -> DataFacts:
        places = self.declarations.places(spec)
        key = _key(spec, places)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            with ExitStack() as hidden:
                for each, name in data_named(spec).items():
                    hidden.enter_context(hiding(places[each], name))
                placed = with_data(spec, places).model_dump(mode="json")
                known = self.bounded.call(facts_of, placed, self.data_root)
            with self._lock:
                self._known[key] = known
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return known


def _key(spec: StudySpec, places: Mapping[str, str]) -> str:
    """What the facts follow from."""
    stamps = {key: _stamp(name, places[key]) for key, name in data_named(spec).items()}
    read = spec.model_dump(mode="json", include={"data", "loss", "rules"})
    return json.dumps([places, stamps, read, spec.split_seed, spec.space.largest("batch_size")])


def _stamp(name: str, place: str) -> tuple[int, int] | None:
    """When a file was written last, and its size; None for what comes with a library."""
    if place.startswith(SKLEARN):
        return None
    try:
        about = Path(place).stat()
    except OSError:
        raise InputError(f"{name}: the data's file must be there, but is gone.") from None
    return about.st_mtime_ns, about.st_size


def _in_words(length: Length) -> str:
    most = length.shown(length.plan.intervals)
    return f"until flat, at most {most}" if length.is_open else f"at most {most}"


def _seconds(spec: StudySpec, facts: DataFacts, length: Length) -> float:
    """One core's time: by the model of cost of the compiled step, beside what trials and a run take anyway."""
    search = spec.search
    if search.minutes is not None and not search.is_planned:
        return 60 * search.minutes
    amount = expected_amount(search, length, search.trials, len(spec.objective))
    amount += final_amount(spec, length, rules_of(spec))
    rows, draw = (facts.rows, facts.validation), random.Random(0)
    trials = [Trial(number, _drawn(spec.space, draw), 0) for number in range(DRAWN)]
    epochs = [amount / _per_epoch(length, trial, facts.rows) for trial in trials]
    costs = [count * cost(trial, facts.features, rows, 1) for count, trial in zip(epochs, trials, strict=True)]
    return STARTING + TRIAL_SECONDS * search.trials + fmean(costs)


def _per_epoch(length: Length, trial: Trial, rows: int) -> float:
    """What `Length.amount` counts of an epoch."""
    return 1 if length.unit == "epochs" else -(-rows // trial.point.batch_size)


def _drawn(space: SearchSpace, draw: random.Random) -> Hyperparameters:
    return space.point({name: _value(each, draw) for name, each in space.searched().items()})


def _value(each: Distribution, draw: random.Random) -> Scalar:
    if isinstance(each, Categorical):
        chosen: Scalar = draw.choice(each.choices)
        return chosen
    low, high = float(each.low), float(each.high)
    at = low * (high / low) ** draw.random() if each.log else draw.uniform(low, high)
    return at if isinstance(each, FloatDistribution) else round(at)
