"""What this process' control groups allow it: in a container less than the machine has.

A limit binds every group below the one that has it, so each is looked for from this process' own group up to the
topmost one that is mounted. What cannot be read sets no limit: outside Linux nothing can. Formats: cgroups(7), and
`cgroup-v1/memory` and `cgroup-v2` of the kernel's Documentation/admin-guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path("/")  # where proc and sys are found; another one in tests
_UNLIMITED: Final = 2**62  # bytes; version 1 says "no limit" by the largest multiple of a page below 2**63


@dataclass(frozen=True, slots=True)
class Group:
    """A control group: its folder, and whether it is of version 2."""

    folder: Path
    unified: bool

    def number(self, name: str) -> int | None:
        """The number that a file holds; None where there is no such file, or the word `max`."""
        return _number(_read(self.folder / name))

    def entry(self, name: str, key: str) -> int | None:
        """The number behind a word in a file of words and numbers."""
        found = [line.split()[1] for line in _read(self.folder / name).splitlines() if line.startswith(f"{key} ")]
        return _number(found[0]) if found else None


def groups(controller: str, root: Path = ROOT) -> list[Group]:
    """This process' own group of a controller and all above it, as far as they can be seen; empty where none can.

    Args:
        controller: `memory` or `cpu`.
        root: the folder that holds proc and sys.
    """
    paths = _paths(root)
    unified = controller not in paths
    path = paths.get("" if unified else controller)
    if path is None:
        return []
    mounts = [mount for mount in _mounts(root) if mount.holds(None if unified else controller)]
    chosen = next((mount for mount in mounts if path.is_relative_to(mount.top)), next(iter(mounts), None))
    if chosen is None:
        return []
    # A namespace may show a group that is outside of it: `/..`, or a path that is not mounted here.
    is_mounted = path.is_relative_to(chosen.top) and ".." not in path.parts
    below = path.relative_to(chosen.top) if is_mounted else PurePosixPath()
    point = root / chosen.point.relative_to("/")
    return [Group(point / part, unified) for part in (below, *below.parents)]


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes of memory that this process and its neighbours in a group may take; None where there is no limit."""
    limits = [limit for group in groups("memory", root) if (limit := _memory_limit(group)) is not None]
    return min(limits, default=None)


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes of memory that are left of the tightest limit; None where there is none.

    Pages of files that were not used lately count as left: the kernel takes them back before it ends a process.
    """
    left = [_left(group) for group in groups("memory", root)]
    return min((each for each in left if each is not None), default=None)


def cores(root: Path = ROOT) -> float | None:
    """Cores' worth of time that the tightest quota grants, 0.5 for half a core; None where there is none."""
    shares = [_share(group) for group in groups("cpu", root)]
    return min((share for share in shares if share is not None), default=None)


def oom_kills(root: Path = ROOT) -> int | None:
    """Processes of this group, and with version 2 of groups below it, that were ended for want of memory.

    None where the group does not count, as the topmost one of version 2 does not.
    """
    own = next(iter(groups("memory", root)), None)
    if own is None:
        return None
    return own.entry("memory.events" if own.unified else "memory.oom_control", "oom_kill")


def _memory_limit(group: Group) -> int | None:
    if group.unified:
        return group.number("memory.max")
    # The second one is that of a group above, which a container may have and not see.
    limits = (group.number("memory.limit_in_bytes"), group.entry("memory.stat", "hierarchical_memory_limit"))
    known = [limit for limit in limits if limit is not None and limit < _UNLIMITED]
    return min(known, default=None)


def _left(group: Group) -> int | None:
    if (limit := _memory_limit(group)) is None:
        return None
    used = group.number("memory.current" if group.unified else "memory.usage_in_bytes") or 0
    cached = group.entry("memory.stat", "inactive_file" if group.unified else "total_inactive_file") or 0
    return max(0, limit - max(0, used - cached))


def _share(group: Group) -> float | None:
    if group.unified:
        quota, period = map(_number, (*_read(group.folder / "cpu.max").split(), "", "")[:2])
    else:
        quota, period = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
    return quota / period if quota is not None and period and quota > 0 else None  # -1: no quota


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted tree of groups: where it is, and which group is at its top; controllers is None for version 2."""

    point: PurePosixPath
    top: PurePosixPath
    controllers: tuple[str, ...] | None

    def holds(self, controller: str | None) -> bool:
        return self.controllers is None if controller is None else controller in (self.controllers or ())


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _read(root / "proc/self/mountinfo").splitlines():
        first, _, second = line.partition(" - ")
        words, kind = first.split(), (*second.split(), "", "", "")
        if len(words) > 4 and kind[0] in ("cgroup", "cgroup2"):
            controllers = tuple(kind[2].split(",")) if kind[0] == "cgroup" else None
            yield _Mount(_unescaped(words[4]), _unescaped(words[3]), controllers)


def _paths(root: Path) -> dict[str, PurePosixPath]:
    """This process' group by controller; that of version 2 has the empty name."""
    lines = [line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines() if line.count(":") > 1]
    return {name: PurePosixPath(path) for _, names, path in lines for name in names.split(",")}


def _unescaped(word: str) -> PurePosixPath:
    """Spaces and the like are written in octal."""
    return PurePosixPath(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word))


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
