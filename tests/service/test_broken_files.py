"""The claim that a browser and a shell hear the same of a mistake."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from serving import Service

from tuner.errors import SpecError
from tuner.service.declarations import SOURCE
from tuner.service.options import Limits
from tuner.spec.reader import read_spec_text

FILES = Path(__file__).parents[2] / "search_spaces"
COUNT = 1000
WORDS = [
    "-1",
    "1e400",
    "no",
    "''",
    "[",
    "{",
    "}",
    ":",
    "- x",
    "&a",
    "*a",
    "!!int 3",
    "\t",
    "0x1f",
    "007",
    "~",
    "???",
    "\u2028",
]


def broken(text: str, draw: random.Random) -> str:
    """A space file with one to three lines changed, lost, doubled, moved or replaced."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(lines))
        change = draw.randrange(6)
        if change == 0:
            del lines[place]
        elif change == 1:
            lines.insert(place, lines[draw.randrange(len(lines))])
        elif change == 2:
            lines[place] = f"{' ' * draw.randint(0, 4)}{lines[place].lstrip()}"
        elif change == 3:
            head, colon, _ = lines[place].partition(":")
            lines[place] = f"{head}{colon} {draw.choice(WORDS)}\n"
        elif change == 4:
            at = draw.randint(0, len(lines[place]))
            lines[place] = lines[place][:at] + draw.choice(WORDS) + lines[place][at:]
        else:
            lines[place] = lines[place][: draw.randint(0, len(lines[place]))] + "\n"
    return "".join(lines)


def test_a_thousand_broken_files_have_the_command_line_s_mistakes(service_of: Callable[..., Service]) -> None:
    """At the same lines and keys, in the same words; none is launched but those that are whole after all."""
    service = service_of(limits=Limits(requests_per_second=1e6, burst=10**6))
    draw, whole = random.Random(16), 0
    texts = [path.read_text() for path in sorted(FILES.glob("*.yaml"))]
    for _ in range(COUNT):
        text = broken(draw.choice(texts), draw)
        answer = service.ask("POST", "studies", content=text.encode())
        try:
            spec = read_spec_text(text, SOURCE)
        except SpecError as error:
            expected = [(each.line, each.key, each.message) for each in error.problems]
            assert answer.status_code == 422, text
            found = [(each["line"], each["key"], each["message"]) for each in answer.json()["errors"]]
            assert found == expected, text
            assert answer.json()["detail"] == str(error)
            continue
        whole += 1
        assert answer.status_code in {200, 201, 409} or spec.data.source.partition(":")[0] != "sklearn", answer.text
    assert whole < COUNT / 2
