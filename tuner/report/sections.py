"""The sections of a report, each from a study's plain facts; one that has nothing to say is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tuner.answers.parts import FinalStage
from tuner.ledger.records import Event, TrialRecord
from tuner.report.facts import Facts
from tuner.report.figures import BEST, MOST_DOTS, most_important
from tuner.report.markup import Html, element, join, shown, table, whole
from tuner.report.model_sections import code, columns, reconstructions
from tuner.report.section import Figures, Section, drawn, moment, note, pairs
from tuner.report.svg import key
from tuner.report.timeline import gaps, spent
from tuner.spec.rules import DIFFERENCE, NEWEST

MOST_REASONS = 20


def leaderboard(facts: Facts, _: Figures) -> Section | None:
    """The best ten trials with their parameters; what is the same for all is said once."""
    trials = facts.trials[:BEST]
    if not trials:
        return None
    names, amount = list(facts.searched), facts.length.amount
    best_at = f"at {facts.length.unit[:-1]}"
    head = ["trial", "state", "validation loss", best_at, facts.length.unit, *names]
    rows = [
        [t.number, t.state, t.value, t.best_epoch and amount(t.best_epoch), amount(t.epochs), *_values(t, names)]
        for t in trials
    ]
    fixed = {name: value for name, value in trials[0].params.items() if name not in names}
    order = "Complete trials by validation loss, then those that ended early by how far they came."
    body = [table(head, rows, f"The best {len(trials)} of {len(facts.trials)} trials")]
    if trials[0].state == "complete":
        body[0] = Html(body[0].replace("<tbody><tr>", '<tbody><tr class="first">', 1))
    body.append(note(order + (f" Fixed for all: {_pairs_in_words(fixed)}." if fixed else "")))
    return Section("leaderboard", "Leaderboard", join(body))


def _dots(best: str) -> Html:
    """What the dots mean."""
    kinds = {"": "complete", "open": "ended early or running: its best so far", best: "best"}
    parts = (element("span", element("i", class_=kind or None), words) for kind, words in kinds.items())
    return element("p", *parts, class_="note dots")


def _values(trial: TrialRecord, names: Sequence[str]) -> list[object]:
    return [trial.params.get(name) for name in names]


def _pairs_in_words(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def front(facts: Facts, figures: Figures) -> Section | None:
    """Of a study with several objectives, what cannot be had better and smaller at once."""
    points = facts.answer.front
    if "front" not in figures or not points:
        return None
    size = facts.objective[1]
    knee = next(point for point in points if point.knee)
    words = (
        f"Solid: complete trials that no other one beats in both validation loss and {size}. Dashed: PCA with codes of"
        f" the same lengths. Ring: the knee, trial {knee.number}, beyond which more size buys less."
    )
    head = ["trial", "validation loss", "bottleneck", "parameters", "PCA's validation loss"]
    body = table(
        head, [list(point.model_dump(exclude={"knee"}).values()) for point in points], "The front, lowest loss first"
    )
    return Section("front", "Pareto front", join([drawn(figures["front"], words), body]))


def quality(facts: Facts, _: Figures) -> Section | None:
    """What the codes of the best trials are worth beside the loss."""
    trials = [trial for trial in facts.trials[:BEST] if trial.measures]
    if not trials:
        return None
    names = list(dict.fromkeys(name for trial in trials for name in trial.measures))
    head = ["trial", "validation loss", *(_MEASURES.get(name, name.replace("_", " ")) for name in names)]
    rows = [[t.number, t.value, *(t.measures.get(name) for name in names)] for t in trials]
    words = (
        "Measured on validation rows. Effective dimensions: participation ratio of the codes' covariance."
        " Trustworthiness (Venna & Kaski 2001): whether neighbours by code are neighbours in the data; 1 is best."
    )
    return Section("quality", "What the codes are worth", join([table(head, rows), note(words)]))


_MEASURES = {
    "kl": "divergence from the prior (nats)",
    "probe_accuracy": "accuracy of a linear probe",
    "anomaly_auroc": "AUROC of the error",
}


def history(facts: Facts, figures: Figures) -> Section | None:
    """Loss by trial, and the best so far."""
    if "history" not in figures:
        return None
    many = len(facts.trials) > MOST_DOTS
    note = f" Of {len(facts.trials)} trials, {MOST_DOTS} are drawn: the best, and an even spread." if many else ""
    words = f"Line: the best complete trial so far.{note} Values beyond the axis lie on its edge."
    return Section("history", "Optimisation history", join([drawn(figures["history"], words), _dots("best")]))


def importance(facts: Facts, figures: Figures) -> Section | None:
    """What decided whether a trial came among the best."""
    if not facts.searched:
        return None
    if "importance" not in figures:
        words = "Too few trials have ended, or only one parameter is searched: importance cannot be told from chance."
        return Section("importance", "Parameter importance", note(words))
    words = (
        "Share of each parameter in whether a trial came among the best (PED-ANOVA, Watanabe et al. 2023, of Optuna),"
        " from the order of all trials, pruned ones included. It says what mattered in this space and these trials,"
        " not in which direction."
    )
    return Section("importance", "Parameter importance", drawn(figures["importance"], words))


def slices(facts: Facts, figures: Figures) -> Section | None:
    """Every searched parameter against the loss, and the two most important ones together."""
    order = list(facts.importance or facts.searched)
    order += [name for name in facts.searched if name not in order]
    charts = [element("figure", figures[f"slice_{name}"]) for name in order if f"slice_{name}" in figures]
    if not charts:
        return None
    body = [element("div", *charts, class_="grid3"), _dots("ring")]
    if "contour" in figures:
        names = " and ".join(most_important(facts))
        body += [
            element("h3", f"{names} together"),
            element("figure", figures["contour"]),
            key("best trial", "last in rank"),
        ]
    return Section("slices", "Searched parameters", join(body))


def curves(_: Facts, figures: Figures) -> Section | None:
    """Validation loss by epoch."""
    if "curves" not in figures:
        return None
    words = f"The best {BEST} trials in colour, the winner strongest; all others in grey."
    return Section("curves", "Learning curves", drawn(figures["curves"], words))


def final(facts: Facts, _: Figures) -> Section | None:
    """The best configurations, each trained again with several seeds."""
    known = facts.answer.final
    if known is None:
        return None
    head = ("trial", "mean validation loss", "95 % from", "to", "by seed")
    rows = [[each.trial, each.mean, each.low, each.high, _by_seed(each.losses)] for each in known.configurations]
    measured = [table(head, rows)]
    if any(each.choosing for each in known.configurations):
        measured = _chosen_and_measured(known)
    body = [element("p", known.sentence), *measured, *_exported(facts), note(f"By {known.method}.")]
    return Section("final", "Final stage", join(body))


def _exported(facts: Facts) -> list[Html]:
    """What the exported run's loss is: it was chosen by it, so the mean is what another training may expect."""
    model = facts.answer.winner
    if model is None or model.mean is None or len(model.validation_losses or ()) < 2:
        return []
    loss, kind, mean = shown(model.validation_loss), model.validation_loss_is, shown(model.mean)
    return [note(f"Exported is {model.run}, with a validation loss of {loss}: {kind}, so below their mean, {mean}.")]


def _chosen_and_measured(known: FinalStage) -> list[Html]:
    """By rules 4: the configurations by the seeds that choose, and the winner's further ones."""
    head = ("trial", "ended as", "predicted loss", "losses of the seeds that choose")
    rows = [
        [each.trial, "pruned" if each.pruned else "complete", each.predicted, _by_seed(each.choosing)]
        for each in known.configurations
    ]
    chosen = [table(head, rows, "What the winner was chosen by, the winner first")]
    best = known.best
    if best is None:
        return chosen
    measured = ("trial", "mean validation loss", "95 % from", "to", "by seed")
    row = [best.trial, best.mean, best.low, best.high, _by_seed(best.losses)]
    return [*chosen, table(measured, [row], "The winner's further seeds")]


def _by_seed(losses: Sequence[float | None]) -> str:
    return ", ".join("lost" if loss is None else f"{loss:.4g}" for loss in losses)


def time_spent(facts: Facts, figures: Figures) -> Section | None:
    """Where the time went, and what was pruned when."""
    body = []
    if "timeline" in figures:
        words = "Each bar is a segment: some trials of a pack, trained up to a rung. Darker bars belong to later rungs."
        body += [pairs(_times(facts)), drawn(figures["timeline"], words)]
    if "rungs" in figures:
        body += [element("h3", "What was pruned, and when"), element("figure", figures["rungs"])]
    body += [note(_saved(facts))] if facts.trials else []
    body += _reasons(facts)
    return Section("time", "Time and pruning", join(body)) if body else None


def _times(facts: Facts) -> list[tuple[str, object]]:
    times, seconds = spent(facts), facts.answer.seconds
    waited = times.waited / ((times.trained + times.waited) or 1.0)
    rows: list[tuple[str, object]] = [
        ("training, all workers together", _seconds(times.trained)),
        ("from the first segment to the last", _seconds(times.between)),
        ("workers waiting meanwhile (search, records, starts)", f"{_seconds(times.waited)}, {100 * waited:.0f} %"),
        ("before the first segment (data, imports, first proposals)", _seconds(times.before)),
    ]
    if seconds is not None:
        rest = max(0.0, seconds - times.between - times.before)
        rows.append(
            (
                "in all, without the last publishing",
                f"{_seconds(seconds)}, {_seconds(rest)} of it after the last segment",
            )
        )
    if (pause := gaps(facts)) > 1:
        rows.append(("between runs of the study, not counted", _seconds(pause)))
    rows.append(("records that wait for MLflow", facts.answer.mlflow.waiting or "none"))
    return rows


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _saved(facts: Facts) -> str:
    amount, unit = facts.length.amount, facts.length.unit
    trained = round(sum(amount(trial.epochs) for trial in facts.trials))
    if facts.length.is_open:
        return f"{trained:,} {unit} were trained; a trial that was not pruned trained until its loss was flat."
    full = len(facts.trials) * amount(facts.length.plan.intervals)
    share = 100 * trained / full if full else 0
    return f"{trained:,} {unit} were trained, {share:.0f} % of the {full:,} that these trials have unpruned."


def _reasons(facts: Facts) -> list[Html]:
    """Trials that ended by themselves, with their reasons."""
    odd = [trial for trial in facts.trials if trial.state in ("diverged", "failed", "infeasible")]
    if not odd:
        return []
    odd.sort(key=lambda trial: trial.number)
    rows = [(t.number, t.state, facts.length.amount(t.epochs), t.reason) for t in odd[:MOST_REASONS]]
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(t.state for t in odd).items()))
    more = f"; the first {MOST_REASONS}" if len(odd) > MOST_REASONS else ""
    return [
        table(
            ("trial", "state", facts.length.unit, "reason"),
            rows,
            f"Trials that could not be trained on: {counts}{more}",
        )
    ]


def declaration(facts: Facts, _: Figures) -> Section:
    """What was declared, with what it ran, and how to run it again."""
    about = [
        ("study", facts.study),
        ("its file", Path(facts.source).name),
        ("seed", str(facts.seed)),
        ("begun", moment(facts.created_at)),
        ("last change of state", moment(facts.changed_at)),
        ("data's fingerprint", facts.fingerprint),
        *((f"{name}'s version", version) for name, version in facts.versions.items()),
    ]
    again = [
        note(
            "Save the declaration as study.yaml, with the data where it says. The same versions and seed give the same"
            " trials, bit for bit on one kind of processor."
        ),
        element(
            "pre",
            element("code", f"tuner run study.yaml\ntuner export {facts.study} best/"),
        ),
    ]
    body = [
        element("h3", "How to reproduce it"),
        *again,
        *_older_rules(facts.rules),
        *_of_data(facts.events),
        element("h3", "Declaration"),
        element("pre", element("code", whole(facts.declaration))),
        element("h3", "Seed and versions"),
        pairs(about),
    ]
    return Section("declaration", "Declaration and versions", join(body))


def _of_data(events: Sequence[Event]) -> list[Html]:
    """What was decided about the data when the study began."""
    notes: list[object] = next((event.body["notes"] for event in events if event.kind == "data"), [])
    return [element("h3", "The data"), *(note(str(each)) for each in notes)] if notes else []


def _older_rules(rules: int) -> list[Html]:
    words = f"This study was begun by rules {rules}, a new one has rules {NEWEST}: {DIFFERENCE}."
    return [note(words)] if rules < NEWEST else []


# The page's order. A section of another part of the answer is one more line here.
SECTIONS: tuple[Callable[[Facts, Figures], Section | None], ...] = (
    leaderboard,
    final,
    front,
    history,
    importance,
    slices,
    curves,
    columns,
    reconstructions,
    quality,
    code,
    time_spent,
    declaration,
)
