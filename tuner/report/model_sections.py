"""The sections of a report that show what the winner makes of validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.answers.columns import HEAD, MEANING, left_out
from tuner.answers.columns import shown as shown_columns
from tuner.report.cells import Cell
from tuner.report.examples import Examples, Feature, Row
from tuner.report.facts import Facts
from tuner.report.markup import Html, element, join, shown, table, whole
from tuner.report.section import Figures, Section, drawn, note, pairs
from tuner.report.svg import Chart, axis_of, colour, key


def reconstructions(facts: Facts, _: Figures) -> Section | None:
    """What the winner makes of validation rows."""
    model, reason = facts.model, facts.model_missing
    if model is None:
        return Section("rows", "Reconstructions", note(f"Not shown: {reason}")) if reason else None
    is_picture = any(row.original for rows in model.groups.values() for row in rows)
    errors = model.errors
    of = f"the first {model.looked_at:,} of " if model.looked_at < model.rows else ""
    words = (
        f"From {of}the {model.rows:,} validation rows, by the winner; a row's loss is {errors.median:.4g} in the"
        f" median, 90 % lie between {errors.low:.4g} and {errors.high:.4g}, the worst has {errors.worst:.4g}."
        " Row numbers count from 1. The test rows are kept for the one last score."
    )
    shown_rows = _pictures(model.groups) if is_picture else _features(model)
    title = "Reconstructions" if is_picture else f"Errors by {'column' if model.columns else 'feature'}"
    source = [note(facts.source_note)] if facts.source_note else []
    return Section("rows", title, join([note(words), *source, shown_rows]))


def _pictures(groups: Mapping[str, Sequence[Row]]) -> Html:
    """Originals above their reconstructions."""
    blocks = [
        element("div", element("h3", name.capitalize()), element("ul", *map(_pair, rows)))
        for name, rows in groups.items()
        if rows
    ]
    legend = note("Each: the original above, its reconstruction below, row number and loss.")
    return join([element("div", *blocks, class_="pictures"), legend])


def _pair(row: Row) -> Html:
    images = "".join(
        f'<img src="{whole(source or "")}" alt="{words} of row {row.row}">'
        for source, words in ((row.original, "original"), (row.rebuilt, "reconstruction"))
    )
    return element("li", Html(images), f"{row.row}", Html("<br>"), row.error)


def _features(model: Examples) -> Html:
    """The features or columns with the largest errors, and the rows."""
    most = max((each.error for each in model.features), default=0.0) or 1.0
    rows = [(each.name, _meter(each.error / most, each.error), each.spread, _left(each)) for each in model.features]
    count = f"all {len(rows)}" if len(rows) == model.feature_count else f"{len(rows)} of {model.feature_count}"
    what, error, units = ("column", "mean loss", "where they have a value")
    if not model.columns:
        what, error, units = ("feature", "mean squared error", "in scaled units")
    head = (what, error, "of the mean predictor", "left")
    by_feature = table(head, rows, f"{what.capitalize()}s with the largest errors, {count}, {units}")
    return join([by_feature, element("h3", "Rows by their loss"), _by_row(model)])


def _by_row(model: Examples) -> Html:
    """Of a table's rows the column that is reconstructed worst, in the data's own units."""
    if not model.columns:
        return pairs([(name, _rows(found)) for name, found in model.groups.items()])
    rows = [
        (name, each.row, each.error, each.worst.name, _cell(each.worst.value), _cell(each.worst.guess))
        for name, found in model.groups.items()
        for each in found
        if each.worst is not None
    ]
    return table(("", "row", "loss", "worst column", "its value", "its reconstruction"), rows)


def _cell(value: Cell) -> str:
    """Of columns of several kinds, so as words, and with all digits that it has."""
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def columns(facts: Facts, _: Figures) -> Section | None:
    """How well each column of a table is reconstructed: on the test rows, or on validation rows until they are met."""
    found, rows = facts.answer.columns, "the test rows"
    if not found and facts.model is not None:
        found, rows = tuple(facts.model.columns), "validation rows"
    if not found:
        return None
    words = f"By the winner, on {rows}, the worst first. {MEANING}"
    body = [note(words), table(HEAD, shown_columns(found))]
    return Section("columns", "Columns", join([*body, *([note(left_out(found))] if left_out(found) else [])]))


def _rows(found: Sequence[Row]) -> str:
    return ", ".join(f"row {each.row} ({each.error:.4g})" for each in found)


def _meter(share: float, value: float) -> Html:
    bar = element("span", style=f"width: {90 * share:.1f}px")
    return element("div", bar, value, class_="meter")


def _left(feature: Feature) -> str:
    """What the model leaves of the feature's spread."""
    return f"{100 * feature.error / feature.spread:.0f} %" if feature.spread > 0 else "–"


def code(facts: Facts, _: Figures) -> Section | None:
    """The code of validation rows in two dimensions."""
    model = facts.model
    if model is None or len(model.codes) < 2:
        return None
    points = model.codes
    x = axis_of((p.x for p in points), "the code" if model.code == 1 else "first direction of the code", False)
    y = axis_of((p.y for p in points), "loss" if model.code == 1 else "second direction", False)
    chart = Chart("Codes of validation rows", x, y, 1000, 460)
    ranks = {id(point): place / (len(points) - 1) for place, point in enumerate(sorted(points, key=lambda p: p.error))}
    for point in points:
        said = f"row {point.row}\nloss {point.error:.4g}"
        chart.dot(point.x, point.y, 3.6, class_="hue", fill=colour(ranks[id(point)]), data_t=said)
    share = sum(model.explained)
    meaning = {1: "the code's one unit", 2: "the code, turned to its principal axes"}.get(
        model.code,
        f"principal components of the {model.code} units; two hold {100 * share:.0f} % of the variance",
    )
    if not share:
        meaning = "all of them have the same code, so the winner has learnt no more than a mean"
    words = f"{len(points):,} validation rows: {meaning}."
    return Section("code", "The code", join([drawn(chart.svg(), words), key("lowest loss", "highest loss")]))
