"""What the winner does with rows: reconstructions, errors by feature, and a picture of its code.

The validation rows are shown, in any state of the study: the test rows are for the last score alone.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.trained import Trained
from tuner.data.preprocess import Preprocessor
from tuner.report.pictures import is_image

GROUP = 5  # rows each of the best, the typical and the worst
MOST_FEATURES = 25
MOST_CODES = 1500
MOST_ROWS = 20_000  # that are looked at
MOST_VALUES = 50_000_000  # of them, 0.4 GB in double precision
SIDE = 96  # pixels of a thumbnail at most

Values = NDArray[np.float64]


def examples(trained: Trained) -> dict[str, Any]:
    """Plain facts about the winner's reconstructions of validation rows.

    Returns:
        `rows` and `looked_at` (numbers), `errors` (quantiles of the rows' losses), `groups` (best, typical and worst
        rows: `row`, `error` and, of images, `original` and `rebuilt` as data URIs), `features` (of all else, the worst
        first: `name`, `error` and `spread`, mean squared), `feature_count`, `codes` (`x`, `y`, `error`, `row` each),
        `explained` (the shares of the code's variance that x and y show), `code` (its length).
    """
    network, rows, places = trained.network, trained.rows, trained.places
    preprocessor = trained.prepared.preprocessor
    looked_at = rows.validation[: max(1, min(MOST_ROWS, MOST_VALUES // rows.validation.shape[1]))]
    losses, rebuilt = network.losses(looked_at), network.reconstruct(looked_at)
    quantiles = {name: float(np.quantile(losses, q)) for name, q in (("low", 0.05), ("median", 0.5), ("high", 0.95))}
    is_picture = is_image(preprocessor.shape)
    return {
        "rows": len(rows.validation),
        "looked_at": len(looked_at),
        "errors": quantiles | {"worst": float(losses.max())},
        "groups": _groups(losses, places, _Pictures(preprocessor, looked_at, rebuilt) if is_picture else None),
        "features": [] if is_picture else _features(rows.train, looked_at, rebuilt, preprocessor.names),
        "feature_count": len(preprocessor.names),
        **_codes(network.encode(looked_at), losses, places),
    }


class _Pictures:
    """Rows as thumbnails, all from black to white by one range: that of the originals."""

    def __init__(self, preprocessor: Preprocessor, rows: NDArray[np.float32], rebuilt: NDArray[np.float32]) -> None:
        self._preprocessor, self._pairs = preprocessor, (rows, rebuilt)
        raw = preprocessor.inverse(rows[:1000])
        self._low, self._high = float(raw.min()), float(raw.max())

    def of(self, place: int) -> dict[str, str]:
        """The original and its reconstruction."""
        return {
            name: self._uri(self._preprocessor.inverse(rows[place : place + 1])[0])
            for name, rows in zip(("original", "rebuilt"), self._pairs, strict=True)
        }

    def _uri(self, raw: Values) -> str:
        from PIL import Image  # noqa: PLC0415 - only images need it

        span = self._high - self._low or 1.0
        grey = np.nan_to_num(np.clip((raw - self._low) / span, 0, 1) * 255).round().astype(np.uint8)
        image = Image.fromarray(grey[..., 0] if grey.ndim == 3 and grey.shape[2] == 1 else grey)
        image.thumbnail((SIDE, SIDE))
        content = io.BytesIO()
        image.save(content, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _groups(losses: Values, places: NDArray[np.int64], pictures: _Pictures | None) -> dict[str, list[dict[str, Any]]]:
    """Rows by their loss: from the lowest, around the median, from the highest; no row twice."""
    order = np.argsort(losses, kind="stable")
    size = min(GROUP, max(1, len(order) // 3))
    middle = max(size, (len(order) - size) // 2)
    chosen = {"best": order[:size], "typical": order[size:][middle - size : middle], "worst": order[size:][::-1][:size]}
    if len(order) < 3:
        chosen = {"best": order[:size], "worst": order[size:][::-1]}
    return {
        name: [
            {"row": int(places[at]) + 1, "error": float(losses[at]), **(pictures.of(int(at)) if pictures else {})}
            for at in rows
        ]
        for name, rows in chosen.items()
    }


def _features(
    train: NDArray[np.float32], rows: NDArray[np.float32], rebuilt: NDArray[np.float32], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Mean squared errors by feature, scaled, beside those of the training rows' mean; the worst first."""
    errors = _squares(rows, rebuilt)
    spread = _squares(rows, train.mean(axis=0, dtype=np.float64))
    worst = np.argsort(-errors, kind="stable")[:MOST_FEATURES]
    return [{"name": names[at], "error": float(errors[at]), "spread": float(spread[at])} for at in worst]


def _squares(rows: NDArray[np.float32], guess: NDArray[Any]) -> Values:
    squares: Values = ((rows.astype(np.float64) - guess) ** 2).mean(axis=0)
    return squares


def _codes(codes: NDArray[np.float32], losses: Values, places: NDArray[np.int64]) -> dict[str, Any]:
    """The code's two directions of largest variance (PCA); of a code of one unit, it against the loss."""
    count = min(MOST_CODES, len(codes))
    kept = np.arange(count) * len(codes) // count
    centred = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / (float((sizes**2).sum()) or 1.0)
    if codes.shape[1] == 1:
        points = np.column_stack([codes[:, 0], losses])[kept]
    else:
        flat = centred @ directions[:2].T
        points = np.column_stack([flat, np.zeros((len(flat), 2 - flat.shape[1]))])[kept]
    return {
        "codes": [
            {"x": float(x), "y": float(y), "error": float(losses[at]), "row": int(places[at]) + 1}
            for (x, y), at in zip(points, kept, strict=True)
        ],
        "explained": [float(share) for share in shares[:2]],
        "code": int(codes.shape[1]),
    }
