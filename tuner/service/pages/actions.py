"""What can be done with a study from its page: buttons, and what can be taken away."""

from __future__ import annotations

from urllib.parse import quote

from tuner.answers.service import StudyDetail, StudyItem
from tuner.places import DASHBOARD
from tuner.report.markup import Html, element
from tuner.service.pages.frame import Viewer, button, post

_ACTIVE = ("queued", "starting", "running")


def actions(detail: StudyDetail, viewer: Viewer) -> list[Html]:
    """The buttons that fit the study's state, for those who may launch."""
    if not viewer.may("launch"):
        return []
    item, base = detail.item, f"/studies/{quote(detail.item.name, safe='')}"
    copy = element("a", "Launch a copy", href=f"/launch?copy={quote(item.name, safe='')}", class_="button")
    return [element("div", *_buttons(item, base), copy, class_="actions", role="group", aria_label="What to do")]


def _buttons(item: StudyItem, base: str) -> list[Html]:
    if item.state == "archived":
        named = element("input", type="hidden", name="name", value=item.name)
        delete = post("/bulk", named, button("Delete", "stop", name="action", value="delete"))
        return [post(f"{base}/restore", button("Take out of the archive")), delete]
    if item.state == "stopping":
        return []
    if item.state in _ACTIVE:
        return [post(f"{base}/stop", button("Stop", "stop")), *_go_on(item, base)]
    return [*_go_on(item, base), post(f"{base}/archive", button("Archive"))]


def _go_on(item: StudyItem, base: str) -> list[Html]:
    """Continue, or go on to more trials; without a study's total there is nothing to raise yet."""
    if not item.total:
        again = {"failed": "Try again", "stopped": "Continue"}.get(item.state)
        return [post(f"{base}/continue", button(again, "main"))] if again else []
    least = item.total + 1 if item.state in ("finished", *_ACTIVE) else item.total
    usual = item.total if item.state in ("stopped", "failed") else 2 * item.total
    words = {"failed": "Try again", "stopped": "Continue", "finished": "Continue"}.get(item.state, "Go on to more")
    amount = element("input", type="number", id="trials", name="trials", min=least, value=usual, required="required")
    label = element("label", "to", for_="trials")
    kind = "" if item.state in _ACTIVE else "main"
    return [
        post(f"{base}/continue", button(words, kind), label, amount, element("span", "trials in all"), class_="inline")
    ]


def downloads(detail: StudyDetail, mlflow: str | None) -> Html:
    """What can be taken away, and where else the study is shown."""
    item, answer = detail.item, detail.answer
    base = f"/api/v1/studies/{quote(item.name, safe='')}"
    links = []
    if answer is not None and answer.winner is not None:
        links += [
            _link(f"{base}/export.zip", "Model and configuration (zip)", f"{item.name}.zip"),
            _link(f"{base}/config.yaml", "Best configuration (YAML)", f"{item.name}-best.yaml"),
        ]
    if answer is not None:
        links += [
            _link(f"{base}/trials?format=csv", "Trials (CSV)", f"{item.name}-trials.csv"),
            _link(f"{base}/report", "Report"),
        ]
    links.append(_link(f"{base}/space.yaml", "Space file", f"{item.name}.yaml"))
    if mlflow is not None:
        words = "In MLflow, while tuner dashboard runs" if mlflow.startswith(DASHBOARD) else "These runs in MLflow"
        links.append(element("a", words, href=mlflow, rel="noreferrer"))
    return element("ul", *(element("li", link) for link in links), class_="links", aria_label="To take away")


def _link(url: str, words: str, file: str | None = None) -> Html:
    return element("a", words, href=url, download=file)
