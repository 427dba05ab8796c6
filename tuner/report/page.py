"""A study's report: one HTML file that opens anywhere, asks nothing of any network, and prints.

No library draws it: Plotly's script alone has 4.8 MB, all charts of a study of a hundred trials have 0.2 MB as SVG.
The page's policy allows its own script by digest and nothing else, so that no name in the data can bring in another.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from pathlib import Path

from tuner.answers.study import Recommendation
from tuner.export.folder import check_file, replace_file
from tuner.ledger.records import TrialRecord
from tuner.report.facts import Facts, verdict
from tuner.report.figures import all_figures
from tuner.report.markup import Html, element, join, shown
from tuner.report.section import Section, moment
from tuner.report.sections import SECTIONS
from tuner.report.svg import STYLE

_HERE = Path(__file__)
ENDINGS = (".html", ".htm")


def write_report(facts: Facts, path: Path) -> Path:
    """Write the page whole or not at all; an existing file is replaced.

    Raises:
        ExportError: the file cannot be written.
    """
    check_file(path, ENDINGS)
    content = page(facts)
    replace_file(path, lambda new: new.write_text(content, encoding="utf-8"))
    return path


def page(facts: Facts) -> str:
    """The whole page."""
    figures = all_figures(facts)
    sections = [made for make in SECTIONS if (made := make(facts, figures)) is not None]
    script = _HERE.with_name("report.js").read_text(encoding="utf-8")
    style = STYLE.read_text(encoding="utf-8") + _HERE.with_name("report.css").read_text(encoding="utf-8")
    head = [
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'),
        element("title", f"{facts.study}: report"),
        Html(f"<style>{style}</style>"),
    ]
    body = [
        element("a", "Skip to the report", class_="skip", href="#report"),
        _header(facts),
        _contents(sections),
        element("main", *(_section(each) for each in sections), id="report"),
        element(
            "footer",
            element("p", f"Written by autoencoder-tuner from the study's record, as of {moment(facts.changed_at)}."),
        ),
        Html('<div id="hint" role="status" hidden></div>'),
        Html(f'<script type="application/json" id="trials">{_hints(facts)}</script><script>{script}</script>'),
    ]
    return f'<!doctype html>\n<html lang="en"><head>{join(head)}</head>\n<body>{join(body)}</body></html>\n'


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'"
    )


def _header(facts: Facts) -> Html:
    state = element("span", facts.state, class_=f"state {facts.state}")
    search, source = facts.search, facts.data.source
    counts = Counter(trial.state for trial in facts.trials)
    trials = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
    about = (
        f"{len(facts.trials)} of {search.trials} trials ({trials}), {_longest(facts)} each;"
        f" sampler {search.sampler}, pruner {search.pruner}, loss {facts.loss}, data {source}."
    )
    return element(
        "header",
        element("h1", facts.study, state),
        element("p", verdict(facts.answer).replace(" %", "\u00a0%"), class_="verdict"),
        element("ul", *_tiles(facts), class_="tiles"),
        element("p", about, class_="about"),
    )


def _longest(facts: Facts) -> str:
    most = f"at most {facts.length.shown(facts.length.plan.intervals)}"
    return f"trained until flat or {most}" if facts.length.is_open else most


def _tiles(facts: Facts) -> list[Html]:
    answer = facts.answer
    found = answer.winner
    seeds = 0 if found is None else len(found.seeds)
    words = f"mean validation loss of {seeds} seeds" if seeds > 1 else "best validation loss"
    tiles = [_tile(None if found is None else found.value, words)]
    if found is not None and found.test_loss is not None and answer.baselines is not None:
        loss, pca = found.test_loss, answer.baselines.pca
        change = f"{abs(100 * (1 - loss / pca)):.0f} % {'lower' if loss < pca else 'higher'}" if pca else "higher"
        tiles += [
            _tile(loss, _of_exported(found) if seeds > 1 else "test loss"),
            _tile(pca, f"PCA({found.params['bottleneck']})'s test loss"),
            _tile(change, "than PCA, on the test rows", "good" if loss < pca else "bad"),
        ]
    tiles.append(_tile(f"{len(facts.trials)}", "trials"))
    if answer.seconds is not None:
        tiles.append(_tile(f"{answer.seconds:,.1f} s", "in all"))
    return tiles


def _of_exported(found: Recommendation) -> str:
    """What the exported run's loss is."""
    mean = "" if found.mean_test_loss is None else f", mean {found.mean_test_loss:.4g}"
    return f"test loss of the exported run, {found.validation_loss_is} by validation loss{mean}"


def _tile(value: object, words: str, kind: str | None = None) -> Html:
    value = f"{value:#.4g}" if isinstance(value, float) else value
    return element("li", element("b", value), element("span", words), class_=kind)


def _contents(sections: list[Section]) -> Html:
    links = (element("li", element("a", each.title, href=f"#{each.anchor}")) for each in sections)
    return element("nav", element("ul", *links), aria_label="Sections")


def _section(each: Section) -> Html:
    heading = f"{each.anchor}-title"
    return element("section", element("h2", each.title, id=heading), each.body, id=each.anchor, aria_labelledby=heading)


def _hints(facts: Facts) -> str:
    """What is shown of the trial under the pointer; a script must not contain `<`."""
    hints = {str(trial.number): _hint(trial, facts) for trial in facts.trials}
    return json.dumps(hints, separators=(",", ":")).replace("<", "\\u003c")


def _hint(trial: TrialRecord, facts: Facts) -> str:
    after = facts.length.shown(trial.epochs)
    first = f"trial {trial.number}: {trial.state}\nloss {shown(trial.value)} after {after}"
    values = [f"{name} {shown(trial.params[name])}" for name in facts.searched if name in trial.params]
    return "\n".join([first, *values])
