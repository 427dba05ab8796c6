"""Whether a study's record follows from its data, its states and its search: what `tuner doctor` computes again.

A table lists the checks, the cheap ones first. Each yields a sentence for each difference, and raises `Unchecked` with
the reason where it cannot decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from tuner.analysis import final_stage
from tuner.analysis.pareto import chosen_trial
from tuner.analysis.stages import StageRecord
from tuner.answers.parts import FinalStage
from tuner.answers.summary import Summary
from tuner.errors import DataError, StorageError, TunerError
from tuner.ledger import checks as of_ledger
from tuner.ledger.checks import Evidence
from tuner.ledger.records import TrialRecord
from tuner.settings import Workspace
from tuner.spec.final import trial_of, words_of
from tuner.spec.work import TrialState

if TYPE_CHECKING:
    from tuner.data.examined import Examined
    from tuner.learning.checkpoint_store import CheckpointStore

MOST_TRIALS = 2_000  # that are replayed without being asked for: about a minute with TPE
SLOW_SAMPLERS = ("gp",)  # take a second a trial
MOST_SLOW_TRIALS = 50
SAME_LOSS = 1e-4  # relative: another kind of processor adds in another order


class Unchecked(Exception):  # noqa: N818 - nothing is wrong
    """Why something could not be checked."""


@dataclass(frozen=True)
class Case:
    """A study to be checked.

    Attributes:
        evidence: what is recorded of it.
        workspace: where its files are.
        deep: also what takes more than about a minute.
    """

    evidence: Evidence
    workspace: Workspace
    deep: bool = False

    @cached_property
    def examined(self) -> Examined:
        """The study's data, read again."""
        from tuner.data.examine import examine  # (pandas)
        from tuner.data.sources import Sources

        study = self.evidence.study
        try:
            sources = Sources(Path(study.source).parent, self.workspace.data_root)
            return examine(study.spec, sources, study.rules, begun=True)
        except DataError as error:
            raise Unchecked(f"the data cannot be read: {error}") from None

    @cached_property
    def states(self) -> CheckpointStore:
        """Where the study's states are kept."""
        from tuner.learning.checkpoint_store import CheckpointFolder

        return CheckpointFolder.of_study(self.workspace.work, self.evidence.study.key)


Check = Callable[[Case], Iterator[str]]


def _summary(case: Case) -> Iterator[str]:
    """What came of a finished study follows from its trials, runs and uses of the test split."""
    evidence, summary = case.evidence, case.evidence.summary
    if evidence.study.state != "finished":
        return
    if summary is None:
        yield "it is finished, but its summary is missing"
        return
    best = chosen_trial(evidence.study.spec, evidence.trials, evidence.features)
    texts = ["no trial" if each is None else f"trial {each.number} with {each.value}" for each in (summary.best, best)]
    if texts[0] != texts[1]:
        yield f"its summary has {texts[0]} as the best, but that is {texts[1]}"
    yield from _final_stage(evidence, summary)
    if best is not None:
        yield from _scores(evidence, summary, best)


def _answered(evidence: Evidence) -> FinalStage | None:
    """What the final stage says; nothing where it was not run: older versions had none."""
    study = evidence.study
    record = StageRecord(study.spec, study.rules, evidence.trials, evidence.finals, evidence.events, evidence.features)
    return record.answer if evidence.finals else None


def _final_stage(evidence: Evidence, summary: Summary) -> Iterator[str]:
    answered, recorded = _answered(evidence), summary.final
    if answered is None:
        return
    if recorded is None:
        yield "it has runs of the final stage, but its summary does not tell of them"
    elif _figures(answered) != _figures(recorded):
        yield "its summary's final stage is not what its runs say"


def _figures(answered: FinalStage) -> list[object]:
    """The answer without its sentences, which versions word differently."""
    tried = [(one.trial, one.mean, one.losses, one.choosing) for one in answered.configurations]
    return [answered.top, answered.seeds, answered.trials, answered.winner, answered.exported, tried]


def _scores(evidence: Evidence, summary: Summary, best: TrialRecord) -> Iterator[str]:
    """The test split's part: which models met it, how often, and their losses."""
    answered, scored = _answered(evidence), summary.scored
    if scored is None:
        yield "its summary has no test loss of the best trial"
        return
    runs = final_stage.winners_runs(answered, evidence.finals) if answered else []
    models, losses = runs or [best], scored.losses
    trial = trial_of(runs[0].number) if runs else best.number
    if (scored.trial, scored.runs) != (trial, tuple(model.number for model in models)):
        yield f"its summary has scores of trial {scored.trial}, but trial {trial} wins"
        return
    if len(losses) != len(models):
        yield f"its summary has {len(losses)} test losses of {len(models)} models"
        return
    recorded, whole = None if summary.best is None else summary.best.test_loss, summary.final
    if recorded != (None if runs else losses[0]):
        yield f"its summary has test loss {recorded} of the best trial, but {losses[0]} among its scores"
    of_winner = (None, None) if whole is None else (whole.test_loss, whole.mean_test_loss)
    if runs and of_winner != (losses[0], fmean(losses)):
        yield f"its summary has test loss {of_winner[0]} of the winner, but {losses[0]} among its scores"
    uses = len(evidence.of_kind("test"))
    if (summary.test_uses or 0) != uses:  # None before uses were counted: then there is no event of one either
        yield f"its summary counts {summary.test_uses} uses of the test split, but {uses} are recorded"


def _states(case: Case) -> Iterator[str]:
    """The digests of the state files that are there; most were freed."""
    gone = 0
    for number, checkpoint in case.evidence.checkpoints.items():
        try:
            there, whole = case.states.has(checkpoint), case.states.get(checkpoint) is not None
        except StorageError as error:
            raise Unchecked(str(error)) from None
        if not there:
            gone += 1
        elif not whole:
            yield f"{words_of(number)}: its state in {checkpoint.path} has another digest than the one recorded"
    if gone:
        raise Unchecked(f"{gone} states, whose files are gone")


def _fingerprint(case: Case) -> Iterator[str]:
    """The data gives the study's fingerprint and number of features."""
    from tuner.data.examine import fingerprint

    study, data = case.evidence.study, case.examined.data
    if fingerprint(data, study.spec.data) != study.fingerprint:
        yield (
            f"the data in {study.spec.data.source} has another fingerprint than the one recorded: it has changed since"
            " the study began, or the record has"
        )
    elif case.evidence.features not in (0, len(data.names)):
        yield f"its runs have {case.evidence.features} features, but the data has {len(data.names)}"


def _search(case: Case) -> Iterator[str]:
    """The search, replayed, proposes and decides what is recorded."""
    study, count = case.evidence.study, len(case.evidence.trials)
    limit = MOST_SLOW_TRIALS if study.spec.search.sampler in SLOW_SAMPLERS else MOST_TRIALS
    if count > limit and not case.deep:
        raise Unchecked(f"the search, for replaying {count} trials takes long; --deep does it")
    from tuner.orchestration.verify import differences  # (Optuna)

    found = list(differences(case.evidence))
    began, here = study.versions.get("optuna"), version("optuna")
    if found and began != here:
        raise Unchecked(f"the search, for it was begun with optuna {began} and here is {here}")
    yield from found


def _test_losses(case: Case) -> Iterator[str]:
    """The scored models' losses on the test split, computed again from their states."""
    evidence, summary = case.evidence, case.evidence.summary
    scored = None if summary is None else summary.scored
    if evidence.study.state != "finished" or scored is None:
        return
    devices = {event.body.get("device") for event in evidence.of_kind("run")}
    if devices != {"cpu"}:
        raise Unchecked("test losses, which another device than the CPU computed")
    known = {trial.number: trial for trial in evidence.all_trials}
    gone = 0
    for number, loss in zip(scored.runs, scored.losses, strict=False):
        again = _test_loss(case, known[number]) if number in known else None
        gone += again is None
        if again is not None and not math.isclose(again, loss, rel_tol=SAME_LOSS, abs_tol=1e-9):
            yield f"{words_of(number)}: its test loss is recorded as {loss}, but its state gives {again}"
    if gone:
        raise Unchecked(f"{gone} test losses, whose models' states are gone")


def _test_loss(case: Case, trial: TrialRecord) -> float | None:
    from tuner.data.prepare import units_of
    from tuner.data.terms import TEST, split_scale
    from tuner.learning.folding import best_weights
    from tuner.learning.packs import runs_compiled
    from tuner.learning.scoring import mean_loss

    checkpoint, spec, examined = case.evidence.checkpoints.get(trial.number), case.evidence.study.spec, case.examined
    if checkpoint is None or trial.state is not TrialState.COMPLETE:
        return None
    state = case.states.get(checkpoint)
    if state is None:
        return None
    rows = examined.preprocessor.transform(examined.data.raw(examined.split.test)).astype(np.float32)
    (terms, start), by_compiled = units_of(examined, spec, case.evidence.study.rules), runs_compiled("cpu", spec.step)
    scored = mean_loss(trial.point, spec.loss, best_weights(state, start), rows, by_compiled, terms)
    return scored * split_scale(terms, TEST)


# The cheap ones first.
CHECKS: Final[dict[str, Check]] = {
    "summary": _summary,
    "states": _states,
    "data": _fingerprint,
    "search": _search,
    "test losses": _test_losses,
}
NEVER_CHECKED: Final = (
    "baselines",
    "times",
    "how much codes are worth",
    "how well the winner gives single columns back",
    "whether stops and faults of workers were all noted",
)


def examine_study(evidence: Evidence, workspace: Workspace, deep: bool = False) -> tuple[list[str], list[str]]:
    """What differs in a study's record, and what could not be checked and why.

    Args:
        evidence: what is recorded of it.
        workspace: where its files are.
        deep: also what takes more than about a minute.
    """
    case, problems, unchecked = Case(evidence, workspace, deep), list[str](), list[str]()
    for name, of_record in of_ledger.CHECKS.items():
        problems += _guarded(name, lambda check=of_record: check(evidence), unchecked)  # type: ignore[misc]
    for name, check in CHECKS.items():
        problems += _guarded(name, lambda check=check: check(case), unchecked)  # type: ignore[misc]
    return problems, list(dict.fromkeys(unchecked))


def _guarded(name: str, check: Callable[[], Iterator[str]], unchecked: list[str]) -> list[str]:
    """What a check finds; a record that it cannot make sense of is a finding as well."""
    found: list[str] = []
    try:
        for problem in check():
            found.append(problem)  # what was found before a failure stays
    except Unchecked as why:
        unchecked.append(str(why))
    except TunerError as error:
        found.append(str(error))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        found.append(f"{name}: the record is damaged ({type(error).__name__}: {error})")
    return found
