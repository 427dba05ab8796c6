"""A study's name, note and tags, in a form on its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from tuner.answers.service import StudyItem
from tuner.errors import InputError
from tuner.ledger.notes import Note
from tuner.report.markup import Html, element, join, whole
from tuner.service.pages.frame import button, labelled, post
from tuner.service.rest.bodies import MOST_NOTE, MOST_TAG, MOST_TAGS
from tuner.service.studies import ServiceStudies


def about_form(item: StudyItem, written: Mapping[str, str] | None = None) -> Html:
    """The form, closed; open with what was written into it where that was refused."""
    given = written or {"name": item.name, "note": item.note, "tags": _listed(item.tags)}
    name, tags = (
        element("input", id=f"about-{key}", name=key, value=given.get(key, ""), autocomplete="off", **more)
        for key, more in (("name", {"required": "required"}), ("tags", {}))
    )
    # The first line break of a textarea's content is dropped by browsers.
    text = join([Html("\n"), whole(given.get("note", ""))])
    note = element("textarea", text, id="about-note", name="note", rows=3, maxlength=MOST_NOTE)
    fields = [
        labelled("Name", name, "about-name", "A study that runs keeps its name."),
        labelled("Note", note, "about-note", "Once the study has begun."),
        labelled("Tags", tags, "about-tags", "With commas between them."),
        element("div", button("Save"), class_="actions"),
    ]
    inside = post(f"/studies/{quote(item.name, safe='')}/about", *fields)
    summary = element("summary", "Name, note and tags")
    return element("details", summary, inside, class_="card", id="about", open="open" if written else None)


def described(studies: ServiceStudies, name: str, given: Mapping[str, str], actor: str) -> StudyItem:
    """Change what the form says otherwise than the record.

    Raises:
        InputError: a text is too long, or there are too many tags.
        SpecError: the name cannot be one.
        StudyError: the name is taken, a process runs the study, or it has no record yet that a note could be of.
    """
    item = studies.item(name)
    new, note = given.get("name", "").strip(), _note(item, given)
    has_other_note = note != Note(item.note, item.tags)
    if has_other_note:
        studies.begun(name)  # asked first, so that a refusal leaves the name as well
    if new != name:
        item = studies.rename(name, new, actor)
    return studies.annotate(item.name, note, actor) if has_other_note else item


def _note(item: StudyItem, given: Mapping[str, str]) -> Note:
    text = given.get("note", "").replace("\r\n", "\n").strip()  # as forms send line breaks
    if len(text) > MOST_NOTE:
        raise InputError(f"note: must have at most {MOST_NOTE:,} characters, got {len(text):,}.")
    words = given.get("tags", "")
    if words == _listed(item.tags):
        return Note(text, item.tags)  # a tag that came over REST may hold a comma
    tags = tuple(dict.fromkeys(tag.strip() for tag in words.split(",") if tag.strip()))
    longest = max(map(len, tags), default=0)
    if len(tags) > MOST_TAGS or longest > MOST_TAG:
        raise InputError(
            f"tags: must be at most {MOST_TAGS} of at most {MOST_TAG} characters each, got {len(tags)}, the longest of"
            f" {longest:,}."
        )
    return Note(text, tags)


def _listed(tags: Sequence[str]) -> str:
    return ", ".join(tags)
