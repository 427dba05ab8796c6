"""Claims about what the final stage says of runs that are written by hand: who wins, and how plainly it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats
from studies import tiny

from tuner.analysis.final_stage import answer, chosen, is_told, missing, planned, winners_runs
from tuner.answers.parts import FinalStage
from tuner.answers.summary import Summary
from tuner.ledger.records import TrialRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.final import final_run, index_of, trial_of
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState

COMPLETE, DIVERGED = TrialState.COMPLETE, TrialState.DIVERGED


def spec(top: int, seeds: int) -> StudySpec:
    return spec_from_mapping(tiny(final={"top": top, "seeds": seeds}))


def trial(number: int, value: float | None, state: TrialState = COMPLETE, width: int | None = None) -> TrialRecord:
    point = Hyperparameters(0.01, 16, 1, width or 10 + number, "tanh", 2, 0.0, 0.0)
    return TrialRecord(number, 0, point, number, state, value, 1, 9, "", 0.0, 0.0, 1.0)


def runs(of: TrialRecord, losses: Sequence[float | None]) -> list[TrialRecord]:
    """A run for each loss; None is one that diverged."""
    made = [final_run(3, of.number, of.point, index) for index in range(len(losses))]
    return [
        replace(
            of, number=run.number, seed=run.seed, cohort=-1, value=loss, state=DIVERGED if loss is None else COMPLETE
        )
        for run, loss in zip(made, losses, strict=True)
    ]


def said(top: int, losses: Sequence[Sequence[float | None]]) -> FinalStage:
    """The answer where trial 0 was the search's best, then trial 1, and so on."""
    trials = [trial(number, 0.1 + number / 100) for number in range(len(losses))]
    finals = [run for of, each in zip(trials, losses, strict=True) for run in runs(of, each)]
    found = answer(spec(top, len(losses[0]) if losses else 5), trials, finals)
    assert found is not None
    return found


def test_the_chosen_are_complete_and_different() -> None:
    """By validation loss, equals by number; pruned and diverged trials and repeated configurations are left out."""
    trials = [
        trial(0, 0.3),
        trial(1, 0.1, TrialState.PRUNED),
        trial(2, 0.2),
        trial(3, 0.25, width=12),
        trial(4, None, DIVERGED),
        trial(5, 0.3),
        trial(6, 0.9),
    ]
    assert [one.number for one in chosen(trials, 3)] == [2, 0, 5]
    assert [one.number for one in chosen(trials, 99)] == [2, 0, 5, 6]


def test_what_was_begun_is_finished_whoever_is_chosen_now() -> None:
    """A run of a configuration that is no longer among the best; those that ended are not planned again."""
    old, better = trial(0, 0.3), trial(1, 0.1)
    begun = [replace(run, state=TrialState.RUNNING) for run in runs(old, [0.3])] + runs(better, [0.1])
    wanted = planned(spec(1, 2), [old, better], begun)
    assert [(trial_of(run.number), index_of(run.number)) for run in wanted] == [(1, 0), (1, 1), (0, 0)]
    assert [run.number for run in missing(spec(1, 2), [old, better], begun)] == [run.number for run in wanted[1:]]


def test_the_lowest_mean_wins_and_not_the_lowest_run() -> None:
    """Nor the search's best trial; the exported run is the winner's lowest."""
    found = said(2, [[0.1, 0.5, 0.5], [0.2, 0.19, 0.21]])
    assert (found.winner, found.exported) == (1, 1)
    assert [one.trial for one in found.configurations] == [1, 0]


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([[0.100, 0.101, 0.099], [0.200, 0.201, 0.199]], "Trial 0 is distinguishable from the second, trial 1"),
        ([[0.100, 0.120, 0.080], [0.101, 0.121, 0.081]], "Trial 0 is not distinguishable from the second, trial 1"),
    ],
)
def test_the_sentence_says_what_welchs_test_says(losses: list[list[float]], verdict: str) -> None:
    """scipy's p stands in it."""
    sentence = said(2, losses).sentence
    assert sentence.startswith(verdict)
    assert f"p = {stats.ttest_ind(losses[1], losses[0], equal_var=False).pvalue:.2g}" in sentence


def test_one_seed_says_nothing_about_certainty() -> None:
    """And that is what is said."""
    found = said(2, [[0.1], [0.2]])
    assert "nothing can be said" in found.sentence
    assert (found.configurations[0].low, found.winner) == (None, 0)


def test_a_configuration_that_loses_runs_does_not_win_by_it() -> None:
    """One with a lower mean over the runs that were left ranks behind, and both are said."""
    found = said(2, [[0.01, None, 0.01], [0.2, 0.2, 0.2]])
    assert found.winner == 1
    assert "lost more of its runs, though the mean of the others is lower" in found.sentence
    assert "Trial 0 lost 1 of 3 runs." in found.sentence
    assert found.configurations[1].losses == (0.01, None, 0.01)


@pytest.mark.parametrize(
    ("top", "losses", "words"),
    [
        (3, [[0.1, 0.2]], "only one configuration was completed"),
        (1, [[0.1, 0.2]], "final.top is 1"),
        (3, [[0.1, 0.2], [0.3, 0.4]], "Only 2 different configurations were completed."),
        (3, [], "No trial was completed"),
        (2, [[None, None], [None, None]], "No run of the final stage was completed"),
        (2, [[0.1, 0.2], [None, None]], "Trial 0 wins, for the second, trial 1, completed no run."),
    ],
)
def test_whatever_is_missing_is_said_plainly(top: int, losses: list[list[float | None]], words: str) -> None:
    """Fewer configurations than asked for, or none."""
    assert words in said(top, losses).sentence


def test_there_is_no_winner_where_every_run_was_lost() -> None:
    """The search's best trial stays the answer."""
    found = said(1, [[None, None]])
    assert (found.winner, found.exported, winners_runs(found, [])) == (None, None, [])


def test_the_stage_that_is_off_says_nothing() -> None:
    """No runs and no answer; a summary is up to date with that where it holds none."""
    off = spec_from_mapping(tiny())
    assert planned(off, [trial(0, 0.1)], []) == []
    assert answer(off, [trial(0, 0.1)], []) is None
    assert is_told(None, Summary(best=None, seconds=1.0))
    assert not is_told(None, Summary(best=None, final=said(1, [[0.1]]), seconds=1.0))
    assert not is_told(None, None)


def test_the_last_digits_of_an_interval_are_no_other_answer() -> None:
    """Versions before 0.1.0 computed Student's t in another way: their finished studies are not scored anew. A mean
    or a loss that differs at all is another answer."""
    found = said(2, [[0.1, 0.2, 0.15], [0.3, 0.2, 0.4]])

    def before(**figures: float) -> Summary:
        first, *others = found.configurations
        tried = (first.model_copy(update=figures), *others)
        assert tried != found.configurations
        return Summary(best=None, final=found.model_copy(update={"configurations": tried}), seconds=1.0)

    one = found.configurations[0]
    assert one.low is not None
    assert one.mean is not None
    assert is_told(found, before(low=one.low * (1 + 1e-14)))
    assert not is_told(found, before(low=one.low * (1 + 1e-6)))
    assert not is_told(found, before(mean=one.mean * (1 + 1e-15)))
