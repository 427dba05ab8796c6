"""Studies side by side, as `tuner compare --json` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from tuner.answers.base import Answer
from tuner.spec.distributions import Scalar

FORMAT: Final = 1
Cells: TypeAlias = tuple[Scalar | None, ...]


class Comparison(Answer):
    """Two studies or more, and whether their losses can be compared.

    Attributes:
        format: version of this form.
        studies: their names.
        rows: what is compared, with a value for each study.
        parameters: each winner's hyperparameters, with a value for each study.
        differing: the parameters that differ.
        fair: whether the losses can be compared.
        differences: why they cannot be, one sentence each.
        verdict: which study is better, in one sentence.
        noise: whether the seeds alone could make the difference.
        exported: which runs the test losses are of; empty where no winner was trained with several seeds.
    """

    format: Literal[1] = FORMAT
    studies: tuple[str, ...]
    rows: Mapping[str, Cells]
    parameters: Mapping[str, Cells]
    differing: tuple[str, ...]
    fair: bool
    differences: tuple[str, ...]
    verdict: str
    noise: str
    exported: str
