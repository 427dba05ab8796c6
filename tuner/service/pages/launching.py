"""The page that launches studies: what it proposes, checks and hands in."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tuner.answers.service import Mistake
from tuner.errors import DataError, InputError, SpecError, TunerError
from tuner.ledger.datasets import PREFIX
from tuner.service.checking import Checker
from tuner.service.declarations import SKLEARN, mistakes
from tuner.service.login import Fields
from tuner.service.pages.asking import PageRoute, viewer_of
from tuner.service.pages.frame import Notice
from tuner.service.pages.launch import Choices, Draft, Verdict, launch_page, verdict_part
from tuner.service.rest.answering import Caller, Checking, Options, Studies, Uploading
from tuner.service.studies import ServiceStudies
from tuner.service.uploads import Uploads, dataset_items
from tuner.spec.canonical import renamed_text

router = APIRouter(include_in_schema=False, route_class=PageRoute)
EXAMPLES: Final = {"sklearn:digits": 8, "sklearn:iris": 2, "sklearn:wine": 4, "sklearn:breast_cancer": 6}
EXAMPLE: Final = """\
name: {name}

data:
  source: {source}

space:                          # a plain value is fixed, a mapping is searched
  learning_rate: {{type: float, low: 1e-4, high: 1e-1, log: true}}
  batch_size:    {{type: categorical, choices: [32, 64, 128]}}
  depth:         {{type: int, low: 1, high: 3}}
  width:         {{type: int, low: 16, high: 256, log: true}}
  activation:    {{type: categorical, choices: [relu, gelu, tanh]}}
  bottleneck:    {bottleneck}             # length of the code

search:
  trials: 54
  epochs: 30
"""


@router.get("/launch")
def launch(
    request: Request, studies: Studies, options: Options, uploads: Uploading, source: str = "", copy: str = ""
) -> HTMLResponse:
    """The form: empty, with a proposal for data, or as a copy of another study."""
    draft, notice = Draft(source=source), None
    try:
        if copy:
            text = renamed_text(studies.text(copy), f"{copy}-copy")
            draft = Draft(text, executor=studies.chosen_executor(copy) or "")
        elif source:
            draft = Draft(_proposed(uploads, source, options.with_sklearn), source)
    except (DataError, InputError) as error:
        notice = Notice(str(error), is_bad=True)
    found = launch_page(draft, _choices(studies, options.with_sklearn), viewer_of(request), notice=notice)
    return HTMLResponse(found, 422 if notice else 200)


@router.post("/launch/check")
def check(request: Request, studies: Studies, options: Options, checker: Checking, given: Fields) -> HTMLResponse:
    """What a declaration would cost, or its mistakes; without scripts on the page itself."""
    draft = _draft(given)
    verdict = _verdict(checker, draft.text)
    if request.headers.get("hx-request"):
        return HTMLResponse(verdict_part(verdict))
    return HTMLResponse(launch_page(draft, _choices(studies, options.with_sklearn), viewer_of(request), verdict))


@router.post("/launch")
def submit(request: Request, studies: Studies, options: Options, caller: Caller, given: Fields) -> Response:
    """Hand the declaration in."""
    draft, verdict, notice = _draft(given), Verdict(), None
    try:
        item, _ = studies.submit(
            draft.text, caller.name, warm_start=draft.warm_start or None, executor=draft.executor or None
        )
        return RedirectResponse(f"/studies/{quote(item.name, safe='')}", 303)
    except SpecError as error:
        verdict = Verdict(mistakes=mistakes(error.problems))
    except TunerError as error:
        notice = Notice(str(error), is_bad=True)
    choices = _choices(studies, options.with_sklearn)
    return HTMLResponse(launch_page(draft, choices, viewer_of(request), verdict, notice), 422)


def _draft(given: dict[str, str]) -> Draft:
    text = given.get("space", "").replace("\r\n", "\n")  # as forms send line breaks
    return Draft(text, warm_start=given.get("warm_start", ""), executor=given.get("executor", ""))


def _verdict(checker: Checker, text: str) -> Verdict:
    """Nothing is said of an empty field."""
    if not text.strip():
        return Verdict()
    try:
        return Verdict(checker.check(text))
    except SpecError as error:
        return Verdict(mistakes=mistakes(error.problems))
    except TunerError as error:  # of its data
        return Verdict(mistakes=[Mistake(line=None, key="", message=str(error))])


def _choices(studies: ServiceStudies, with_sklearn: bool) -> Choices:
    recorded = [item.name for item in studies.all() if item.counts.get("complete")]
    examples = tuple(EXAMPLES) if with_sklearn else ()
    return Choices(dataset_items(studies), examples, recorded, studies.ledger.supervision.executors())


def _proposed(uploads: Uploads, source: str, with_sklearn: bool) -> str:
    """A declaration for registered data, or for an example."""
    if with_sklearn and source in EXAMPLES:
        return EXAMPLE.format(name=source.removeprefix(SKLEARN), source=source, bottleneck=EXAMPLES[source])
    return uploads.proposal(source.removeprefix(PREFIX), {})
