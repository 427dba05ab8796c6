"""Style and scripts of the pages, each under an address that holds its digest, so that browsers may keep it."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import tuner.report
import tuner.service

_STATIC: Final = Path(tuner.service.__file__).parent / "static"
_REPORT: Final = Path(tuner.report.__file__).parent
# In the order in which a page loads them. The report's style is the pages' as well: they are one product.
FILES: Final = {
    "report.css": _REPORT / "report.css",
    "uPlot.min.css": _STATIC / "vendor" / "uPlot.min.css",
    "pages.css": _STATIC / "pages.css",
    "htmx.min.js": _STATIC / "vendor" / "htmx.min.js",
    "hx-csp.min.js": _STATIC / "vendor" / "hx-csp.min.js",
    "hx-sse.min.js": _STATIC / "vendor" / "hx-sse.min.js",
    "uPlot.iife.min.js": _STATIC / "vendor" / "uPlot.iife.min.js",
    "pages.js": _STATIC / "pages.js",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load.

    Attributes:
        name: of the file.
        content: its bytes.
        media_type: as HTTP calls it.
        digest: the first 16 hexadecimal digits of its SHA-256.
    """

    name: str
    content: bytes
    media_type: str
    digest: str

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"/static/{self.digest}/{self.name}"


@cache
def assets() -> dict[str, Asset]:
    """Every file by name, read once."""
    return {name: _read(name, path) for name, path in FILES.items()}


def _read(name: str, path: Path) -> Asset:
    content = path.read_bytes()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(name, content, kind, hashlib.sha256(content).hexdigest()[:16])
