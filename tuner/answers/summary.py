"""The answer as the ledger stores it, and the one place where a stored answer of any version is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from tuner.answers.base import Answer, Loss
from tuner.answers.parts import BaselineLosses, ColumnQuality, FinalStage, Scores

FORMAT: Final = 1


class BestScore(Answer):
    """The search's best trial, or the knee of the front.

    Attributes:
        number: the trial.
        value: its validation loss.
        test_loss: None where the final stage's winner was scored in its place.
    """

    number: int
    value: float
    test_loss: Loss | None


class Summary(Answer):
    """What came of a study: written once the winner is scored, and again each time a study that went on is scored.

    Attributes:
        format: version of this form.
        best: the best trial; None where no trial was completed.
        final: what the final stage found; None without a final stage.
        scored: the models that met the test split; None where there was none.
        test_uses: how often the test split has been used; None in a summary from before that was counted.
        baselines: on the test split, with codes as long as the scored model's.
        validation_baselines: on the validation split.
        front_pca: PCA's validation loss for every length of code on the Pareto front.
        columns: of a table, how well the exported run reconstructs each column of the test split; empty in a summary
            from before that was counted.
        seconds: the runs' time in all.
    """

    format: Literal[1] = FORMAT
    best: BestScore | None
    final: FinalStage | None = None
    scored: Scores | None = None
    test_uses: int | None = None
    baselines: BaselineLosses | None = None
    validation_baselines: BaselineLosses | None = None
    front_pca: Mapping[int, Loss] = {}
    columns: tuple[ColumnQuality, ...] = ()
    seconds: float

    def stored(self) -> str:
        """The text that the ledger holds; unlike `--json` it keeps numbers that are not finite."""
        return json.dumps(self.model_dump())


def read_summary(text: str) -> Summary | None:
    """Read a stored summary of this version or an older one; None where nothing was stored yet.

    Raises:
        ValueError: a newer version of the tuner wrote it, or it is damaged.
    """
    known = json.loads(text)
    if not known:
        return None
    try:
        number = known.get("format", 0)
        while number in _UPGRADES:
            known, number = _UPGRADES[number](known), number + 1
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("expected the form of an older version") from error
    return Summary.model_validate(known)


def _from_0(known: Mapping[str, Any]) -> dict[str, Any]:
    """Summaries had no number of their format.

    Those from before the final stage have no `scored`: their best trial is the model that met the test split.
    """
    best = known.get("best") or None
    scored = known.get("scored") or None
    if best is not None:
        best = {name: best.get(name) for name in BestScore.model_fields}
        if scored is None and best["test_loss"] is not None:
            scored = {"trial": best["number"], "runs": [best["number"]], "losses": [best["test_loss"]]}
    others = ("final", "test_uses", "baselines", "validation_baselines", "seconds")
    kept = {name: known.get(name) for name in others}
    return {"format": 1, "best": best, "scored": scored, "front_pca": known.get("front_pca") or {}, **kept}


# From each format to the next one.
_UPGRADES: Final[dict[int, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {0: _from_0}
