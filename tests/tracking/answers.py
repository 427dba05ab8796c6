"""Files as a study's answer has them, and a saved view as a person can read it."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

from PIL import Image

NAME = "images/reconstructions+step+0+timestamp+1700000000000+00000000-0000-0000-0000-00000000000{}"


def made_up_answer(folder: Path) -> Path:
    """A table and pictures of the study, and pictures of its first trial."""
    for number, owner in enumerate(("study", "trial-0")):
        (folder / owner / "images").mkdir(parents=True)
        picture = Image.new("RGB", (240, 160), (200, 40 * number, 40))
        for ending in (".png", "+compressed.webp"):
            picture.save(folder / owner / (NAME.format(number) + ending))
    (folder / "study" / "worst_rows.json").write_text('{"columns": ["row", "error"], "data": [[7, 0.5]]}')
    return folder


def view_state(tag: str) -> str:
    """The state in a saved view's tag, as JSON."""
    known = json.loads(tag)
    form, _, packed = known.pop("state").partition(";")
    assert form == "deflate"
    return json.dumps({**known, "state": json.loads(zlib.decompress(base64.b64decode(packed)))})
