"""The page that launches a study: data, a proposal for it, the declaration, its mistakes and its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuner.answers.service import Checked, DatasetItem, Mistake
from tuner.report.markup import Html, element, join, whole
from tuner.service.pages.frame import Notice, Viewer, button, heading, page, post
from tuner.service.pages.words import EXECUTORS, duration, size


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody is about to launch.

    Attributes:
        text: the declaration.
        source: the data that the chooser shows.
        warm_start: the study whose best configurations it begins with; empty for none.
        executor: where it is to train; empty for the operator's default.
    """

    text: str = ""
    source: str = ""
    warm_start: str = ""
    executor: str = ""


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from.

    Attributes:
        datasets: registered data.
        examples: data that scikit-learn brings, where the operator lets it be named.
        studies: those that another may begin with.
        executors: where studies may train, the default first.
    """

    datasets: Sequence[DatasetItem] = ()
    examples: Sequence[str] = ()
    studies: Sequence[str] = ()
    executors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the reader says of a declaration: its price, or its mistakes.

    Attributes:
        checked: None where there are mistakes.
        mistakes: in the order of their lines.
    """

    checked: Checked | None = None
    mistakes: Sequence[Mistake] = field(default=())


NOTHING = Verdict()


def launch_page(
    draft: Draft, choices: Choices, viewer: Viewer, verdict: Verdict = NOTHING, notice: Notice | None = None
) -> str:
    """The whole page."""
    parts = [heading("Launch a study"), _chooser(draft, choices), _editor(draft, choices, viewer, verdict)]
    return page("Launch", join(parts), viewer, "/launch", notice)


def _chooser(draft: Draft, choices: Choices) -> Html:
    if not choices.datasets and not choices.examples:
        link = element("a", "register data first", href="/datasets")
        return element("p", "There is no data yet: ", link, ".", class_="notice")
    options = [_option(f"dataset:{each.name}", f"{each.name} ({size(each.size)})", draft) for each in choices.datasets]
    options += [
        _option(name, f"{name.removeprefix('sklearn:')} (example of scikit-learn)", draft) for name in choices.examples
    ]
    select = element("select", *options, id="source", name="source")
    label = element("label", "Data", for_="source")
    hint = element("span", "replaces the declaration below", class_="note")
    shown = element("button", "Propose a declaration", type="submit", class_="button")
    return element("form", label, select, shown, hint, method="get", action="/launch", class_="inline card")


def _option(value: str, words: str, draft: Draft) -> Html:
    return element("option", words, value=value, selected="selected" if value == draft.source else None)


def _editor(draft: Draft, choices: Choices, viewer: Viewer, verdict: Verdict) -> Html:
    check = {"formaction": "/launch/check", "formnovalidate": "formnovalidate"}
    below = [
        element("div", verdict_part(verdict), id="verdict", aria_live="polite"),
        _warm_start(draft, choices),
        _executor(draft, choices),
        element(
            "div",
            button("Launch", "main"),
            element("noscript", button("Check", **check)),
            class_="actions",
        ),
    ]
    return post("/launch", _field(draft, viewer, verdict), *below, class_="card", id="launch")


def _field(draft: Draft, viewer: Viewer, verdict: Verdict) -> Html:
    asks = {
        "hx-post": "/launch/check",
        "hx-trigger": "load, input changed delay:350ms",
        "hx-target": "#verdict",
        "hx-swap": "innerMorph",
        "hx-sync": "this:replace",
        "hx-nonce": viewer.nonce,
    }
    # The first line break of a textarea's content is dropped by browsers.
    area = element(
        "textarea",
        join([Html("\n"), whole(draft.text)]),
        id="space",
        name="space",
        rows=24,
        spellcheck="false",
        autocapitalize="off",
        autocomplete="off",
        wrap="off",
        required="required",
        placeholder="name: my-study\ndata:\n  source: dataset:NAME\nspace:\n  …",
        aria_describedby="verdict",
        aria_invalid="true" if verdict.mistakes else None,
        **asks,
    )
    gutter = element("div", class_="gutter", aria_hidden="true")
    label = element("label", "Declaration (YAML)", for_="space")
    return element("div", label, element("div", gutter, area, class_="editor"), class_="field")


def _warm_start(draft: Draft, choices: Choices) -> Html:
    if not choices.studies:
        return Html("")
    named = {"": "nothing: from its space alone", **{name: name for name in choices.studies}}
    return _chosen("warm_start", "Begin with the best of", named, draft.warm_start)


def _executor(draft: Draft, choices: Choices) -> Html:
    """Where it trains, where the operator leaves that to whoever launches it."""
    if len(choices.executors) < 2:
        return Html("")
    named = {name: EXECUTORS[name] for name in choices.executors}
    return _chosen("executor", "Train on", named, draft.executor)


def _chosen(name: str, words: str, named: Mapping[str, str], value: str) -> Html:
    options = [
        element("option", shown, value=each, selected="selected" if each == value else None)
        for each, shown in named.items()
    ]
    select = element("select", *options, id=name, name=name)
    return element("div", element("label", words, for_=name), select, class_="inline")


def verdict_part(verdict: Verdict) -> Html:
    """What is said of the declaration; it is replaced while somebody types."""
    if verdict.checked is None and not verdict.mistakes:
        return element("p", "What it would cost is shown here, and mistakes with their lines.", class_="note")
    if verdict.mistakes:
        count = len(verdict.mistakes)
        title = element("p", f"{count} mistake{'s' if count > 1 else ''}:", class_="bad")
        return join([title, element("ol", *map(_mistake, verdict.mistakes), class_="mistakes")])
    assert verdict.checked is not None
    return _price(verdict.checked)


def _mistake(each: Mistake) -> Html:
    where = [] if each.line is None else [element("a", f"line {each.line}", href="#space", data_line=each.line), " "]
    key = [element("code", each.key), " "] if each.key else []
    return element("li", *where, *key, each.message)


def _price(found: Checked) -> Html:
    trials = "as many trials as the time allows" if found.trials is None else f"{found.trials:,} trials"
    time = "" if found.seconds is None else f", roughly {duration(found.seconds)} of one core"
    first = element("p", element("b", f"{trials}, {found.epochs}{time}"), class_="good")
    notes = element("ul", *(element("li", words) for words in found.notes), class_="note") if found.notes else ""
    return join([first, _of_data(found), notes])


def _of_data(found: Checked) -> Html:
    """What is known once the data was read."""
    if found.rows is None or found.features is None or found.largest_parameters is None:
        return Html("")
    data = f"{found.rows:,} training rows of {found.features:,} numbers"
    return element(
        "p", f"{data}; the largest model has {found.largest_parameters:,} weights and biases.", class_="note"
    )
