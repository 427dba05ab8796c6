"""What a declaration leaves open, decided by a study's rules: a default that changes holds for new studies alone."""

from __future__ import annotations

from typing import Any, Final

from tuner.errors import Problem, SpecError
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import ANSWERS, NEWEST, TYPED
from tuner.spec.study import StudySpec

_SKIP: Final = "pca"  # by docs/skip.md


def rules_of(spec: StudySpec) -> int:
    """The rules that a new study, or a single training, is begun by.

    A file that fixes the seed of a trial and names no rules is one that a version before 4 exported.
    """
    if spec.rules is not None:
        return spec.rules
    return NEWEST if spec.search.trial_seed is None else TYPED


def completed(spec: StudySpec, rules: int) -> StudySpec:
    """The declaration with what it leaves open; as it is where these rules leave nothing open.

    Raises:
        SpecError: it leaves open what these rules do not decide.
    """
    if rules < ANSWERS and spec.search.minutes is not None:
        message = f"must be left out by rules {rules}; rules {ANSWERS} plan a study for a time"
        raise SpecError([Problem("search.minutes", message)])
    if rules < ANSWERS and spec.search.epochs is None:
        message = f"must be given by rules {rules}; rules {ANSWERS}, which new studies begin by, find it in the data"
        raise SpecError([Problem("search.epochs", message)])
    if rules < ANSWERS and spec.final_stage is not None and spec.final_stage.epochs is not None:
        message = f"must be left out by rules {rules}; by rules {ANSWERS} the final stage has a length of its own"
        raise SpecError([Problem("final.epochs", message)])
    if rules < ANSWERS or "skip" in spec.space.model_fields_set:
        return spec
    declared: dict[str, Any] = spec.model_dump(mode="json")
    return spec_from_mapping({**declared, "space": {**declared["space"], "skip": _SKIP}})
