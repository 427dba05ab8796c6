"""Rows that are images, beside what a trial makes of them, in the files that MLflow's image charts are made of.

Legend: N rows, (H, W) or (H, W, C) a row's own shape.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, BANDS = 6, 3
MOST = COLUMNS * BANDS  # rows in a picture
_TILE = 48  # pixels that a row's longer side has at least
_GAP = 4
_SMALLEST, _LARGEST = 4, 512  # pixels of a side; what is smaller or larger is hardly an image
_THUMBNAIL = 256  # MLflow's own size
_PLACES = uuid.UUID("b6c1d7de-2f1c-5a80-9a1a-6d7d3c1c5d0e")

Values = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether rows of this shape can be looked at: gray (H, W), or (H, W, C) with 1, 3 or 4 channels."""
    channels = len(shape) in (2, 3) and shape[2:] in ((), (1,), (3,), (4,))
    return channels and min(shape[:2]) >= _SMALLEST and max(shape[:2]) <= _LARGEST


def beside(raw: Values, rebuilt: Values) -> Pixels:
    """Originals in bands, each with its reconstruction below it, as one image.

    Args:
        raw: (N, *shape) in the data's own units, at most `MOST` of them; its range is the picture's, black to white.
        rebuilt: their reconstructions.
    """
    low, high = float(raw.min()), float(raw.max())
    tiles = [_tiles(part, low, high) for part in (raw, rebuilt)]
    height, width, channels = tiles[0].shape[1:]
    rows = -(-len(raw) // COLUMNS)
    columns = min(COLUMNS, len(raw))
    canvas = np.full((rows * (2 * height + 2 * _GAP), columns * (width + _GAP), channels), 255, np.uint8)
    for place in range(len(raw)):
        band, column = divmod(place, COLUMNS)
        top, left = band * (2 * height + 2 * _GAP), column * (width + _GAP)
        for below, part in enumerate(tiles):
            y = top + below * height
            canvas[y : y + height, left : left + width] = part[place]
    return canvas[:-_GAP, :-_GAP].squeeze(-1) if channels == 1 else canvas[:-_GAP, :-_GAP]


def image_files(pixels: Pixels, key: str, study: str, owners: Sequence[str], milliseconds: int) -> dict[str, bytes]:
    """The files that `mlflow.log_image(key=key, step=0)` leaves: path to content, the same paths for the same owner.

    Args:
        pixels: the image.
        key: what MLflow shows it under.
        study: the study's key.
        owners: the runs in it that get it, each a folder.
        milliseconds: its time.
    """
    from PIL import Image, WebPImagePlugin  # noqa: F401, PLC0415 - by name, or Pillow looks through all its formats

    image = Image.fromarray(pixels)
    scale = _THUMBNAIL / max(image.size)
    small = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    files = {".png": encoded(image, "PNG"), "+compressed.webp": encoded(small, "WEBP", method=0)}
    start = f"images/{key}+step+0+timestamp+{milliseconds}"
    names = {owner: f"{owner}/{start}+{uuid.uuid5(_PLACES, f'{study}/{owner}/{key}')}" for owner in owners}
    return {f"{name}{end}": content for name in names.values() for end, content in files.items()}


def encoded(image: Image, form: str, **options: int) -> bytes:
    """An image as a file's content."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def _tiles(rows: Values, low: float, high: float) -> Pixels:
    """Rows (N, *shape) as pixels (N, H, W, C), magnified by a whole factor."""
    scaled = np.clip((rows - low) / ((high - low) or 1.0), 0, 1)
    pixels: Pixels = np.rint(np.nan_to_num(scaled) * 255).astype(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    factor = max(1, -(-_TILE // max(pixels.shape[1:3])))
    return pixels.repeat(factor, 1).repeat(factor, 2)
