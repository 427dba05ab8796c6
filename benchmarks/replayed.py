"""How far a search ends from the best that it could have found, on recorded losses (tables) and by training (live).

    python benchmarks/replayed.py cohorts   [--seeds 60] [--epochs 50]     cohorts, rungs, unit: on tables
    python benchmarks/replayed.py portfolio [--seeds 60] [--epochs 50]     begun with the other sets' best: on tables
    python benchmarks/replayed.py samplers  [--seeds 5] [--only wine ...]  what proposes: every trial is trained

On tables trials are drawn by the seed, which is random search, and halved by the product's own `halve`: a table holds
nothing between its configurations, so what proposes is not judged on it but live, by the product's own `Search`.
Regret is the winner's loss above the table's lowest loss at the same epoch, in per cent. Live the winner is trained
again with FRESH seeds, for the lowest of many losses is a lucky one, the more so, the more alike the trials are; the
mean is given against that of the first policy, in per cent.
All policies train about as many epochs; what they trained is printed.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from loss_tables import EPOCHS, Table, drawn, searched, tables
from make_portfolio import greedy
from near import Refinement, near_best
from numpy.typing import NDArray
from shipped import SETS, declaration

from tuner.search.loop import Round, Search
from tuner.search.rungs import ETA, halve
from tuner.search.samplers import make_sampler
from tuner.spec.fitting import nearest_point
from tuner.spec.length import Length
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import SearchSpec, StudySpec
from tuner.spec.work import Curve, TrainingPlan, Trial, TrialState, derive_seed

REFERENCE = 128  # where rungs are equal steps, the batch size whose epochs they are counted in
_FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
MOST = 2000  # trials of a search
FRESH = 3  # trainings of a winner
LOG_EPOCHS = np.log(EPOCHS)
NEAR = 0.05
COUNTS = (3, 6, 9)  # configurations of a portfolio
DIGITS = {
    name: value
    for name, value in searched().items()
    if name in ("learning_rate", "batch_size", "depth", "width", "activation")
}
DIGITS |= {"skip": "pca"}  # by default in new studies


@dataclass(frozen=True)
class Policy:
    """A way to spend a budget.

    Attributes:
        sizes: of the cohorts, in order.
        rungs: rising epochs at which a cohort is compared.
        eta: one of so many climbs.
        in_flight: cohorts that climb at the same time.
    first_alone: the first one ends before a second is asked for.
            sampler: what proposes.
        steps: lower rungs are equal steps instead of equal epochs.
    refinement: how some trials are proposed near the best.
    portfolio: trials that a portfolio of the other families' tables begins with; live alone.
    last: the sampler of the last cohort, where it is another.
    multivariate: tpe models all hyperparameters together, as Optuna 5 does unless it is told.
    """

    sizes: tuple[int, ...]
    rungs: tuple[int, ...]
    eta: int = 3
    in_flight: int = 2
    first_alone: bool = False
    sampler: str = "random"
    steps: bool = False
    refinement: Refinement | None = None
    multivariate: bool = True
    portfolio: int = 0
    last: str = ""


SHIPPED = Policy((27,) * 4, (2, 6, 18, 50))
COHORTS: dict[int, dict[str, Policy]] = {
    50: {
        "4 of 27, rungs 2 6 18 50": SHIPPED,
        "4 of 27, rungs 2 6 18 50, in equal steps": replace(SHIPPED, steps=True),
        "2 of 54, rungs 2 6 18 50": Policy((54, 54), (2, 6, 18, 50)),
        "2 of 81, rungs 1 3 9 50": Policy((81, 81), (1, 3, 9, 50)),
        "2 of 81, rungs 1 3 9 27 50": Policy((81, 81, 27), (1, 3, 9, 27, 50)),
        "6 of 27, rungs 1 3 9 50": Policy((27,) * 6, (1, 3, 9, 50)),
        "6 of 27, rungs 1 3 9 27 50": Policy((27,) * 6, (1, 3, 9, 27, 50)),
        "27 and 135, rungs 1 3 9 50": Policy((27, 135), (1, 3, 9, 50)),
        "9 18 36 72 27, rungs 1 3 9 50": Policy((9, 18, 36, 72, 27), (1, 3, 9, 50)),
        "by halves, 2 of 64 and 27, rungs 1 2 4 8 16 50": Policy((64, 64, 27), (1, 2, 4, 8, 16, 50), eta=2),
        "by quarters, 2 of 64 and 40, rungs 1 4 16 50": Policy((64, 64, 40), (1, 4, 16, 50), eta=4),
        "13 trials, none ended early": Policy((13,), (50,)),
        "4 of 27, rungs 1 3 9 27 50": Policy((27,) * 4, (1, 3, 9, 27, 50)),
    },
    100: {
        "4 of 27, rungs 4 12 36 100": Policy((27,) * 4, (4, 12, 36, 100)),
        "6 of 27, rungs 2 6 18 54 100": Policy((27,) * 6, (2, 6, 18, 54, 100)),
        "2 of 81, rungs 2 6 18 54 100": Policy((81, 81, 27), (2, 6, 18, 54, 100)),
        "9 of 27, rungs 1 3 9 27 100": Policy((27,) * 9, (1, 3, 9, 27, 100)),
        "4 of 27, rungs 2 6 18 54 100": Policy((27,) * 4, (2, 6, 18, 54, 100)),
    },
}
SMALL: dict[int, dict[str, Policy]] = {
    50: {
        "9 trials, none ended early": Policy((9,), (50,)),
        "27, rungs 2 6 18 50": Policy((27,), (2, 6, 18, 50)),
        "4 of 27, rungs 2 6 18 50": SHIPPED,
        "6 of 27, rungs 1 3 9 27 50": Policy((27,) * 6, (1, 3, 9, 27, 50)),
    },
    100: {
        "9 trials, none ended early": Policy((9,), (100,)),
        "27, rungs 4 12 36 100": Policy((27,), (4, 12, 36, 100)),
        "4 of 27, rungs 4 12 36 100": Policy((27,) * 4, (4, 12, 36, 100)),
    },
}
TODAY = replace(SHIPPED, sampler="tpe")
ALONE = replace(TODAY, first_alone=True)
BEGUN = replace(ALONE, portfolio=9)
SAMPLERS: dict[str, Policy] = {
    "4 of 27, by 2": TODAY,
    "the first alone": ALONE,
    "the first alone, portfolio": BEGUN,
    "the first alone, portfolio, half near the best 3": replace(BEGUN, refinement=Refinement(0.5, 3, 0.1, 0.2)),
    "the first alone, random": replace(ALONE, sampler="random"),
    "the first alone, each hyperparameter by itself": replace(ALONE, multivariate=False),
    "the first alone, gp for the last 27": replace(ALONE, last="gp"),
    "6 of 27, rungs 1 3 9 27 50, the first alone": replace(ALONE, sizes=(27,) * 6, rungs=(1, 3, 9, 27, 50)),
}


@dataclass(frozen=True)
class Outcome:
    """What a search came to: its winner's loss, how many epochs were trained, and the trial that won."""

    loss: float
    epochs: float
    winner: Trial


class Played(Search):
    """The product's search with a policy's rungs."""

    def __init__(self, spec: StudySpec, policy: Policy, first: Sequence[dict[str, Any]]) -> None:
        super().__init__(spec, first, length=Length(TrainingPlan(policy.rungs[-1]), policy.rungs))
        self._begun, self._policy = len(first), policy
        self._eta, self._refinement = policy.eta, policy.refinement
        if not policy.multivariate:
            seed = derive_seed(spec.search.seed, "sampler") % 2**32
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=False)

    def _ask_one(self) -> Trial:
        if self._policy.last and len(self._asked) == sum(self._policy.sizes[:-1]):
            search = self._spec.search.model_copy(update={"sampler": self._policy.last})
            self._study.sampler = make_sampler(self._spec.model_copy(update={"search": search}))
        if self._refinement is not None and len(self._asked) >= self._begun:
            told = self._study.get_trials(deepcopy=False, states=_FINISHED)
            near = near_best(self._refinement, self._spec.space, self._spec.search.seed, len(self._asked), told)
            if near is not None:
                self._study.enqueue_trial(near)
        return super()._ask_one()

    def _prune(self, told: Round, living: Any) -> dict[int, str]:  # noqa: ARG002 - the search's own signature
        order = sorted(living, key=lambda number: (living[number], number))
        return dict.fromkeys(order[max(1, len(order) // self._eta) :], "below")


def play(spec: StudySpec, policy: Policy, live: Live, first: Sequence[dict[str, Any]] = ()) -> Outcome:
    """One whole search, in the order in which the product tells rounds."""
    search, waiting, rounds = Played(spec, policy, first), deque(policy.sizes), deque[Round]()
    found, spent, asked = dict[int, float](), 0.0, dict[int, Trial]()
    cohort = 0
    while waiting or rounds:
        while waiting and len(rounds) < (1 if policy.first_alone and cohort == 1 else policy.in_flight):
            rounds.append(search.ask(cohort, waiting.popleft()))
            asked |= {trial.number: trial for trial in rounds[-1].trials}
            cohort += 1
        told = rounds.popleft()
        curves = {trial.number: _curve(trial, live.lowest(trial, told.last)) for trial in told.trials}
        spent += len(told.trials) * (told.last - told.first)
        decision = search.tell(told, curves)
        found |= {end.number: end.value for end in decision.ends if end.state is TrialState.COMPLETE and end.value}
        if decision.next is not None:
            rounds.append(decision.next)
    winner = min(found, key=lambda number: found[number])
    return Outcome(found[winner], spent, asked[winner])


def _curve(trial: Trial, loss: float) -> Curve:
    return Curve(trial.number, 0, (loss,), (loss,), (0.0,), not math.isfinite(loss), None)


class Recorded:
    """Losses of a table; its configurations are drawn with replacement, as if there were any number like them.

    Without replacement a search of more trials than another would be the more flattered, the smaller the table is.

    Args:
        table: the losses.
        seed: draws the order.
        first: the first trials' places in the table.
    """

    def __init__(self, table: Table, seed: int, first: Sequence[int] = ()) -> None:
        drawn = np.random.default_rng(seed).integers(0, len(table.points), MOST)
        self._order, self._table = [*first, *map(int, drawn)], table

    def loss(self, number: int, epochs: float) -> float:
        """The lowest loss of a trial's first epochs, between those of the table in proportion to the logarithm."""
        losses_E = self._table.losses_CE[self._order[number]]
        if epochs in EPOCHS:
            return float(losses_E[EPOCHS.index(epochs)])
        return float(np.exp(np.interp(math.log(epochs), LOG_EPOCHS, np.log(losses_E))))

    def reached(self, policy: Policy, number: int, rung: int) -> float:
        """The epochs after which a trial is at a rung; the last is the same for all."""
        if not policy.steps or rung == policy.rungs[-1]:
            return rung
        batch = self._table.points[self._order[number]]["batch_size"]
        steps, own = (-(-self._table.rows // size) for size in (REFERENCE, batch))
        return min(policy.rungs[-1], max(1.0, rung * steps / own))


def on_table(table: Table, policy: Policy, seed: int, first: Sequence[int] = ()) -> tuple[float, float]:
    """Regret in logarithms, and epochs: cohort by cohort, by the product's own `halve`.

    Where nothing is proposed by what was found, this is what `Search` does, without Optuna, whose bookkeeping would
    take a thousand times as long.
    """
    recorded, spent, asked, ended = Recorded(table, seed, first), 0.0, 0, [math.inf]
    for size in policy.sizes:
        living, asked = list(range(asked, asked + size)), asked + size
        before = dict.fromkeys(living, 0.0)
        for rung in policy.rungs:
            at = {number: recorded.reached(policy, number, rung) for number in living}
            spent += sum(max(0.0, at[number] - before[number]) for number in living)
            losses = {number: recorded.loss(number, at[number]) for number in living}
            losses, before = {number: loss for number, loss in losses.items() if math.isfinite(loss)}, at
            if rung == policy.rungs[-1]:
                ended += losses.values()
            living = [number for number in losses if number not in _pruned(losses, policy.eta)]
    last = table.losses_CE[:, EPOCHS.index(policy.rungs[-1])]
    return math.log(min(ended) / float(last.min())), spent


def _pruned(losses: dict[int, float], eta: int) -> Container[int]:
    if eta == ETA:
        return halve(losses)
    order = sorted(losses, key=lambda number: (losses[number], number))
    return order[max(1, len(order) // eta) :]


class Live:
    """Losses of trials that are trained, on one set."""

    def __init__(self, name: str) -> None:
        self._prepared, self._data, self.spec = _prepared(name)
        self._packs: dict[int, Any] = {}
        self._curves: dict[int, list[float]] = {}

    def begin(self) -> None:
        """Forget the trials of the search before."""
        self._packs.clear()
        self._curves.clear()

    def confirmed(self, trial: Trial, epochs: int) -> float:
        """The mean logarithm of the losses of as many trainings with FRESH seeds."""
        again = [Trial(MOST + place, trial.point, derive_seed(trial.seed, "fresh", place)) for place in range(FRESH)]
        return float(np.mean([math.log(self.lowest(one, epochs)) for one in again]))

    def lowest(self, trial: Trial, epochs: int) -> float:
        """The lowest validation loss of a trial's first epochs; infinity where it diverged."""
        from tuner.learning.packs import make_pack

        if trial.number not in self._packs:
            self._packs[trial.number] = make_pack([trial], self._data, self._prepared.loss, TrainingPlan(EPOCHS[-1]))
            self._curves[trial.number] = []
        pack, curve = self._packs[trial.number], self._curves[trial.number]
        while len(curve) < epochs and all(map(math.isfinite, curve)):
            curve += pack.train_epoch().val_loss
        return min(curve) if all(map(math.isfinite, curve)) else math.inf


@cache
def _prepared(name: str) -> tuple[Any, Any, StudySpec]:
    from tuner.data.prepare import prepare
    from tuner.data.sources import Sources
    from tuner.learning.packs import training_data

    folder = Path(tempfile.mkdtemp(prefix="live-"))
    declared = declaration(name, folder)
    declared |= {"search": {"trials": 1, "epochs": EPOCHS[-1]}}
    code = {"bottleneck": declared["space"]["bottleneck"]}
    some = {**code, "batch_size": 1, "skip": DIGITS["skip"]}
    prepared = prepare(spec_from_mapping({**declared, "space": some}), Sources(folder), folder)
    batches = [size for size in DIGITS["batch_size"]["choices"] if size <= prepared.train]
    space = {**DIGITS, **code, "batch_size": {"type": "categorical", "choices": batches}}
    rows = prepared.open()
    data = training_data(rows.train, rows.validation, "cpu", "fp32", "auto", rows.terms, start=rows.start)
    return prepared, data, spec_from_mapping({**declared, "space": space})


def _searching(spec: StudySpec, policy: Policy, seed: int) -> StudySpec:
    search = {"trials": sum(policy.sizes), "epochs": policy.rungs[-1], "seed": seed, "sampler": policy.sampler}
    return spec.model_copy(update={"search": SearchSpec.model_validate(search)})


def show(name: str, values_SN: NDArray[np.float64], epochs: float) -> None:
    """A line: the mean over sets of the mean over seeds, and its standard error over sets and seeds, in per cent."""
    per_set = values_SN.mean(axis=1)
    seeds = math.sqrt((values_SN.var(axis=1, ddof=1) / values_SN.shape[1]).sum()) / len(values_SN)
    sets = per_set.std(ddof=1) / math.sqrt(len(per_set)) if len(per_set) > 1 else math.nan
    print(f"| {name} | {epochs:.0f} | {100 * per_set.mean():.1f} | {100 * seeds:.1f} | {100 * sets:.1f} |", flush=True)


def cohorts(seeds: int, epochs: int) -> None:
    """Cohorts, rungs and units, on tables."""
    print(f"| policy | epochs | regret, % | se of seeds | se of sets |\n| {'--- | ' * 5}")
    base: NDArray[np.float64] | None = None
    for name, policy in COHORTS[epochs].items():
        found = np.array([[on_table(table, policy, seed) for seed in range(seeds)] for table in tables()])
        show(name, found[..., 0], found[..., 1].mean())
        base = found[..., 0] if base is None else base
        show(f"{name}, less the first", found[..., 0] - base, found[..., 1].mean())


def portfolio(seeds: int, epochs: int) -> None:
    """With and without a portfolio of the other families' tables."""
    print(f"| policy | epochs | regret, % | se of seeds | se of sets |\n| {'--- | ' * 5}")
    every = tables()
    for name, policy in SMALL[epochs].items():
        plain = np.array([[on_table(table, policy, seed) for seed in range(seeds)] for table in every])
        show(name, plain[..., 0], plain[..., 1].mean())
        for count in COUNTS:
            first = [greedy(_others(table.name), count) for table in every]
            begun = np.array(
                [
                    [on_table(table, policy, seed, known) for seed in range(seeds)]
                    for table, known in zip(every, first, strict=True)
                ]
            )
            show(f"{name}, {count} of a portfolio, less without", begun[..., 0] - plain[..., 0], begun[..., 1].mean())


def until_near(epochs: int) -> None:
    """How many configurations are tried until one is within NEAR of the table's best, after so many epochs each."""
    print("| set | from the portfolio | drawn |\n| --- | --- | --- |")
    for table in tables():
        last = table.losses_CE[:, EPOCHS.index(epochs)]
        near = last <= last.min() * (1 + NEAR)
        tried = [place for place, row in enumerate(greedy(_others(table.name), COUNTS[-1]), 1) if near[row]]
        print(f"| {table.name} | {tried[0] if tried else '-'} | {len(near) / near.sum():.0f} |")


def _others(name: str) -> list[Table]:
    """The tables of other families than a set's."""
    return [table for table in tables() if SETS[table.name].family != SETS[name].family]


def _portfolio(name: str, count: int, spec: StudySpec) -> list[dict[str, Any]]:
    """Points of the set's space nearest to a portfolio of the other families' tables."""
    if count == 0:
        return []
    others = _others(name)
    points = drawn(len(others[0].points))
    return [nearest_point(spec.space, points[place], 0.5) for place in greedy(others, count)]


def samplers(seeds: int, only: Sequence[str]) -> None:
    """What proposes, every trial trained."""
    print(f"| policy | epochs | against the first, % | se of seeds | se of sets |\n| {'--- | ' * 5}")
    base: NDArray[np.float64] | None = None
    for name, policy in SAMPLERS.items():
        found = np.empty((len(only), seeds, 2))
        for s, one in enumerate(only):
            live = Live(one)
            for seed in range(seeds):
                live.begin()
                first = _portfolio(one, policy.portfolio, live.spec)
                outcome = play(_searching(live.spec, policy, seed), policy, live, first)
                found[s, seed] = live.confirmed(outcome.winner, policy.rungs[-1]), outcome.epochs
        base = found[..., 0] if base is None else base
        show(name, found[..., 0] - base, found[..., 1].mean())


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cohorts", "portfolio", "samplers"])
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--epochs", type=int, choices=COHORTS, default=50)
    parser.add_argument("--only", nargs="*", default=["wine", "gbsg2", "diabetes", "weather"])
    asked = parser.parse_args()
    if asked.what == "samplers":
        samplers(asked.seeds or 5, asked.only)
    else:
        {"cohorts": cohorts, "portfolio": portfolio}[asked.what](asked.seeds or 60, asked.epochs)
        if asked.what == "portfolio":
            until_near(asked.epochs)


if __name__ == "__main__":
    main()
