"""Claims about what control groups allow, on trees of files as they lie in containers and on machines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from plain import trial

from tuner.execution.executors import usable_cores
from tuner.execution.faults import oom_kills
from tuner.learning import cgroups, memory

GIB = 2**30
NO_LIMIT_V1 = 9223372036854771712
MEMINFO = {"proc/meminfo": f"MemTotal: {65 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {60 * 2**20} kB\n"}
VMSTAT = {"proc/vmstat": "nr_free_pages 5\noom_kill 7\n"}

# As the kernel writes them: numbers, root in the file system, mount point, options, fields of its own, kind.
UNIFIED_MOUNT = "24 21 0:22 {top} /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "36 31 0:32 {top} /sys/fs/cgroup/{at} rw,relatime shared:9 - cgroup cgroup rw,{at}\n"
OTHERS = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n31 22 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"


def tree(root: Path, files: Mapping[str, str | int]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n" if isinstance(content, int) else content)
    return root


def unified(path: str, files: Mapping[str, str | int], top: str = "/") -> dict[str, str | int]:
    """A machine with version 2 alone."""
    at = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    mounts = OTHERS + UNIFIED_MOUNT.format(top=top)
    return {**MEMINFO, **VMSTAT, "proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": mounts, **at}


def version_1(path: str, files: Mapping[str, str | int], top: str = "/") -> dict[str, str | int]:
    """A machine with version 1, or both, where version 2 has no controller."""
    mounts = OTHERS + V1_MOUNT.format(top=top, at="cpu,cpuacct") + V1_MOUNT.format(top=top, at="memory")
    mounts += UNIFIED_MOUNT.format(top="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    groups = f"5:memory:{path}\n4:cpuset:/\n3:cpu,cpuacct:{path}\n1:name=systemd:/\n0::{path}\n"
    at = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    return {**MEMINFO, **VMSTAT, "proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **at}


def in_memory_v2(limit: int | str, used: int, cached: int = 0) -> dict[str, str | int]:
    stat = f"anon {used - cached}\nfile {cached}\ninactive_file {cached}\nactive_file 0\n"
    return {
        "memory.max": limit if isinstance(limit, int) else f"{limit}\n",
        "memory.current": used,
        "memory.stat": stat,
    }


def in_memory_v1(limit: int, used: int, cached: int = 0, above: int = NO_LIMIT_V1) -> dict[str, str | int]:
    stat = f"inactive_file 1\nhierarchical_memory_limit {above}\ntotal_inactive_file {cached}\n"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}


def under(folder: str, files: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"{folder}/{name}".lstrip("/"): content for name, content in files.items()}


MEMORY = {
    "v2 container: what it has not used": (unified("/", in_memory_v2(2 * GIB, GIB)), GIB),
    "v2: pages of files are given back": (unified("/", in_memory_v2(2 * GIB, 2 * GIB, GIB)), GIB),
    "v2 without a limit: the machine's": (unified("/", in_memory_v2("max", GIB)), 60 * GIB),
    "v2: a limit above the machine's memory": (unified("/", in_memory_v2(500 * GIB, GIB)), 60 * GIB),
    "v2: used up": (unified("/", in_memory_v2(GIB, GIB + 4096)), 0),
    "v2: nested, the group's own limit": (
        unified("/user/a", {**under("user/a", in_memory_v2(2 * GIB, GIB)), **under("user", in_memory_v2("max", GIB))}),
        GIB,
    ),
    "v2: nested, that of the group above": (
        unified("/user/a", {**under("user/a", in_memory_v2("max", 1)), **under("user", in_memory_v2(4 * GIB, GIB))}),
        3 * GIB,
    ),
    "v2: seen from the machine's namespace": (
        unified("/docker/abc", in_memory_v2(2 * GIB, GIB), top="/docker/abc"),
        GIB,
    ),
    "v2: a group outside of the namespace": (unified("/../b", in_memory_v2(2 * GIB, GIB)), GIB),
    "v1: a container": (version_1("/", under("memory", in_memory_v1(3 * GIB, GIB))), 2 * GIB),
    "v1: pages of files": (version_1("/", under("memory", in_memory_v1(3 * GIB, 2 * GIB, GIB))), 2 * GIB),
    "v1 without a limit": (version_1("/", under("memory", in_memory_v1(NO_LIMIT_V1, GIB))), 60 * GIB),
    "v1: seen from the machine's namespace": (
        version_1("/docker/abc", under("memory", in_memory_v1(3 * GIB, GIB)), top="/docker/abc"),
        2 * GIB,
    ),
    "v1: a limit above that is not mounted": (
        version_1("/pod/abc", under("memory", in_memory_v1(NO_LIMIT_V1, GIB, above=4 * GIB)), top="/pod/abc"),
        3 * GIB,
    ),
    "v1: nested": (
        version_1(
            "/a/b",
            {
                **under("memory/a/b", in_memory_v1(NO_LIMIT_V1, 1)),
                **under("memory/a", in_memory_v1(2 * GIB, GIB)),
                **under("memory", in_memory_v1(NO_LIMIT_V1, 9 * GIB)),
            },
        ),
        GIB,
    ),
    "a limit, but no use": (unified("/", {"memory.max": 2 * GIB}), 2 * GIB),
    "words that are no numbers": (unified("/", {"memory.max": "\n", "memory.current": "?\n"}), 60 * GIB),
    "no control groups": (MEMINFO, 60 * GIB),
    "groups, but no mounts": ({**MEMINFO, "proc/self/cgroup": "0::/\n"}, 60 * GIB),
    "nothing at all": ({}, None),
    "a limit alone": ({**unified("/", in_memory_v2(2 * GIB, GIB)), "proc/meminfo": "\n"}, GIB),
}


@pytest.mark.parametrize("name", MEMORY)
def test_free_memory_is_the_smaller_of_the_machines_and_the_groups(name: str, tmp_path: Path) -> None:
    """On the CPU; of all groups above this one the tightest decides."""
    files, expected = MEMORY[name]
    assert memory.free("cpu", tree(tmp_path, files)) == expected


CORES = {
    "v2: two and a half": (unified("/", {"cpu.max": "250000 100000\n"}), 2.5),
    "v2: no quota": (unified("/", {"cpu.max": "max 100000\n"}), None),
    "v2: nested": (unified("/a/b", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}), 0.5),
    "v1: half a core": (
        version_1("/", {"cpu,cpuacct/cpu.cfs_quota_us": 50_000, "cpu,cpuacct/cpu.cfs_period_us": 100_000}),
        0.5,
    ),
    "v1: no quota": (
        version_1("/", {"cpu,cpuacct/cpu.cfs_quota_us": -1, "cpu,cpuacct/cpu.cfs_period_us": 100_000}),
        None,
    ),
    "v1: that of the group above": (
        version_1(
            "/a",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": -1,
                "cpu,cpuacct/a/cpu.cfs_period_us": 100_000,
                "cpu,cpuacct/cpu.cfs_quota_us": 150_000,
                "cpu,cpuacct/cpu.cfs_period_us": 100_000,
            },
        ),
        1.5,
    ),
    "an empty file": (unified("/", {"cpu.max": ""}), None),
    "nothing at all": ({}, None),
}


@pytest.mark.parametrize("name", CORES)
def test_workers_are_as_many_as_whole_cores_are_granted_and_at_least_one(name: str, tmp_path: Path) -> None:
    """The tightest quota of all groups above this one, never more than the affinity."""
    files, expected = CORES[name]
    root, there = tree(tmp_path, files), len(os.sched_getaffinity(0))
    assert cgroups.cores(root) == expected
    assert usable_cores(root) == (there if expected is None else max(1, min(there, int(expected))))


KILLS = {
    "v2: its own": (unified("/a", {"a/memory.events": "low 0\noom 9\noom_kill 2\noom_group_kill 0\n"}), 2),
    "v2: none of a neighbour's": (
        unified("/a", {"a/memory.events": "oom_kill 0\n", "b/memory.events": "oom_kill 5\n"}),
        0,
    ),
    "v1: its own": (
        version_1("/a", {"memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"}),
        3,
    ),
    "v1: an old kernel does not count": (
        version_1("/", {"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}),
        7,
    ),
    "v2: the topmost group does not count": (unified("/", {}), 7),
    "no control groups: the machine's": (VMSTAT, 7),
    "nothing at all": ({}, 0),
}


@pytest.mark.parametrize("name", KILLS)
def test_ends_for_want_of_memory_are_counted_for_this_group_alone(name: str, tmp_path: Path) -> None:
    """A neighbour's, in another container, must not accuse a trial here."""
    files, expected = KILLS[name]
    assert oom_kills(tree(tmp_path, files)) == expected


def test_a_trial_that_fits_the_machine_but_not_the_container_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is asked of the system, which would end the worker for it."""
    one = trial(0, width=8_192)
    wanted = memory.needed(one, 64, 200)
    real = memory.free
    for limit, fits in ((wanted - 1, False), (wanted, True)):
        root = tree(tmp_path, unified("/", in_memory_v2(limit, 0)))
        monkeypatch.setattr(memory, "free", lambda device, root=root: real(device, root))
        if fits:
            memory.check(one, 64, 200, "cpu")
        else:
            with pytest.raises(MemoryError, match="are free on cpu"):
                memory.check(one, 64, 200, "cpu")


def test_unreadable_files_set_no_limit(tmp_path: Path) -> None:
    """Folders where files are expected: nothing is raised, and the machine's memory counts."""
    root = tree(tmp_path, unified("/", {}))
    for name in ("memory.max", "memory.current", "memory.stat", "memory.events", "cpu.max"):
        (root / "sys/fs/cgroup" / name).mkdir(parents=True)
    assert memory.free("cpu", root) == 60 * GIB
    assert cgroups.cores(root) is None
    assert oom_kills(root) == 7


def test_mount_points_with_spaces_are_found(tmp_path: Path) -> None:
    """mountinfo writes them in octal."""
    files = unified("/", {})
    files["proc/self/mountinfo"] = "24 21 0:22 / /sys/my\\040groups rw - cgroup2 cgroup2 rw\n"
    files |= under("sys/my groups", in_memory_v2(2 * GIB, GIB))
    assert cgroups.memory_left(tree(tmp_path, files)) == GIB


def test_this_machines_own_groups_are_consistent() -> None:
    """What is left is never more than the limit, and what is free never more than what is left."""
    limit, left, free = cgroups.memory_limit(), cgroups.memory_left(), memory.free("cpu")
    assert left is None or (limit is not None and 0 <= left <= limit)
    assert free is None or free > 0
