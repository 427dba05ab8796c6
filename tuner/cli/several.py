"""What commands that take several space files have in common: all are checked before the first is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tuner.errors import InputError, SpecError

if TYPE_CHECKING:
    from tuner.data.examined import Examined
    from tuner.spec.study import StudySpec


def checked(files: Sequence[str], check: Callable[[str], str], one: Mapping[str, object]) -> None:
    """Say every mistake of all files, before anything is begun.

    Args:
        files: two space files or more.
        check: gives the name of a file's study.
        one: options that mean something for one file alone, by name, with what was given of them.

    Raises:
        InputError: there are mistakes, an option of `one` was given, or two files are of one study.
    """
    if given := [name for name, value in one.items() if value]:
        raise InputError(f"{' and '.join(given)}: must be given with one space file, got {len(files)} files.")
    mistakes: list[str] = []
    studies: dict[str, str] = {}
    for file in files:
        try:
            name = check(file)
        except InputError as error:
            mistakes += _of_file(file, error)
            continue
        if name in studies:
            mistakes.append(f"{file}: name: must be another study's than that of {studies[name]}, got {name}.")
        studies.setdefault(name, file)
    if mistakes:
        raise InputError("\n".join([*mistakes, f"{_counted(len(mistakes))} in {len(files)} files; nothing was begun."]))


def names_one(overrides: Sequence[str]) -> bool:
    """Whether overrides give a study its name, which no two studies can have."""
    return any(text.partition("=")[0].strip() == "name" for text in overrides)


def examined(file: str, overrides: Sequence[str]) -> tuple[StudySpec, Examined, str]:
    """A space file's declaration, its data, and its resolved device, all of them checked.

    Raises:
        InputError: what is wrong with them.
    """
    from tuner.api.workspace import workspace
    from tuner.data.examine import examine
    from tuner.data.sources import Sources
    from tuner.execution import choice
    from tuner.learning.device import check_precision, resolve
    from tuner.spec.reader import declared

    spec, origin = declared(file, overrides)
    device = resolve(spec.device)
    check_precision(spec.precision, device)
    choice.declared(spec.execution)
    return spec, examine(spec, Sources(origin.parent, workspace().data_root)), device


def _of_file(file: str, error: InputError) -> list[str]:
    """A file's mistakes, a line each, which all begin with its name."""
    lines = [str(problem) for problem in error.problems] if isinstance(error, SpecError) else [str(error)]
    return [line if line.startswith(f"{file}:") else f"{file}: {line}" for line in lines]


def _counted(mistakes: int) -> str:
    return "1 mistake" if mistakes == 1 else f"{mistakes} mistakes"
