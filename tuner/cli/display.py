"""What the command line says: summaries and tables."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.cli.final import final, mean
from tuner.cli.progress import duration
from tuner.spec.work import TrialState

if TYPE_CHECKING:
    from tuner.answers.comparison import Comparison
    from tuner.answers.study import Recommendation, StudyAnswer, TrainedOn, WarmStarted
    from tuner.api.maintenance import Diagnosis, Freed
    from tuner.api.publishing import Synced
    from tuner.api.study import Study
    from tuner.export.apply import Applied
    from tuner.ledger.records import StudyTally
    from tuner.search.minutes import Planned
    from tuner.spec.study import SearchSpec

NO_STUDIES = "no studies here yet; `tuner run FILE` begins one"
_MEASURES = {
    "effective_dims": "effective dimensions of the code",
    "dead_units": "dead units of the code",
    "trustworthiness": "trustworthiness of neighbours",
    "kl": "divergence from the prior, nats",
    "active_units": "active units of the code",
    "probe_accuracy": "accuracy of a linear probe",
    "anomaly_auroc": "AUROC of the error",
}


def counted(count: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {what}{'s' * (count != 1)}"


def applied(done: Applied, output: Path) -> str:
    """What `tuner apply` did, in one line, and in another what is odd about the rows."""
    parts = [f"{output}: {counted(done.rows, 'row')}"]
    if done.mean_loss is not None:
        parts.append(f"mean loss {done.mean_loss!r}")
    if done.anomalies is not None:
        word = "anomaly" if done.anomalies == 1 else "anomalies"
        parts.append(f"{done.anomalies} {word} (score above {done.threshold:.6g}, {done.set_on})")
    if done.without:
        parts.append(
            f"{counted(done.without, 'row')} without a result, for a value is missing (the first: {done.missing})"
        )
    more = [line for line in (done.odd and f"counted as missing: {done.odd}", done.outside) if line]
    return "\n".join([", ".join(parts), *more])


def ending(study: Study, command: str) -> str:
    """What a run ends with: how it ended, the answer, and what to type next."""
    total = study.spec.search.trials
    done = sum(count for state, count in study.counts.items() if state != TrialState.RUNNING)
    over = early(study.summary) or ("its one trial is done" if total == 1 else f"all {total} trials are done")
    first = {
        "nothing-left": f"{study.name}: {over}; nothing is left to do."
        f" To go on: {command} --set search.trials={2 * total}",
        "stopped": f"{study.name}: stopped{_by_request(study)}; {done} of {counted(total, 'trial')} recorded."
        f" To go on: {command}",
        "timeout": f"{study.name}: {_time(study.spec.search)} over; {done} of {counted(total, 'trial')} recorded."
        f" To go on: {command}",
    }.get(study.outcome or "", f"{study.name}: {over}.")
    return f"{first}\n\n{summary(study)}"


def _time(search: SearchSpec) -> str:
    """What of its time has ended a run."""
    minutes = "" if search.minutes is None else f"search.minutes ({search.minutes:g})"
    if search.timeout is None:
        return f"{minutes} are"
    return f"{minutes} or search.timeout is" if minutes else "search.timeout is"


def _by_request(study: Study) -> str:
    return "" if study.stopped_by is None else f" by request of {study.stopped_by} (`tuner stop`)"


def early(answer: StudyAnswer) -> str:
    """Why a study ended before its trials were spent; empty where it did not."""
    stopped = answer.stopped_early
    if stopped is None:
        return ""
    done, count = sum(answer.counts.values()), stopped.patience or 1
    cohorts = f"the last {count} cohorts" if count > 1 else "the last cohort"
    least = f"{100 * stopped.min_improvement:g} %"
    return f"stopped early after {counted(done, 'trial')}, for {cohorts} brought less than {least}"


def summary(study: Study) -> str:
    """A study's answer."""
    answer = study.summary
    lines = [f"{study.name}: {answer.state}; trials: {_counts(study.counts)}"]
    if answer.seconds is not None:
        lines[0] += f"; {duration(answer.seconds)} in all"
    if answer.trained:
        lines.append(_trained(answer.trained))
    if study.planned is not None:
        lines.append(_planned(study.planned, study.spec.search))
    if answer.stopped_early:
        lines.append(f"It was {early(answer)}.")
    if study.awaits_score:
        lines.append("Its answer is missing: the winner is not scored yet; run the study again, which does that.")
    if answer.warm_start:
        lines.append(_warm(answer.warm_start))
    if answer.winner is None:
        lines.append("No trial is complete yet.")
    else:
        from tuner.cli.columns import columns  # it needs pydantic, and a list of studies does not

        lines += ["", *table(_best(answer, answer.winner)), *columns(answer.columns)]
        lines += [*final(answer), *_verdict(answer, answer.winner)]
    return "\n".join([*lines, "", *_next(study, answer)])


def _planned(plan: Planned, search: SearchSpec) -> str:
    """What was planned for a study's minutes, and what of it there was time for."""
    less = "" if search.trials >= plan.found.trials else f"; there was time for {search.trials} of them"
    return f"It was {plan.words(search)}{less}."


def _trained(runs: Sequence[TrainedOn]) -> str:
    from tuner.ledger.trainers import in_words

    more = ". The losses of two steps differ in the last bits" if len({one.step for one in runs}) > 1 else ""
    return f"Trained on {in_words(runs)}{more}."


def _warm(start: WarmStarted) -> str:
    if start.origin == "search.first":
        return f"It began with the {counted(start.trials, 'set')} of search.first."
    if start.origin == "search.portfolio":
        return f"It began with {counted(start.trials, 'configuration')} of the portfolio."
    first = "Its first trial has" if start.trials == 1 else f"Its first {start.trials} trials have"
    left = (
        f"; {counted(start.left_out, 'configuration')} there left out, which its space has no room for"
        if start.left_out
        else ""
    )
    return f"{first} the best configurations of {start.origin}{left}."


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"


def _best(answer: StudyAnswer, winner: Recommendation) -> list[tuple[str, str]]:
    rows = [*_validation(answer, winner)]
    if winner.test_loss is not None:
        rows.append(("test loss", f"{winner.test_loss:.6g}{_spread(answer, winner)}"))
    if answer.baselines is not None:
        rows.append((f"PCA({winner.params['bottleneck']})'s test loss", f"{answer.baselines.pca:.6g}"))
        rows.append(("mean predictor's test loss", f"{answer.baselines.mean:.6g}"))
    rows += [(_MEASURES.get(name, name), _value(value)) for name, value in winner.measures.found().items()]
    return rows + [(name, _value(value)) for name, value in winner.params.items()]


def _validation(answer: StudyAnswer, winner: Recommendation) -> list[tuple[str, str]]:
    """The configuration's mean, and what the exported run has: a lower loss, for it was chosen by it."""
    knee = None if answer.front is None else "knee of the front"
    tried = None if answer.final is None else answer.final.best
    if tried is None:
        return [(knee or "best trial", str(winner.trial)), ("validation loss", f"{winner.validation_loss:.6g}")]
    name, count = (knee or "winner", f"trial {winner.trial}"), len(tried.completed)
    if count < 2:
        return [name, ("validation loss", mean(tried))]
    own = f"{winner.validation_loss:.6g} ({winner.validation_loss_is})"
    return [name, ("validation loss", f"{mean(tried)} (mean over {count} seeds)"), ("of the exported run", own)]


def _spread(answer: StudyAnswer, winner: Recommendation) -> str:
    if answer.final is None or answer.final.best is None or answer.final.seeds == 1:
        return ""
    return f" (of the exported run; mean over the winner's seeds {winner.mean_test_loss:.6g})"


def _verdict(answer: StudyAnswer, winner: Recommendation) -> list[str]:
    """The comparison in plain words, whoever wins."""
    loss = winner.test_loss
    if answer.baselines is None or loss is None:
        return []
    pca, several = answer.baselines.pca, len(winner.seeds) > 1 and winner.mean_test_loss is not None
    own = (
        f" That is the exported run, {winner.validation_loss_is} by validation loss; the mean over them is"
        f" {winner.mean_test_loss:.4g}."
        if several
        else ""
    )
    names = f"autoencoder {loss:.4g}, PCA({winner.params['bottleneck']}) {pca:.4g}"
    if loss < pca:
        return ["", f"On the test split: {names}: {100 * (1 - loss / pca):.0f} % lower.{own}"]
    return ["", f"On the test split: {names}: PCA is as good or better here; prefer it, or search a larger space.{own}"]


def synced(done: Synced) -> str:
    """What a `tuner sync` did for one study."""
    lines = [f"{done.name}: {counted(done.published, 'record')} published, {done.waiting} waiting"]
    if done.aside:
        lines.append(f"{counted(len(done.aside), 'record')} set aside, which MLflow will never take:")
        lines += [f"  {reason}" for reason in done.aside]
    return "\n".join([*lines, *([done.error] if done.error else [])])


def diagnosis(found: Diagnosis) -> str:
    """What `tuner doctor` found of one study, each line ended."""
    if found.name is None:
        return "".join(f"{problem}\n" for problem in found.problems)
    count = len(found.problems)
    verdict = counted(count, "difference") if count else "all agrees"
    lines = [f"{found.name}: {verdict}"]
    lines += [f"  {problem}" for problem in found.problems]
    lines += [f"  {line}" for line in _unpublished(found.name, found.waiting, found.aside)]
    lines += [f"  not checked: {'; '.join(found.unchecked)}"] if found.unchecked else []
    return "\n".join(lines) + "\n"


def used(found: Sequence[Freed]) -> str:
    """What studies take on the disk, the largest first, and in all."""
    if not found:
        return NO_STUDIES
    rows = sorted(found, key=lambda each: -each.size)
    lines = [f"{each.size / 1e6:>10.1f} MB  {counted(each.files, 'file'):>12}  {each.owner}" for each in rows]
    total = sum(each.size for each in found)
    return "\n".join([*lines, f"{total / 1e6:>10.1f} MB  in all; `tuner prune-files` frees what is not needed"])


def freed(found: Sequence[Freed], dry_run: bool) -> str:
    """What `tuner prune-files` freed."""
    if not found:
        return "Nothing is there that is not needed."
    verb = "would be freed" if dry_run else "freed"
    return "\n".join(f"{each.owner}: {counted(each.files, 'file')}, {each.size / 1e6:.1f} MB {verb}" for each in found)


def _unpublished(name: str, waiting: int, aside: int) -> list[str]:
    """What MLflow does not show yet, or never will."""
    lines = [f"{counted(waiting, 'record')} waiting for MLflow: `tuner sync {name}` publishes what waits."]
    never = f"{counted(aside, 'record')} set aside, which MLflow will never take: `tuner sync {name}` says why."
    return lines * (waiting > 0) + [never] * (aside > 0)


def _next(study: Study, answer: StudyAnswer) -> list[str]:
    mlflow = answer.mlflow
    lines = _unpublished(study.name, mlflow.waiting, mlflow.aside)
    lines += [f"  {why}" for why in [*mlflow.reasons, *filter(None, [mlflow.error])]]
    if mlflow.url:
        lines.append(f"In MLflow (while `tuner dashboard` runs): {mlflow.url}" if mlflow.local else mlflow.url)
    steps = [("tuner dashboard", "browse the trials"), ("tuner trials", "the table of trials")]
    steps += [("tuner front", f"the {counted(len(answer.front), 'trial')} of the Pareto front")] if answer.front else []
    steps += [("tuner export", "the best model in one folder")] if answer.best else []
    ending = {"tuner export": " best/"}
    return [*lines, "", *table([(f"{step} {study.name}{ending.get(step, '')}", what) for step, what in steps])]


def table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names and what is said of them, a line each, the second column aligned."""
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {value}" for name, value in rows]


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def comparison(found: Comparison, as_json: bool) -> str:
    """Studies side by side, as a table or as one JSON object."""
    from tuner.report.comparison import as_text

    return found.as_json() if as_json else as_text(found)


def as_json(study: Study, a_line: bool = False) -> str:
    """The one object of `--json`; in one line where others follow it."""
    return json.dumps(study.summary.as_dict()) if a_line else study.summary.as_json()


def command_line(file: str, overrides: Sequence[str]) -> str:
    """The command to type again."""
    return shlex.join(["tuner", "run", file, *(word for text in overrides for word in ("--set", text))])


def studies(found: Sequence[StudyTally]) -> str:
    """One line per study."""
    if not found:
        return NO_STUDIES
    width = max(len(one.name) for one in found)
    return "\n".join(
        f"{one.name:<{width}}  {one.state:<8}  {one.ended}/{one.trials} trials"
        f"  best {'-' if one.best is None else format(one.best, '.6g')}"
        f"  since {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.created_at))}"
        for one in found
    )
