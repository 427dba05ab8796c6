"""Claims about studies that have minutes in the place of trials: planned once, and then like any other study."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import tiny
from typer.testing import CliRunner

import tuner
from tuner.analysis.longer_stage import Schedules
from tuner.api.maintenance import doctor
from tuner.cli import display
from tuner.cli.app import app
from tuner.errors import SpecError, StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import Event
from tuner.orchestration.driver import Driver
from tuner.orchestration.progress import Progress
from tuner.search.minutes import Budgeted, Lasting, Planned, Reading
from tuner.spec.final import FIRST, FIRST_CHOOSING, is_choosing
from tuner.spec.reader import read_spec, read_spec_text

MINUTES = 10.0  # of which these studies take seconds: no test hangs on how fast a machine is


def study(**changes: Any) -> dict[str, Any]:
    """At most 20 cohorts of three trials of three epochs."""
    search = {"epochs": 3, "cohort": 3, "seed": 3, "minutes": MINUTES, **changes.pop("search", {})}
    return {**tiny(**changes), "search": search}


def flat(**changes: Any) -> dict[str, Any]:
    """The same, trained until flat."""
    declared = study(**changes)
    del declared["search"]["epochs"]
    return declared


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose reading says that it is some thousand times slower than the model of cost."""
    monkeypatch.setattr("tuner.orchestration.speed._read", lambda *_: Reading(30.0, 0.001, 1))


def events(name: str = "tiny") -> list[Event]:
    with closing(Ledger.look("sqlite:///tuner.db", Path.cwd())) as ledger:
        record = ledger.study(name)
        assert record is not None
        return ledger.events(record.id)


def readings(name: str = "tiny") -> int:
    return sum(event.kind == "speed" for event in events(name))


def test_it_is_planned_once_and_is_then_like_any_other(workspace: Path) -> None:
    """The machine's speed is one event; the table is that of a study with the planned trials; a second run says that
    nothing is left, and reads no speed."""
    planned = tuner.run(study(), workers=0)
    assert planned.state == "finished"
    plan = Planned.recorded(events())
    assert plan is not None and plan == planned.planned
    assert plan.minutes == MINUTES
    assert len(planned.records) == planned.spec.search.trials == plan.found.trials
    outright = {**study(name="outright"), "search": {**study()["search"], "trials": plan.found.trials}}
    del outright["search"]["minutes"]
    assert tuner.run(outright, workers=0).csv() == planned.csv()
    assert readings("outright") == 0
    again = tuner.run(study(), workers=0)
    assert (again.outcome, again.csv(), readings()) == ("nothing-left", planned.csv(), 1)
    shown = display.summary(again)
    assert f"It was planned for 10 minutes: {plan.found.trials} trials, as long as declared." in shown
    assert not [disagreement for seen in doctor("tiny") for disagreement in seen.problems]


@pytest.mark.usefixtures("slow")
def test_planned_steps_are_recorded_and_a_stopped_study_goes_on_by_them(workspace: Path) -> None:
    """Where the time is short, one cohort trains for a number of steps; killed amid it, it is not planned anew."""
    stop = threading.Event()

    def listen(progress: Progress) -> None:
        if progress.phase == "training":
            stop.set()

    first = tuner.run(flat(), workers=0, progress=listen, stop=stop)
    assert first.outcome == "stopped"
    steps, trials = first.spec.search.steps, first.spec.search.trials
    assert steps is not None and trials == 3
    done = tuner.run(flat(), workers=0)
    assert (done.outcome, done.spec.search.steps, readings()) == ("finished", steps, 1)
    outright = flat(name="outright", search={"trials": trials, "steps": steps})
    del outright["search"]["minutes"]
    assert tuner.run(outright, workers=0).csv() == done.csv()
    assert f"3 trials, of at most {steps:,} steps." in display.summary(done)


def test_where_the_searchs_time_is_over_it_ends_with_an_answer(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No further trial is asked for, those that were asked for go on: the table is that of a study of so many trials,
    the final stage follows, and the next run takes the study for finished."""
    monkeypatch.setattr("tuner.orchestration.prepared_run.share", lambda *_: 0.0)
    cut = tuner.run(study(final={"top": 1, "seeds": 2}), workers=0)
    assert (cut.outcome, len(cut.records)) == ("finished", 3)
    assert cut.spec.search.trials == 3
    assert cut.planned is not None and cut.planned.found.trials > 3
    assert "there was time for 3 of them." in display.summary(cut)
    assert cut.summary.final is not None
    outright = study(name="outright", search={"trials": 3}, final={"top": 1, "seeds": 2})
    del outright["search"]["minutes"]
    assert tuner.run(outright, workers=0).csv() == cut.csv()
    assert not [disagreement for seen in doctor("tiny") for disagreement in seen.problems]
    again = tuner.run(study(final={"top": 1, "seeds": 2}), workers=0)
    assert (again.outcome, again.csv()) == ("nothing-left", cut.csv())
    more = tuner.run(study(final={"top": 1, "seeds": 2}, search={"trials": 5}), workers=0)
    assert (len(more.records), readings()) == (5, 1)


def test_a_time_that_is_over_stops_the_run(workspace: Path) -> None:
    """Minutes shorter than the data take to prepare: the run ends as with search.timeout, and says so."""
    ended = tuner.run(study(search={"minutes": 1e-6}), workers=0)
    assert (ended.outcome, ended.state) == ("timeout", "stopped")
    assert "search.minutes (1e-06) are over" in display.ending(ended, "tuner run s.yaml")


def test_other_minutes_plan_nothing_anew(workspace: Path) -> None:
    """They are refused where trials are left to them, and limit a run's time where the file says how many trials."""
    begun = tuner.run(study(search={"trials": 3}), workers=0)
    assert begun.planned is not None and begun.planned.found.trials == 3
    with pytest.raises(StudyError) as refused:
        tuner.run(study(search={"minutes": 20.0}), workers=0)
    assert str(refused.value) == (
        "study tiny: search.minutes was 10 and is now 20, but a study that has begun is not planned anew; change it"
        " back, say how many trials in search.trials, or give the study another name."
    )
    assert len(tuner.run(study(search={"minutes": 20.0, "trials": 6}), workers=0).records) == 6
    assert readings() == 1


def test_a_study_without_minutes_is_not_planned_later(workspace: Path) -> None:
    """It goes on with the trials that are declared."""
    declared = study(search={"trials": 3})
    del declared["search"]["minutes"]
    tuner.run(declared, workers=0)
    with pytest.raises(StudyError, match=r"search\.minutes was none and is now 10"):
        tuner.run(study(), workers=0)
    tuner.run(study(search={"trials": 6}), workers=0)
    assert readings() == 0


def test_neither_trials_nor_minutes_is_refused() -> None:
    """With the place, and what to do; so are no trials, no minutes, and minutes by older rules."""
    text = "name: x\ndata: {source: a.csv}\nspace: {bottleneck: 2}\nsearch:\n  seed: 1\n"
    with pytest.raises(SpecError) as refused:
        read_spec_text(text, "x.yaml")
    assert str(refused.value) == (
        "x.yaml:4: search.trials: must be given, but is missing; or give search.minutes, the time that the study may"
        " take"
    )
    for line, said in (
        ("trials: 0", "search.trials: must be at least 1, got 0"),
        ("minutes: 0", "search.minutes: must be above 0.0, got 0"),
        ("minutes: 10m", "search.minutes: must be a number, got '10m'"),
    ):
        with pytest.raises(SpecError) as refused:
            read_spec_text(f"{text}  {line}\n", "x.yaml")
        assert str(refused.value) == f"x.yaml:6: {said}"
    with pytest.raises(SpecError, match=r"search\.minutes: must be left out by rules 3; rules 4 plan"):
        tuner.run({**study(), "rules": 3}, workers=0)


def test_the_command_line_takes_minutes(workspace: Path) -> None:
    """`tuner init --minutes` writes a file that `validate` reads, and `run --minutes` is an override."""
    written = CliRunner().invoke(app, ["init", str(tiny()["data"]["source"]), "--minutes", "5"])
    assert written.exit_code == 0, written.output
    Path("s.yaml").write_text(written.stdout, encoding="utf-8")
    search = read_spec("s.yaml").search
    assert (search.minutes, search.is_planned) == (5.0, False)
    checked = CliRunner().invoke(app, ["validate", "s.yaml"])
    assert "as many trials as there is time for in 5 minutes" in checked.stdout
    words = ["--workers", "0", "--set", "search.trials=3", "--set", "search.epochs=2", "--set", "final=none"]
    ran = CliRunner().invoke(app, ["run", "s.yaml", "--minutes", "7", *words])
    assert ran.exit_code == 0, ran.output
    assert "It was planned for 7 minutes: 3 trials, as long as declared." in ran.stdout


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """A plan with one long training, of seven epochs in the end; what its length was asked from."""
    asked = list[tuple[float, ...]]()

    def epochs(*known: float) -> int:
        asked.append(known)
        return 7

    monkeypatch.setattr("tuner.orchestration.speed.budgeted", lambda *_: Budgeted(6, None, Lasting(3, 1, 2)))
    monkeypatch.setattr("tuner.orchestration.lasting.lasting_epochs", epochs)
    return asked


def test_where_one_training_takes_the_time_the_best_is_trained_once_and_long(
    workspace: Path, lasting: list[tuple[float, ...]]
) -> None:
    """The search's trials have the planned length; the winner alone is trained again, with a falling rate, for the
    epochs that the time left and its own segment say; and all of it is that of a study that declares these."""
    asked, planned = lasting, tuner.run(flat(final={}), workers=0)
    assert (planned.outcome, len(planned.records)) == ("finished", 6)
    assert planned.spec.final_stage is not None and planned.spec.final_stage.epochs == 7
    found = planned.summary.final
    assert found is not None and found.training is not None and found.winner is not None
    assert (found.training.length, found.training.schedule) == (7, "cosine")
    assert len(found.configurations) == 1 and len(found.configurations[0].losses) == 2
    with closing(Ledger.look("sqlite:///tuner.db", Path.cwd())) as ledger:
        record = ledger.study("tiny")
        assert record is not None
        own = [one for one in ledger.segments(record.id) if found.winner in one.trials]
        runs = ledger.finals(record.id)
    newest = max(own, key=lambda one: one.last)
    ends = (0, 1 / 3, 1, 2, 3)  # epochs at the end of each interval
    each = newest.seconds / (ends[newest.last] - ends[newest.first]) / len(newest.trials)
    ((left, epoch, seeds, workers),) = asked
    assert 0 < left < 60 * MINUTES
    assert (epoch, seeds, workers) == (pytest.approx(each, rel=1e-3), 2, 1)
    assert [(run.epochs, run.point.schedule) for run in runs] == [(7, "cosine")] * 2

    outright = study(
        name="outright", search={"trials": 6, "epochs": 3, "thirds": 1}, final={"top": 1, "seeds": 2, "epochs": 7}
    )
    del outright["search"]["minutes"]
    same = tuner.run(outright, workers=0)
    assert same.csv() == planned.csv()
    assert same.summary.final is not None and same.summary.final.configurations == found.configurations
    assert not [disagreement for seen in doctor("tiny") for disagreement in seen.problems]
    again = tuner.run(flat(final={}), workers=0)
    assert (again.outcome, again.csv(), readings(), len(asked)) == ("nothing-left", planned.csv(), 1, 1)
    assert "6 trials, of at most 3 epochs, then the best one as long as there is time for." in display.summary(again)


def test_a_long_training_that_was_stopped_goes_on(workspace: Path, lasting: list[tuple[float, ...]]) -> None:
    """With the length that was found before the stop, to the same losses."""
    whole = tuner.run(flat(name="whole", final={}), workers=0)
    stop = threading.Event()

    def listen(progress: Progress) -> None:
        if progress.confirmed is not None:
            stop.set()

    stopped = tuner.run(flat(final={}), workers=0, progress=listen, stop=stop)
    assert stopped.outcome == "stopped"
    done = tuner.run(flat(final={}), workers=0)
    assert done.outcome == "finished" and len(lasting) == 2
    assert done.summary.final is not None and whole.summary.final is not None
    assert done.summary.final.configurations == whole.summary.final.configurations
    with pytest.raises(StudyError, match=r"final\.epochs"):
        tuner.run(flat(final={"top": 1, "seeds": 2, "epochs": 9}), workers=0)


def cut_once(monkeypatch: pytest.MonkeyPatch, recorded: Callable[[int], bool]) -> None:
    """The minutes are over once something of such a run of the final stage is recorded; no clock is asked."""

    def over(driver: Driver) -> bool:
        return driver._longest is not None and any(map(recorded, [*driver._results.curves, FIRST]))

    early = Driver._early_end
    monkeypatch.setattr(Driver, "is_late", property(over))
    monkeypatch.setattr(Driver, "_early_end", lambda driver: "timeout" if driver.is_late else early(driver))


FINAL = {"top": 2, "seeds": 2}


@pytest.mark.parametrize(
    ("recorded", "schedule", "of"),
    [
        pytest.param(lambda number: number == FIRST, None, "trial", id="before its first run"),
        pytest.param(is_choosing, None, "choosing", id="amid the runs that choose"),
        pytest.param(lambda number: FIRST < number < FIRST_CHOOSING, None, "final", id="amid further seeds"),
        pytest.param(lambda number: FIRST < number < FIRST_CHOOSING, "cosine", "choosing", id="amid a falling rate"),
    ],
)
def test_a_final_stage_that_the_minutes_end_has_an_answer(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, recorded: Callable[[int], bool], schedule: str | None, of: str
) -> None:
    """Whatever was trained by then counts: the exported run is the lowest of it, its model loads and has that loss,
    the record agrees with itself, and a second run has nothing left to do."""
    declared = flat(final=FINAL, search={"trials": 6})
    monkeypatch.setattr(Schedules, "winner", schedule)
    cut_once(monkeypatch, recorded)
    ended = tuner.run(declared, workers=0)
    assert (ended.outcome, ended.state) == ("finished", "finished")
    assert "final_cut" in [event.kind for event in events()]
    final, winner = ended.summary.final, ended.summary.winner
    assert final is not None and winner is not None
    assert winner.run.startswith(of)
    assert final.of_choosing == (of == "choosing")
    assert ("there was no time for further seeds" in final.sentence) == (of == "choosing")
    folder = ended.export("best")
    card = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert card["losses"]["validation"] == winner.validation_loss
    rows = ended.raw_rows(5)
    assert np.isfinite(tuner.load_model(folder).reconstruct(rows)).all()
    assert not [problem for seen in doctor("tiny") for problem in seen.problems]
    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    again = tuner.run(declared, workers=0)
    assert (again.outcome, again.summary.winner) == ("nothing-left", winner)
    more = tuner.run(flat(final=FINAL, search={"trials": 9}), workers=0)
    assert more.outcome == "finished" and more.summary.final is not None and more.summary.final.seeds == 2
    assert not more.summary.final.of_choosing
    assert not [problem for seen in doctor("tiny") for problem in seen.problems]
