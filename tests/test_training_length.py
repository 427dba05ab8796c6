"""Claims about studies whose trials train until they are flat, or for a number of optimizer steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import tiny

import tuner
from tuner.api.maintenance import doctor
from tuner.data.prepare import prepare
from tuner.data.sources import Sources
from tuner.errors import SpecError, StudyError
from tuner.export.model import load_model
from tuner.learning.packs import training_data
from tuner.learning.training import train_alone
from tuner.ledger.ledger import Ledger
from tuner.orchestration.progress import Progress
from tuner.spec.length import Length, recorded_length
from tuner.spec.reader import read_spec
from tuner.spec.work import Trial

LENGTHS: dict[str, dict[str, int]] = {"auto": {}, "steps": {"steps": 270}, "thirds": {"epochs": 4, "thirds": 1}}


@pytest.fixture
def large(workspace: Path) -> Path:
    """6,000 rows of 6 columns that two numbers tell: an epoch has 131 to 263 steps."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(6000, 2)) @ draw.normal(size=(2, 6)) + 0.1 * draw.normal(size=(6000, 6))
    np.save(workspace / "large.npy", rows)
    return workspace


def study(length: str, **changes: Any) -> dict[str, Any]:
    """Nine trials and two; without a way around the network, which these rows need nothing beside."""
    whole = {**tiny(), "data": {"source": "large.npy"}, **changes}
    search = {"trials": 11, "cohort": 9, "seed": 3, **LENGTHS[length]}
    return {**whole, "space": {**whole["space"], "skip": "none"}, "search": search}


def length_of(name: str = "tiny") -> Length:
    """As the ledger has it."""
    with closing(Ledger.look("sqlite:///tuner.db", Path.cwd())) as ledger:
        record = ledger.study(name)
        assert record is not None
        found = recorded_length(ledger.events(record.id))
    assert found is not None
    return found


def stops() -> Iterator[int]:
    """Progress lines after which a run is stopped: at once, and ever later."""
    return iter((2, 5, 10**9))


def run_with_stops(declared: dict[str, Any]) -> tuner.Study:
    for most in stops():
        stop, seen = threading.Event(), []

        def listen(progress: Progress, stop: threading.Event = stop, seen: list[int] = seen, most: int = most) -> None:
            seen.append(1)
            if progress.phase in ("training", "confirming") and len(seen) >= most:
                stop.set()

        found = tuner.run(declared, workers=0, progress=listen, stop=stop)
    return found


@pytest.mark.parametrize("length", LENGTHS)
def test_a_study_is_the_same_with_workers_and_however_often_it_is_stopped(length: str, large: Path) -> None:
    """Law 2: the same table, and every value that of the trial trained alone by the recorded plan."""
    whole = tuner.run(study(length), workers=0)
    spread = tuner.run({**study(length), "name": "spread"}, workers=2)
    ended = run_with_stops({**study(length), "name": "ended"})
    assert whole.csv() == spread.csv() == ended.csv()
    assert {"complete", "pruned"} <= set(whole.counts)
    rows = prepare(whole.spec, Sources(large), large / ".tuner").open()
    data = training_data(rows.train, rows.validation, "cpu", "fp32", "auto", start=rows.start)
    plan = length_of().plan
    for record in whole.records:
        curve = train_alone(Trial(0, record.point, record.seed), data, "mse", record.epochs, plan=plan).curve
        assert curve.lowest == record.value


@pytest.mark.parametrize("length", LENGTHS)
def test_the_record_agrees_and_the_export_trains_the_same(length: str, large: Path) -> None:
    """With a final stage, doctor finds nothing; `tuner train` of the exported configuration gives the exported loss."""
    found = tuner.run(study(length, final={"top": 2, "seeds": 2}), workers=0)
    assert [problem for each in doctor() for problem in each.problems] == []
    exported = found.export("best")
    search = read_spec(exported / "config.yaml").search
    assert (search.epochs is None, search.steps) == (length == "steps", LENGTHS[length].get("steps"))
    assert tuner.train(exported / "config.yaml").value == load_model(exported).card.losses.validation
    assert found.report("report.html").is_file()


def test_tables_show_epochs_and_steps(large: Path) -> None:
    """Parts of the first epoch as such; where steps are declared, steps."""
    thirds = tuner.run(study("thirds"), workers=0).trials
    assert {0.3333, 1.0, 4.0} >= set(thirds["epochs"]) >= {0.3333, 4.0}
    steps = tuner.run({**study("steps"), "name": "steps"}, workers=0)
    assert set(steps.trials["steps"]) == {10, 30, 270}
    assert set(steps.trials["best_step"]) <= set(range(10, 271, 10))
    reasons = {record.reason for record in steps.records if record.state == "pruned"}
    assert any(reason.endswith("in its cohort after 10 steps") for reason in reasons)
    assert "best_epoch" not in steps.csv()


def test_trials_train_until_flat_or_the_most(large: Path) -> None:
    """A complete trial's newest third lowered its loss by less than 2 %, or it trained the recorded most."""
    found, length = tuner.run(study("auto"), workers=0), length_of()
    assert (length.plan.thirds, length.rungs) == (1, (1, 2, 4, 10))
    with closing(Ledger.look("sqlite:///tuner.db", Path.cwd())) as ledger:
        curves = ledger.curves(1)
    for record in found.records:
        if record.state == "complete":
            losses = curves[record.number].val_loss
            ends = [10]
            while ends[-1] < record.epochs:
                ends.append(length.following(ends[-1]))
            before = [4, *ends][ends.index(record.epochs)]
            assert record.epochs == length.plan.intervals or min(losses) > 0.98 * min(losses[:before])
            for first, last in zip([4, *ends], ends[:-1], strict=False):
                assert min(losses[:last]) <= 0.98 * min(losses[:first])


def test_a_length_is_not_changed_when_a_study_goes_on(workspace: Path) -> None:
    """Left out, given, or in another unit: the study refuses, and names the key."""
    tuner.run(tiny(), workers=0)
    for search in ({"epochs": None}, {"epochs": 10}, {"epochs": None, "steps": 100}):
        declared = tiny(search=search)
        with pytest.raises(StudyError, match=r"search\.epochs was 9 and is now"):
            tuner.run(declared, workers=0)


def test_one_configuration_without_a_length_trains_until_flat(large: Path) -> None:
    """`tuner train` trains as the only trial of a study does: as long, to the same loss."""
    space = {"bottleneck": 2, "width": 16, "batch_size": 32, "learning_rate": 0.01, "skip": "none"}
    declared = {**study("auto"), "space": space, "search": {"trials": 1, "trial_seed": 5}, "rules": 4}
    model, (record,) = tuner.train(declared), tuner.run(declared, workers=0).records
    assert (model.epochs, model.value, model.best_epoch) == (record.epochs, record.value, record.best_epoch)
    assert model.epochs >= 10


def test_a_length_that_does_not_fit_the_rows_leaves_no_study(large: Path) -> None:
    """It is known once the data is prepared; another length can then be taken under the same name."""
    declared = study("thirds")
    declared["search"]["thirds"] = 9
    with pytest.raises(SpecError, match=r"search\.thirds: must be at most 4, for an epoch has 132 steps"):
        tuner.run(declared, workers=0)
    with closing(Ledger.look("sqlite:///tuner.db", Path.cwd())) as ledger:
        assert ledger.study("tiny") is None
