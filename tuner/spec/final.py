"""The runs of the final stage: a trial's configuration, trained again with a seed of its own.

They are recorded beside the search's trials, in numbers that no trial has: run i of trial t is
`FIRST + 1000 t + i`, which fits 32 bits for a million trials and a thousand seeds.
"""

from __future__ import annotations

from typing import Final

from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Trial, derive_seed

FIRST: Final = 1_000_000_000
MOST_SEEDS: Final = 1000


def final_run(seed: int, of: int, point: Hyperparameters, index: int) -> Trial:
    """Run `index` (counted from 0) of trial `of`, its seed drawn by name from the study's seed."""
    return Trial(FIRST + MOST_SEEDS * of + index, point, derive_seed(seed, "final", of, index))


def is_final(number: int) -> bool:
    """Whether the number is that of a run of the final stage."""
    return number >= FIRST


def trial_of(number: int) -> int:
    """The trial whose configuration a final run trains."""
    return (number - FIRST) // MOST_SEEDS


def index_of(number: int) -> int:
    """Which of its configuration's runs a final run is, counted from 0."""
    return (number - FIRST) % MOST_SEEDS


def name_of(number: int) -> str:
    """`trial-0042`, or `final-0042-3` for run 3 of trial 42."""
    return f"final-{trial_of(number):04}-{index_of(number)}" if is_final(number) else f"trial-{number:04}"


def words_of(number: int) -> str:
    """`trial 42`, or `run 3 of trial 42` for a final run."""
    return f"run {index_of(number)} of trial {trial_of(number)}" if is_final(number) else f"trial {number}"


def chosen_from(count: int, what: str) -> str:
    """What kind of number a loss is that was chosen for being low: `the lowest of 5 seeds`."""
    return f"the lowest of {count} {what}s" if count > 1 else f"of the only {what}"
