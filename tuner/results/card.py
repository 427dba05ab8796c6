"""`metrics.json`: what an exported model is, what it achieved and what it was made with."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tuner.spec.distributions import Activation, Frozen, Scalar, mistake
from tuner.spec.study import Loss

CONFIG, MODEL, PREPROCESS, METRICS = "config.yaml", "model.safetensors", "preprocess.json", "metrics.json"
FILES = frozenset({CONFIG, MODEL, PREPROCESS, METRICS})


class Baselines(Frozen):
    """The losses to beat, by split: `mean` and `pca`."""

    validation: dict[str, float | None] | None = None
    test: dict[str, float | None] | None = None


class Losses(Frozen):
    """Mean losses over rows and features, in scaled space; None where one was not measured or is not finite."""

    validation: float | None
    test: float | None
    baselines: Baselines


class Confirmed(Frozen, extra="ignore"):
    """What the final stage says of the exported configuration: validation losses over several seeds.

    Attributes:
        mean: over the seeds whose runs were completed.
        low: of the 95 % interval of the mean; None where there is one such seed.
        high: likewise.
        losses: each seed's; None for a run that was lost.
        exported: which of them the model is, counted from 0.
        mean_test_loss: over the same seeds; `losses.test` is the exported model's alone.
        sentence: whether it is distinguishable from the second.
    """

    mean: float
    low: float | None
    high: float | None
    losses: tuple[float | None, ...]
    exported: int
    mean_test_loss: float | None
    method: str
    sentence: str


class Card(Frozen, extra="ignore"):
    """The whole of `metrics.json`.

    Attributes:
        format: version of the export's form.
        final: what the final stage says; None where there was none.
        sizes: units of every layer, input and output included.
        parameters: weights and biases in all.
        files: sha256 of the files that the model is loaded from.
    """

    format: Literal[1] = 1
    study: str
    trial: int
    seed: int
    best_epoch: int | None
    epochs: int
    losses: Losses
    final: Confirmed | None = None
    params: dict[str, Scalar]
    parameters: int
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=3)
    activation: Activation
    loss: Loss
    fingerprint: str | None
    device: str | None
    versions: dict[str, str]
    created_at: str
    files: dict[str, str]

    @model_validator(mode="after")
    def _mirrored(self) -> Self:
        if self.sizes != self.sizes[::-1] or len(self.sizes) % 2 == 0:
            raise mistake(f"sizes must be mirrored around the code, got {list(self.sizes)}")
        return self


def digest(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()
