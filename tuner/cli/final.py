"""What the final stage found, as the command line says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.answers.parts import Configuration, FinalStage
    from tuner.answers.study import StudyAnswer

MOST_LOSSES = 10  # of single seeds, shown in a line


def final(answer: StudyAnswer) -> list[str]:
    """The final stage's tables, and its sentence; nothing without one."""
    found = answer.final
    if found is None:
        return []
    of_old = [f"Of the first {_counted(found.trials, 'trial')}, before the study went on:"] * (
        answer.state != "finished"
    )
    tables = _tables(found) if any(one.choosing for one in found.configurations) else _all_alike(found)
    uses = answer.test_uses or 0
    used = [f"The test split has been used {uses} times, each time for other models."] * (uses > 1)
    return ["", *of_old, *tables, found.sentence, *used]


def mean(tried: Configuration) -> str:
    """The mean and its interval, as `0.0138 ± 0.0002`."""
    if tried.mean is None:
        return "-"
    spread = "" if tried.low is None or tried.high is None else f" ± {(tried.high - tried.low) / 2:.2g}"
    return f"{tried.mean:.6g}{spread}"


def _all_alike(found: FinalStage) -> list[str]:
    """Every configuration with its seeds."""
    head = f"Trained again with {_counted(found.seeds, 'seed')} each"
    head += ", mean validation loss ± half of the 95 % interval (Student's t):" if found.seeds > 1 else ":"
    return [head, *map(_measured, found.configurations)] if found.configurations else []


def _tables(found: FinalStage) -> list[str]:
    """Those that chose, and then the winner's own seeds."""
    each = _counted(max(len(one.choosing) for one in found.configurations), "seed")
    width = max(len(str(one.trial)) for one in found.configurations)
    rows = [
        f"  trial {one.trial:<{width}}  {_losses(one.choosing):<24}{_before(one)}".rstrip()
        for one in found.configurations
    ]
    lines = [f"Trained again to choose the winner, the validation loss of {each} each:", *rows]
    if found.best is None:
        return lines
    spread = ", mean validation loss ± half of the 95 % interval (Student's t)" * (found.seeds > 1)
    return [*lines, f"The winner with {_counted(found.seeds, 'further seed')}{spread}:", _measured(found.best)]


def _before(one: Configuration) -> str:
    """What the search knew of a configuration."""
    if one.predicted is None:
        return ""
    return f"{one.predicted:.5g} {'predicted, pruned' if one.pruned else ''} in the search".replace("  ", " ")


def _measured(one: Configuration) -> str:
    return f"  trial {one.trial}  {mean(one):<24}{_losses(one.losses)}".rstrip()


def _losses(losses: Sequence[float | None]) -> str:
    return " ".join("lost" if loss is None else f"{loss:.5g}" for loss in losses[:MOST_LOSSES])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
