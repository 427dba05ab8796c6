"""`metrics.json`: what an exported model is, what it achieved and what it was made with."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tuner.answers.parts import ColumnQuality
from tuner.spec.distributions import Frozen, Scalar, mistake
from tuner.spec.names import Activation, Loss

CONFIG, MODEL, PREPROCESS, METRICS = "config.yaml", "model.safetensors", "preprocess.json", "metrics.json"
DENSITY, ONNX, PT2, README = "density.json", "model.onnx", "model.pt2", "README.md"
FILES_1 = frozenset({CONFIG, MODEL, PREPROCESS, METRICS})  # of an export in the first form
FILES = FILES_1 | {DENSITY, ONNX, PT2, README}


class Baselines(Frozen):
    """The losses to beat, by split: `mean` and `pca`."""

    validation: dict[str, float | None] | None = None
    test: dict[str, float | None] | None = None


class Losses(Frozen):
    """Mean losses over rows and features, in scaled space; None where one was not measured or is not finite.

    Attributes:
        validation: of the exported model.
        validation_is: what that was chosen from, `the lowest of 5 seeds`; None where it was not chosen.
        test: of the exported model.
        baselines: of simpler models.
    """

    validation: float | None
    validation_is: str | None = None
    test: float | None
    baselines: Baselines


class Confirmed(Frozen, extra="ignore"):
    """What the final stage says of the exported configuration: validation losses over several seeds.

    Attributes:
        mean: over the seeds whose runs were completed.
        low: of the 95 % interval of the mean; None where there is one such seed.
        high: its upper end.
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


class Checked(Frozen):
    """What a threshold comes to on rows that did not set it: `above` of `rows` score higher."""

    rows: int
    above: int

    @property
    def share(self) -> float:
        """Of the rows, those above."""
        return self.above / self.rows


class Faults(Frozen):
    """What a threshold comes to on validation rows whose label says whether they are faults, the rarer of two classes.

    Attributes:
        rows: faults among them.
        found: faults that score above the threshold.
        normal: rows that are none.
        alarms: of those, the ones that score above it.
    """

    rows: int = Field(ge=0)
    found: int = Field(ge=0)
    normal: int = Field(ge=0)
    alarms: int = Field(ge=0)

    @property
    def recall(self) -> float | None:
        """Of the faults, those that are found; None where there are none."""
        return self.found / self.rows if self.rows else None

    @property
    def precision(self) -> float | None:
        """Of the rows above the threshold, those that are faults; None where there are none."""
        above = self.found + self.alarms
        return self.found / above if above else None


class Anomaly(Frozen):
    """Where a score begins to be unusual; see `tuner.export.threshold`.

    Attributes:
        quantile: share of fresh rows that are not to count as anomalies, as it was asked for. Up to form 2: the share
            of the validation rows that score at most `threshold`.
        threshold: rows that score higher are anomalies; None where so many rows scored infinity that there is none.
        rows: rows that set it.
        split: whose they are.
        expected: share of fresh rows like them that is above it on average; None up to form 2.
        checked: the other half of the test rows; None where the validation rows set it.
        faults: what it finds of labelled faults; then normal rows alone set it, and `checked` are normal rows. None
            where labels have not two classes, or the study is of rules before 3.
    """

    quantile: float = Field(gt=0, le=1)
    threshold: float | None = Field(ge=0)
    rows: int = Field(ge=0)
    split: Literal["validation", "test"] = "validation"
    expected: float | None = None
    checked: Checked | None = None
    faults: Faults | None = None


class Card(Frozen, extra="ignore"):
    """The whole of `metrics.json`.

    Attributes:
        final: what the final stage says; None where there was none.
        format: version of the export's form: 1 has neither graphs nor density, 2 has all of `FILES`, 3 says on which
            rows the threshold was set, 4 may have a skip around encoder and decoder, 5 bounds of its outputs.
        sizes: units of every layer, input and output included.
        parameters: weights and biases in all.
        bounded: columns whose reconstructions do not pass a limit.
        step: what trained it: `avx512`, `avx2` or `plain` of the compiled step, or `torch`; None where nothing tells.
        files: sha256 of the other files but config.yaml, which may be edited for another training.
        anomaly: None in an export in the first form.
        source_note: what had become of the data's source when this was exported; empty where it was as it had been.
        columns: of a table, how well each column of the test rows is reconstructed; empty where that was not measured.
    """

    format: Literal[1, 2, 3, 4, 5] = 5
    study: str
    trial: int
    seed: int
    best_epoch: int | None
    epochs: int = Field(ge=0)
    losses: Losses
    final: Confirmed | None = None
    params: dict[str, Scalar]
    parameters: int = Field(ge=1)
    bounded: int = Field(0, ge=0)
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=3)
    activation: Activation
    loss: Loss
    fingerprint: str | None
    device: str | None
    step: str | None = None
    versions: dict[str, str]
    created_at: str
    files: dict[str, str]
    anomaly: Anomaly | None = None
    source_note: str = ""
    columns: tuple[ColumnQuality, ...] = ()

    @model_validator(mode="after")
    def _mirrored(self) -> Self:
        if self.sizes != self.sizes[::-1] or len(self.sizes) % 2 == 0:
            raise mistake(f"sizes must be mirrored around the code, got {list(self.sizes)}")
        return self


def digest(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()
