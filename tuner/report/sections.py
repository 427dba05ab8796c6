"""The sections of a report, each from a study's plain facts; one that has nothing to say is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuner.report.facts import Facts
from tuner.report.figures import BEST, MOST_DOTS, most_important
from tuner.report.markup import Html, element, join, shown, table, whole
from tuner.report.svg import Chart, axis_of, colour, key
from tuner.report.timeline import gaps, spent
from tuner.spec.rules import DIFFERENCE, NEWEST

Figures = Mapping[str, Html]
MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its anchor, its heading and what stands in it."""

    anchor: str
    title: str
    body: Html


def leaderboard(facts: Facts, _: Figures) -> Section | None:
    """The best ten trials with their parameters; what is the same for all is said once."""
    trials = facts["trials"][:BEST]
    if not trials:
        return None
    names = list(facts["searched"])
    head = ["trial", "state", "validation loss", "at epoch", "epochs", *names]
    rows = [[t[k] for k in ("number", "state", "value", "best_epoch", "epochs")] + _values(t, names) for t in trials]
    fixed = {name: value for name, value in trials[0]["params"].items() if name not in names}
    order = "Complete trials by validation loss, then those that ended early by how far they came."
    body = [table(head, rows, f"The best {len(trials)} of {len(facts['trials'])} trials")]
    if trials[0]["state"] == "complete":
        body[0] = Html(body[0].replace("<tbody><tr>", '<tbody><tr class="first">', 1))
    body.append(_note(order + (f" Fixed for all: {_pairs_in_words(fixed)}." if fixed else "")))
    return Section("leaderboard", "Leaderboard", join(body))


def _dots(best: str) -> Html:
    """What the dots mean."""
    kinds = {"": "complete", "open": "ended early or running: its best so far", best: "best"}
    parts = (element("span", element("i", class_=kind or None), words) for kind, words in kinds.items())
    return element("p", *parts, class_="note dots")


def _values(trial: Facts, names: Sequence[str]) -> list[Any]:
    return [trial["params"].get(name) for name in names]


def _pairs_in_words(pairs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in pairs.items())


def front(facts: Facts, figures: Figures) -> Section | None:
    """Of a study with several objectives, what cannot be had better and smaller at once."""
    if "front" not in figures:
        return None
    size = facts["objective"][1]
    knee = next(point for point in facts["front"] if point["knee"])
    words = (
        f"Solid: complete trials that no other one beats in both validation loss and {size}. Dashed: PCA with codes of"
        f" the same lengths. Ring: the knee, trial {knee['number']}, beyond which more size buys less."
    )
    names = ("number", "val_loss", "bottleneck", "parameters", "pca_val_loss")
    head = ["trial", "validation loss", "bottleneck", "parameters", "PCA's validation loss"]
    body = table(head, [[point[name] for name in names] for point in facts["front"]], "The front, lowest loss first")
    return Section("front", "Pareto front", join([_figure(figures["front"], words), body]))


def quality(facts: Facts, _: Figures) -> Section | None:
    """What the codes of the best trials are worth beside the loss."""
    trials = [trial for trial in facts["trials"][:BEST] if trial["measures"]]
    if not trials:
        return None
    names = list(dict.fromkeys(name for trial in trials for name in trial["measures"]))
    head = ["trial", "validation loss", *(_MEASURES.get(name, name.replace("_", " ")) for name in names)]
    rows = [[t["number"], t["value"], *(t["measures"].get(name) for name in names)] for t in trials]
    words = (
        "Measured on validation rows. Effective dimensions: participation ratio of the codes' covariance."
        " Trustworthiness (Venna & Kaski 2001): whether neighbours by code are neighbours in the data; 1 is best."
    )
    return Section("quality", "What the codes are worth", join([table(head, rows), _note(words)]))


_MEASURES = {
    "kl": "divergence from the prior (nats)",
    "probe_accuracy": "accuracy of a linear probe",
    "anomaly_auroc": "AUROC of the error",
}


def history(facts: Facts, figures: Figures) -> Section | None:
    """Loss by trial, and the best so far."""
    if "history" not in figures:
        return None
    many = len(facts["trials"]) > MOST_DOTS
    note = f" Of {len(facts['trials'])} trials, {MOST_DOTS} are drawn: the best, and an even spread." if many else ""
    words = f"Line: the best complete trial so far.{note} Values beyond the axis lie on its edge."
    return Section("history", "Optimisation history", join([_figure(figures["history"], words), _dots("best")]))


def importance(facts: Facts, figures: Figures) -> Section | None:
    """What decided whether a trial came among the best."""
    if not facts["searched"]:
        return None
    if "importance" not in figures:
        words = "Too few trials have ended, or only one parameter is searched: importance cannot be told from chance."
        return Section("importance", "Parameter importance", _note(words))
    words = (
        "Share of each parameter in whether a trial came among the best (PED-ANOVA, Watanabe et al. 2023, of Optuna),"
        " from the order of all trials, pruned ones included. It says what mattered in this space and these trials,"
        " not in which direction."
    )
    return Section("importance", "Parameter importance", _figure(figures["importance"], words))


def slices(facts: Facts, figures: Figures) -> Section | None:
    """Every searched parameter against the loss, and the two most important ones together."""
    order = list(facts.get("importance") or facts["searched"])
    order += [name for name in facts["searched"] if name not in order]
    drawn = [element("figure", figures[f"slice_{name}"]) for name in order if f"slice_{name}" in figures]
    if not drawn:
        return None
    body = [element("div", *drawn, class_="grid3"), _dots("ring")]
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
    return Section("curves", "Learning curves", _figure(figures["curves"], words))


def reconstructions(facts: Facts, _: Figures) -> Section | None:
    """What the winner makes of validation rows."""
    model = facts.get("model")
    if not model:
        reason = facts.get("model_missing")
        return Section("rows", "Reconstructions", _note(f"Not shown: {reason}")) if reason else None
    is_picture = any("original" in row for rows in model["groups"].values() for row in rows)
    errors = model["errors"]
    of = f"the first {model['looked_at']:,} of " if model["looked_at"] < model["rows"] else ""
    words = (
        f"From {of}the {model['rows']:,} validation rows, by the winner; a row's loss is {errors['median']:.4g} in the"
        f" median, 90 % lie between {errors['low']:.4g} and {errors['high']:.4g}, the worst has {errors['worst']:.4g}."
        " Row numbers count from 1. The test rows are kept for the one last score."
    )
    shown_rows = _pictures(model["groups"]) if is_picture else _features(model)
    title = "Reconstructions" if is_picture else "Errors by feature"
    source = [_note(facts["source_note"])] if facts.get("source_note") else []
    return Section("rows", title, join([_note(words), *source, shown_rows]))


def _pictures(groups: Mapping[str, Sequence[Facts]]) -> Html:
    """Originals above their reconstructions."""
    blocks = [
        element("div", element("h3", name.capitalize()), element("ul", *map(_pair, rows)))
        for name, rows in groups.items()
        if rows
    ]
    legend = _note("Each: the original above, its reconstruction below, row number and loss.")
    return join([element("div", *blocks, class_="pictures"), legend])


def _pair(row: Facts) -> Html:
    images = "".join(
        f'<img src="{whole(row[kind])}" alt="{words} of row {row["row"]}">'
        for kind, words in (("original", "original"), ("rebuilt", "reconstruction"))
    )
    return element("li", Html(images), f"{row['row']}", Html("<br>"), row["error"])


def _features(model: Facts) -> Html:
    """The features with the largest errors, and the rows."""
    most = max((each["error"] for each in model["features"]), default=0.0) or 1.0
    rows = [
        (each["name"], _meter(each["error"] / most, each["error"]), each["spread"], _left(each))
        for each in model["features"]
    ]
    count = f"all {len(rows)}" if len(rows) == model["feature_count"] else f"{len(rows)} of {model['feature_count']}"
    head = ("feature", "mean squared error", "of the mean predictor", "left")
    by_feature = table(head, rows, f"Features with the largest errors, {count}, in scaled units")
    by_row = [(name, _rows(found)) for name, found in model["groups"].items()]
    return join([by_feature, element("h3", "Rows by their loss"), pairs(by_row)])


def _rows(found: Sequence[Facts]) -> str:
    return ", ".join(f"row {each['row']} ({each['error']:.4g})" for each in found)


def _meter(share: float, value: float) -> Html:
    bar = element("span", style=f"width: {90 * share:.1f}px")
    return element("div", bar, value, class_="meter")


def _left(feature: Facts) -> str:
    """What the model leaves of the feature's spread."""
    return f"{100 * feature['error'] / feature['spread']:.0f} %" if feature["spread"] > 0 else "–"


def code(facts: Facts, _: Figures) -> Section | None:
    """The code of validation rows in two dimensions."""
    model = facts.get("model")
    if not model or len(model["codes"]) < 2:
        return None
    points = model["codes"]
    x = axis_of((p["x"] for p in points), "the code" if model["code"] == 1 else "first direction of the code", False)
    y = axis_of((p["y"] for p in points), "loss" if model["code"] == 1 else "second direction", False)
    chart = Chart("Codes of validation rows", x, y, 1000, 460)
    ranks = {
        id(point): place / (len(points) - 1) for place, point in enumerate(sorted(points, key=lambda p: p["error"]))
    }
    for point in points:
        said = f"row {point['row']}\nloss {point['error']:.4g}"
        chart.dot(point["x"], point["y"], 3.6, class_="hue", fill=colour(ranks[id(point)]), data_t=said)
    share = sum(model["explained"])
    meaning = {1: "the code's one unit", 2: "the code, turned to its principal axes"}.get(
        model["code"],
        f"principal components of the {model['code']} units; two hold {100 * share:.0f} % of the variance",
    )
    if not share:
        meaning = "all of them have the same code, so the winner has learnt no more than a mean"
    words = f"{len(points):,} validation rows: {meaning}."
    return Section("code", "The code", join([_figure(chart.svg(), words), key("lowest loss", "highest loss")]))


def final(facts: Facts, _: Figures) -> Section | None:
    """The best configurations, each trained again with several seeds."""
    known = facts["summary"].get("final")
    if not known:
        return None
    head = ("trial", "mean validation loss", "95 % from", "to", "by seed")
    rows = [
        [*(each.get(k) for k in ("trial", "mean", "low", "high")), _by_seed(each)] for each in known["configurations"]
    ]
    method = f"By {known['method']}." if known.get("method") else ""
    body = [element("p", known.get("sentence") or ""), table(head, rows), *_exported(facts), _note(method)]
    return Section("final", "Final stage", join(body))


def _exported(facts: Facts) -> list[Html]:
    """What the exported run's loss is: it was chosen by it, so the mean is what another training may expect."""
    model = facts["summary"].get("winner") or {}
    if model.get("mean") is None or len(model["validation_losses"]) < 2:
        return []
    loss, kind = shown(model["validation_loss"]), model["validation_loss_is"]
    return [_note(f"Exported is {model['run']}, with a validation loss of {loss}: {kind}, so below their mean.")]


def _by_seed(configuration: Facts) -> str:
    return ", ".join("lost" if loss is None else f"{loss:.4g}" for loss in configuration["losses"])


def time_spent(facts: Facts, figures: Figures) -> Section | None:
    """Where the time went, and what was pruned when."""
    body = []
    if "timeline" in figures:
        words = "Each bar is a segment: some trials of a pack, trained up to a rung. Darker bars belong to later rungs."
        body += [pairs(_times(facts)), _figure(figures["timeline"], words)]
    if "rungs" in figures:
        body += [element("h3", "What was pruned, and when"), element("figure", figures["rungs"])]
    body += [_note(_saved(facts))] if facts["trials"] else []
    body += _reasons(facts)
    return Section("time", "Time and pruning", join(body)) if body else None


def _times(facts: Facts) -> list[tuple[str, object]]:
    times, summary = spent(facts), facts["summary"]
    waited = times["waited"] / ((times["trained"] + times["waited"]) or 1.0)
    rows: list[tuple[str, object]] = [
        ("training, all workers together", _seconds(times["trained"])),
        ("from the first segment to the last", _seconds(times["open"])),
        ("workers waiting meanwhile (search, records, starts)", f"{_seconds(times['waited'])}, {100 * waited:.0f} %"),
        ("before the first segment (data, imports, first proposals)", _seconds(times["before"])),
    ]
    if summary.get("seconds") is not None:
        rest = max(0.0, summary["seconds"] - times["open"] - times["before"])
        rows.append(
            (
                "in all, without the last publishing",
                f"{_seconds(summary['seconds'])}, {_seconds(rest)} of it after the last segment",
            )
        )
    if (pause := gaps(facts)) > 1:
        rows.append(("between runs of the study, not counted", _seconds(pause)))
    waiting = (summary.get("mlflow") or {}).get("waiting")
    rows.append(("records that wait for MLflow", waiting or "none"))
    return rows


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _saved(facts: Facts) -> str:
    trained = sum(trial["epochs"] for trial in facts["trials"])
    full = len(facts["trials"]) * facts["search"]["epochs"]
    share = 100 * trained / full if full else 0
    return f"{trained:,} epochs were trained, {share:.0f} % of the {full:,} that these trials have unpruned."


def _reasons(facts: Facts) -> list[Html]:
    """Trials that ended by themselves, with their reasons."""
    odd = [trial for trial in facts["trials"] if trial["state"] in ("diverged", "failed", "infeasible")]
    if not odd:
        return []
    odd.sort(key=lambda trial: trial["number"])
    rows = [(t["number"], t["state"], t["epochs"], t["reason"]) for t in odd[:MOST_REASONS]]
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(t["state"] for t in odd).items()))
    more = f"; the first {MOST_REASONS}" if len(odd) > MOST_REASONS else ""
    return [table(("trial", "state", "epochs", "reason"), rows, f"Trials that could not be trained on: {counts}{more}")]


def declaration(facts: Facts, _: Figures) -> Section:
    """What was declared, with what it ran, and how to run it again."""
    about = [
        ("study", facts["study"]),
        ("its file", Path(facts["source"]).name),
        ("seed", str(facts["seed"])),
        ("begun", moment(facts["created_at"])),
        ("last change of state", moment(facts["changed_at"])),
        ("data's fingerprint", facts["fingerprint"]),
        *((f"{name}'s version", version) for name, version in facts["versions"].items()),
    ]
    again = [
        _note(
            "Save the declaration as study.yaml, with the data where it says. The same versions and seed give the same"
            " trials, bit for bit on one kind of processor."
        ),
        element(
            "pre",
            element("code", f"tuner run study.yaml\ntuner export {facts['study']} best/"),
        ),
    ]
    body = [
        element("h3", "How to reproduce it"),
        *again,
        *_older_rules(facts["rules"]),
        element("h3", "Declaration"),
        element("pre", element("code", whole(facts["declaration"]))),
        element("h3", "Seed and versions"),
        pairs(about),
    ]
    return Section("declaration", "Declaration and versions", join(body))


def _older_rules(rules: int) -> list[Html]:
    words = f"This study was begun by rules {rules}, a new one has rules {NEWEST}: {DIFFERENCE}."
    return [_note(words)] if rules < NEWEST else []


def moment(at: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def pairs(rows: Sequence[tuple[str, object]]) -> Html:
    """Names and values."""
    return element("dl", *(join([element("dt", name), element("dd", value)]) for name, value in rows), class_="pairs")


def _figure(drawn: Html, words: str) -> Html:
    return element("figure", drawn, element("figcaption", words))


def _note(words: str) -> Html:
    return element("p", words, class_="note")


# The page's order. A section of another part of the answer is one more line here.
SECTIONS: tuple[Callable[[Facts, Figures], Section | None], ...] = (
    leaderboard,
    final,
    front,
    history,
    importance,
    slices,
    curves,
    reconstructions,
    quality,
    code,
    time_spent,
    declaration,
)
