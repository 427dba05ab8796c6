"""What a fresh machine installs, and what the tree may hold."""

from __future__ import annotations

import functools
import os
import platform as machine
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tuner.learning.compiled import library as step

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
# What the extra `server` needs beside them: pinned for the image, and installed nowhere else.
OF_THE_IMAGE = {"boto3", "botocore", "jmespath", "s3transfer"}
PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
LIBRARIES = {  # the door of each library (law 5), and a file that is not that door
    "torch": ("learning", "tuner/data/trespass.py"),
    "safetensors": ("learning", "tuner/export/trespass.py"),
    "onnxruntime": ("learning", "tuner/export/runs.py"),
    "optuna": ("search", "tuner/ledger/trespass.py"),
    "sqlalchemy": ("ledger", "tuner/tracking/trespass.py"),
    "mlflow": ("tracking", "tuner/learning/trespass.py"),
    "ray": ("execution/ray.py and execution/actor.py", "tuner/execution/trespass.py"),
    "fastapi": ("service", "tuner/spec/trespass.py"),
}
ROOMS = {  # who knows whom (DESIGN.md, "Rooms"): a contract, and a file that breaks it
    "every room knows only the rooms below it": ("tuner/search/room.py", "from tuner.learning import model"),
    "execution knows learning and data": ("tuner/execution/room.py", "import tuner.search.loop"),
    "tracking knows the ledger": ("tuner/tracking/room.py", "import tuner.learning.inference.model"),
    "analysis, export and report know learning, data and the ledger": (
        "tuner/export/room.py",
        "import tuner.search.loop",
    ),
}


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in found}


PINS = pins()


def applicable(name: str, extras: frozenset[str], environment: dict[str, str]) -> Iterator[Requirement]:
    """What an installed distribution, with these extras, asks for in that environment."""
    for requirement in map(Requirement, requires(name) or []):
        chosen = [{**environment, "extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in chosen):
            yield requirement


def needed(environment: dict[str, str]) -> list[tuple[str, Requirement]]:
    """(who asks, what for): everything that the project with its tools needs there, transitively."""
    found = [("this project", Requirement(text)) for text in DIRECT]
    seen: set[tuple[str, frozenset[str]]] = set()
    for _, requirement in found:  # grows while it is read
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found += [(requirement.name, each) for each in applicable(*key, environment)]
        except PackageNotFoundError:
            continue  # of another platform: its own pin is checked, what it needs cannot be seen from here
    return found


def tracked() -> list[str]:
    """The files of the repository: git's list, those not committed yet included."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git repository")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@functools.cache
def lint(tree: Path) -> str:
    """What import-linter says of the package in that folder."""
    lint_imports = Path(sys.executable).parent / "lint-imports"
    ended = subprocess.run(
        [lint_imports, "--no-cache", "--no-logo", "--config", tree / "pyproject.toml"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{ended.stdout}{ended.stderr}exit {ended.returncode}"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its contracts, in a folder of their own."""
    tree = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "tuner", tree / "tuner", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@pytest.fixture(scope="module")
def trespassed(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with every library imported, inside a function, where it may not be, and every rule on rooms broken."""
    tree = tmp_path_factory.mktemp("trespassed")
    shutil.copytree(copy, tree, dirs_exist_ok=True)
    for library, (_, file) in LIBRARIES.items():
        (tree / file).write_text(f"def late():\n    import {library}\n")
    for file, line in ROOMS.values():
        (tree / file).write_text(f"{line}\n")
    (tree / "tuner" / "helpers.py").write_text("")
    return tree


def test_the_package_keeps_the_laws_on_imports(copy: Path) -> None:
    """One library, one door, and every room knows only those below it."""
    assert lint(copy).endswith("exit 0"), lint(copy)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_at_the_wrong_door_is_found(trespassed: Path, library: str) -> None:
    """The linter is not vacuous: an import in a function of another room breaks its contract and is named."""
    door, file = LIBRARIES[library]
    assert re.search(rf"^{library} only in {re.escape(door)} BROKEN", lint(trespassed), re.MULTILINE)
    module = file.removesuffix(".py").replace("/", ".")
    assert f"{module} -> {library}" in lint(trespassed)


@pytest.mark.parametrize("contract", ROOMS)
def test_a_room_that_knows_too_much_is_found(trespassed: Path, contract: str) -> None:
    """Each rule on rooms is broken by a file that breaks it."""
    assert f"{contract} BROKEN" in lint(trespassed)
    assert ROOMS[contract][0].removesuffix(".py").replace("/", ".") in lint(trespassed)


def test_a_new_module_at_the_top_must_be_given_its_place(trespassed: Path) -> None:
    """A module that no layer names fails the check instead of standing outside of it."""
    assert "- tuner.helpers" in lint(trespassed)


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler here")
@pytest.mark.parametrize("build", ["plain", "avx2", "avx512"])
def test_where_there_is_a_compiler_the_step_is_compiled(build: str) -> None:
    """The extensions are optional to setuptools, so that one that no longer builds is missed by nobody else."""
    if build != "plain" and machine.machine() not in {"x86_64", "AMD64"}:
        pytest.skip("instructions of another processor")
    path = step.build_path(build)
    assert path is not None, (
        f"{build}: the installation left it out; install with --verbose to see the compiler's errors"
    )
    assert path.is_file()
    assert step.library() is not None


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_that_is_needed_is_pinned_within_its_bounds(python: str, platform: str) -> None:
    """Our bounds and those of all that we need, with markers evaluated: each is pinned, and the pin satisfies it."""
    versions = {"python_version": python, "python_full_version": f"{python}.9"}
    environment = {**default_environment(), **PLATFORMS[platform], **versions}
    for asker, requirement in needed(environment):
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin, f"{asker} needs {requirement}, which constraints.txt does not pin"
        assert requirement.specifier.contains(pin, prereleases=True), f"{asker} needs {requirement}, pinned {pin}"


def test_nothing_is_pinned_that_nobody_needs() -> None:
    """A pin is needed by the project or its tools, or is what installs them."""
    asked = {canonicalize_name(requirement.name) for _, requirement in needed(dict(default_environment()))}
    assert PINS.keys() - asked - OF_THE_IMAGE <= {"pip", "setuptools"}


def test_the_build_uses_the_pinned_setuptools() -> None:
    """The Makefile builds without isolation, so what pyproject.toml asks of the build is pinned too."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in map(Requirement, build):
        assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_torch_is_pinned_without_a_build_and_brings_no_cuda() -> None:
    """torch==2.13.0 admits the CPU build and PyPI's; no package of CUDA is pinned or installed by name."""
    assert str(PINS["torch"]) == "2.13.0"
    assert not [name for name in PINS if name.startswith(("nvidia", "cuda", "triton"))]


def test_every_pin_is_exact_and_says_nothing_of_where_it_comes_from() -> None:
    """name==version and nothing else: no address, no option, no path."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    unlike = [line for line in lines if line and not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][0-9a-z.!]*", line)]
    assert not unlike


@pytest.mark.parametrize(
    "path",
    [
        *["tuner.db", "tuner.db-wal", "tuner.db-shm", "mlflow.db", "mlflow.db-journal", "mlartifacts/1/x", "mlruns/0"],
        *[".tuner/prepared/x.npy", "best/model.safetensors", ".venv/.installed", "autoencoder_tuner.egg-info/PKG-INFO"],
        *["tuner/__pycache__/x.pyc", ".import_linter_cache/x", ".hypothesis/x", "build/lib/x"],
    ],
)
def test_git_ignores_what_a_run_leaves(path: str) -> None:
    """Neither a study in the repository's folder nor the tools make the tree dirty."""
    ended = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    if ended.returncode == 128:
        pytest.skip("not a git repository")
    assert ended.returncode == 0


def test_no_file_names_a_machine_or_a_registry() -> None:
    """No absolute path of the machine where it was written, and no address that a package would come from."""
    places = [
        r"/(work|root|home)/\w",
        r"/opt/(wheels|pypi)",
        r"index-url[ =]https?:",
        r"https?://[^\s/]*(pypi|pythonhosted)",
    ]
    forbidden = re.compile("|".join(places))
    for name in set(tracked()) - {"tests/test_packaging.py"}:
        content = (ROOT / name).read_bytes()
        found = None if b"\0" in content else forbidden.search(content.decode("utf-8"))
        assert not found, f"{name}: {found}"


@dataclass(frozen=True)
class Tree:
    """A folder with the Makefile, and a Python that makes environments in no time and writes down what pip is asked."""

    folder: Path

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "TORCH_INDEX"))
        }
        env = {**kept, "PIP_LOG_HERE": str(self.folder / "asked")}
        args = ["make", ".venv/.installed", f"PYTHON={self.folder}/python", *words]
        return subprocess.run(args, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def asked(self) -> list[str]:
        """What pip was asked to install since the last time, one line a call."""
        log = self.folder / "asked"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if " install " in line and "--dry-run" not in line]

    def python(self, version: str = "3.11.9", pip: str = "true") -> None:
        """Puts a Python of that version there, whose pip ends with the command `pip`."""
        new_enough = "true" if version >= "3.11" else "false"
        script = self.folder / "python"
        script.write_text(
            f"""#!/bin/sh
            case "$*" in
                --version) echo "Python {version}" ;;
                *version_info*) {new_enough} ;;
                "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
                "-m pip "*) echo "$*" >> "$PIP_LOG_HERE"; {pip} ;;
            esac
            """
        )
        script.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    found = Tree(tmp_path)
    found.python()
    return found


def test_the_second_set_up_installs_nothing(tree: Tree) -> None:
    """Set up once, the targets ask pip for nothing, so that they work without a network."""
    assert tree.make().returncode == 0
    assert "--no-build-isolation --editable .[dev]" in tree.asked()[-1]
    assert tree.make().returncode == 0
    assert not tree.asked()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed(tree: Tree, name: str) -> None:
    """The stamp is older than a changed pyproject.toml or constraints.txt."""
    tree.make()
    tree.asked()
    later = (tree.folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(tree.folder / name, (later, later))
    tree.make()
    assert tree.asked()


def test_an_interrupted_set_up_begins_again_from_nothing(tree: Tree) -> None:
    """A set-up that fails leaves no stamp, and the next one trusts nothing that it left."""
    tree.python(pip="exit 1")
    assert tree.make().returncode != 0
    assert not (tree.folder / ".venv" / ".installed").exists()
    half = tree.folder / ".venv" / "half-installed"
    half.touch()
    tree.python()
    assert tree.make().returncode == 0
    assert not half.exists()


def test_a_moved_tree_is_set_up_anew(tree: Tree) -> None:
    """In a copy of the tree, .venv's scripts and the editable installation would run the other tree's code."""
    tree.make()
    moved = Tree(tree.folder.parent / f"{tree.folder.name}-moved")
    shutil.copytree(tree.folder, moved.folder)
    moved.asked()
    old_script = moved.folder / ".venv" / "old-script"
    old_script.touch()
    assert moved.make().returncode == 0
    assert moved.asked()
    assert not old_script.exists()


def test_torch_alone_comes_from_the_index_that_is_given(tree: Tree) -> None:
    """TORCH_INDEX is where torch is taken from, without what it needs; no other call names an index."""
    tree.make("TORCH_INDEX=file:///wheels")
    naming = [line for line in tree.asked() if "index-url" in line]
    assert len(naming) == 1
    assert naming[0].endswith("--no-deps --index-url file:///wheels torch")


def test_every_install_is_under_the_constraints(tree: Tree) -> None:
    """No version is left to the day of the installation, pip's own included."""
    tree.make("TORCH_INDEX=file:///wheels")
    asked = tree.asked()
    assert len(asked) == 3
    assert all(" --constraint constraints.txt " in line for line in asked)


def test_a_python_that_is_too_old_is_said_in_one_line(tree: Tree) -> None:
    """PYTHON=... that is older than 3.11 ends the set-up before anything is made."""
    tree.python(version="3.10.2")
    ended = tree.make()
    assert ended.returncode != 0
    assert "must be Python 3.11 or newer, got: Python 3.10.2" in ended.stderr
    assert not (tree.folder / ".venv").exists()


@pytest.mark.parametrize("target", ["demo", "test", "check", "format", "clean"])
def test_every_target_that_the_makefile_explains_exists(tree: Tree, target: str) -> None:
    """The Makefile's first lines name its targets, and make knows each."""
    assert f"# make {target} " in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert tree.make("--dry-run", target).returncode == 0
