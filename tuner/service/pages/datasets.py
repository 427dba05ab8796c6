"""The page of registered data."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from tuner.answers.service import DatasetItem
from tuner.report.markup import Html, element, join
from tuner.service.pages.frame import Notice, Viewer, button, heading, labelled, page, panel, post
from tuner.service.pages.words import moment, size


def datasets_page(items: Sequence[DatasetItem], viewer: Viewer, most: int | None, notice: Notice | None = None) -> str:
    """The whole page.

    Args:
        items: what is registered.
        viewer: who looks.
        most: bytes that may be uploaded; None where nothing may.
        notice: what came of the last request.
    """
    parts = [heading("Data sets"), _known(items, viewer)]
    if viewer.may("launch"):
        parts.append(_upload(most))
    return page("Data sets", join([*parts, _by_hand()]), viewer, "/datasets", notice)


def _known(items: Sequence[DatasetItem], viewer: Viewer) -> Html:
    if not items:
        words = "No data is registered yet. Upload a file below, or register one that lies on the server."
        return element("section", element("p", words), class_="empty")
    titles = (("Name", None), ("Size", "extra"), ("Registered", "extra"), ("By", "extra"), ("", None))
    head = element("tr", *(element("th", each, scope="col", class_=kind) for each, kind in titles))
    rows = [_row(each, viewer) for each in items]
    inside = element("table", element("thead", head), element("tbody", *rows))
    return element("section", element("div", inside, class_="wide", tabindex=0, role="region", aria_label="Data sets"))


def _row(each: DatasetItem, viewer: Viewer) -> Html:
    source = f"dataset:{each.name}"
    links = []
    if viewer.may("launch"):
        launch = f"/launch?source={quote(source, safe='')}"
        links.append(element("a", "Launch a study", href=launch, aria_label=f"Launch a study on {each.name}"))
        name = f"Forget {each.name}"
        links.append(post(f"/datasets/{quote(each.name, safe='')}/remove", button("Forget", "plain", aria_label=name)))
    return element(
        "tr",
        element("th", element("code", source), scope="row"),
        element("td", size(each.size), class_="short extra"),
        element("td", moment(each.at), class_="short extra"),
        element("td", each.by, class_="extra"),
        element("td", *links, class_="row-actions"),
        id=f"dataset-{each.name}",
    )


def _upload(most: int | None) -> Html:
    if most is None:
        return panel("upload", "Upload", element("p", "This service takes no uploads: it has no data root."))
    name = element(
        "input",
        id="name",
        name="name",
        required="required",
        pattern="[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}",
        autocomplete="off",
    )
    file = element("input", id="file", name="file", type="file", required="required")
    hint = f"A table (.csv, .parquet, …) or arrays (.npy, .npz); at most {size(most)}."
    fields = [
        labelled("Name", name, "name", "Letters, digits, _, . and -; studies call it dataset:NAME."),
        labelled("File", file, "file", hint),
        element(
            "div", button("Upload", "main"), element("progress", max=1, value=0, hidden="hidden"), class_="actions"
        ),
        element("p", role="status", class_="note", id="upload-said"),
    ]
    form = element("form", *fields, id="upload-form", data_most=most)
    return panel("upload", "Upload", form, element("noscript", element("p", "Uploading here needs JavaScript.")))


def _by_hand() -> Html:
    words = "What lies on the server is registered there, under the data root:"
    return element("p", f"{words} ", element("code", "tuner data add NAME PATH"), class_="note")
