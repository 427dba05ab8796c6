"""What came of a study: the recommended model, the final stage, the baselines; or why it failed."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.answers.parts import BaselineLosses, FinalStage
from tuner.answers.service import StudyItem
from tuner.answers.study import Recommendation, StudyAnswer
from tuner.report.markup import Html, element, join, shown, table, whole
from tuner.service.pages.frame import panel
from tuner.service.pages.words import last_line


def failure(item: StudyItem) -> Html | None:
    """Why it was given up, or is tried again: the last lines of its driver."""
    if not item.message:
        return None
    title = "It failed" if item.state == "failed" else "Its last run failed"
    lines = element("pre", element("code", whole(item.message)), tabindex=0)
    opened = element("details", element("summary", "The last lines of its log"), lines)
    return panel("failure", title, element("p", last_line(item.message)), opened, class_="bad", role="alert")


def recommended(answer: StudyAnswer | None) -> Html | None:
    """The model that the study recommends."""
    found = None if answer is None else answer.winner
    if answer is None or found is None:
        return None
    left = element("div", element("h3", "Configuration"), _pairs(_configuration(found)))
    right = element("div", element("h3", "Losses"), _losses(answer, found))
    title = "Recommended model" if answer.state == "finished" else "Best so far"
    return panel("best", title, element("div", left, right, class_="two"))


def _configuration(found: Recommendation) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("trial", found.trial), *found.params.items()]
    if found.sizes is not None:
        rows.append(("layers", " → ".join(map(str, found.sizes))))
    if found.parameters is not None:
        rows.append(("weights and biases", f"{found.parameters:,}"))
    return [*rows, ("exported", f"{found.run}, seed {found.seed}")]


def _losses(answer: StudyAnswer, found: Recommendation) -> Html:
    test, validation = answer.baselines, answer.validation_baselines
    rows: list[list[object]] = [
        ["this model", found.validation_loss, found.test_loss],
        [f"PCA, code of {found.params.get('bottleneck')}", _of(validation, "pca"), _of(test, "pca")],
        ["mean of the rows", _of(validation, "mean"), _of(test, "mean")],
    ]
    rows = [row for row in rows if any(loss is not None for loss in row[1:])]
    interval = _interval(found)
    note = [element("p", interval, class_="note")] if interval else []
    if found.test_loss is None:
        note.append(element("p", "The test rows are scored once the study is finished.", class_="note"))
    return join([table(["", "validation", "test"], rows), *note])


def _of(losses: BaselineLosses | None, name: str) -> object:
    return None if losses is None else getattr(losses, name)


def _interval(found: Recommendation) -> str:
    if found.mean is None or found.low is None or found.high is None:
        return ""
    seeds = len(found.seeds)
    return f"Mean of {seeds} seeds: {shown(found.mean)}, 95 % interval {shown(found.low)} to {shown(found.high)}."


def final(answer: StudyAnswer | None) -> Html | None:
    """The best configurations, each trained again with several seeds."""
    known = None if answer is None else answer.final
    if known is None:
        return None
    return panel("final", "Final stage", element("p", known.sentence), _configurations(known), _method(known))


def _configurations(known: FinalStage) -> Html:
    head = ["trial", "mean validation loss", "95 % from", "to", "by seed"]
    rows = [[c.trial, c.mean, c.low, c.high, _seeds(c.losses or c.choosing)] for c in known.configurations]
    return table(head, rows, "The winner first")


def _seeds(losses: Sequence[float | None]) -> str:
    return ", ".join("lost" if loss is None else shown(loss) for loss in losses)


def _method(known: FinalStage) -> Html:
    return element("p", f"By {known.method}.", class_="note")


def _pairs(rows: Sequence[tuple[str, object]]) -> Html:
    cells = (element("dt", name) + element("dd", value) for name, value in rows)
    return element("dl", *(Html(cell) for cell in cells), class_="pairs")
