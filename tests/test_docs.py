"""Claims about README and docs: their links lead somewhere, and their commands do what stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `tuner ...` line of the page's indented and fenced blocks, without its comment."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"^(?: {4,}|\$ )?tuner [a-z]", line):
            yield shlex.split(line.strip().removeprefix("$ "), comments=True)


def test_the_readme_is_short() -> None:
    """A page that is read to its end: at most 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link and picture of a page is a file of the repository."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    for target in targets:
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_space_file_is_one(workspace: Path) -> None:
    """What a reader copies from the README is accepted once its data is there."""
    shutil.copy(ROOT / "tests" / "fixtures" / "version_0" / "sensors.csv", workspace)
    blocks = [text for kind, text in FENCED.findall((ROOT / "README.md").read_text(encoding="utf-8")) if kind == "yaml"]
    assert len(blocks) == 1
    (workspace / "s.yaml").write_text(
        blocks[0].replace("bottleneck:    8", "bottleneck:    2").replace("source: sensors.csv", SENSORS)
    )
    ran = subprocess.run(
        [sys.executable, "-m", "tuner", "validate", "s.yaml"], check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


SENSORS = "source: sensors.csv\n  exclude: [state]"


def small(folder: Path) -> None:
    """The folder that the README's commands are typed in: its studies, smaller, and a file of new rows."""
    shutil.copytree(ROOT / "search_spaces", folder / "search_spaces")
    space = folder / "search_spaces" / "digits.yaml"
    text = re.sub(r"trials: 108", "trials: 9", space.read_text(encoding="utf-8"))
    text = re.sub(r"epochs: 50", "epochs: 3", text)
    space.write_text(text, encoding="utf-8")
    (folder / "wider.yaml").write_text(text.replace("name: digits", "name: digits-wider"), encoding="utf-8")
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    rows = [",".join(["id", *names]), *(f"{number}," + ",".join(["1"] * 64) for number in range(5))]
    (folder / "new.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    table = [f"{number % 7},{number * 0.37 % 1:.3f},{'ab'[number % 2]}" for number in range(40)]
    (folder / "table.csv").write_text("\n".join(["count,share,kind", *table]) + "\n", encoding="utf-8")


@pytest.mark.long
def test_the_readmes_commands_run(workspace: Path) -> None:
    """Each command of the README's "Use", typed in order in a fresh folder, ends with exit code 0."""
    small(workspace)
    tuner = [sys.executable, "-m", "tuner"]
    subprocess.run([*tuner, "run", "wider.yaml"], check=True, capture_output=True)
    typed = [words for words in commands(ROOT / "README.md") if words[1] not in {"dashboard", "serve"}]  # until Ctrl-C
    assert {words[1] for words in typed} >= {"validate", "run", "trials", "report", "compare", "export", "apply"}
    for words in typed:
        line = " ".join(shlex.join(tuner) if word == "tuner" else word for word in words if word != "--open")
        ran = subprocess.run(line, shell=True, check=False, capture_output=True, text=True)
        assert ran.returncode == 0, f"{' '.join(words)}: {ran.stderr}"
    assert (workspace / "best" / "model.onnx").exists()
    assert len((workspace / "trials.csv").read_text(encoding="utf-8").splitlines()) == 10
    assert (workspace / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=lambda page: page.name)
def test_commands_have_the_options_that_pages_give_them(page: Path) -> None:
    """No page names a command or an option that the command line does not have."""
    from typer.main import get_command

    from tuner.cli.app import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    for words in commands(page):
        assert words[1] in known, f"{page.name}: {' '.join(words)}"
        command = known[words[1]]
        command = getattr(command, "commands", {}).get(words[2], command) if len(words) > 2 else command
        options = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
        given = {word for word in words[2:] if word.startswith("-") and len(word) > 1}
        assert given <= options | {"--help"}, f"{page.name}: {' '.join(words)}"


def test_the_architecture_names_every_room_and_no_file_that_is_not_there() -> None:
    """A room without a line, or a walk through a file that was moved, is found."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms")[2].partition("## Laws")[0]
    rooms = {f"{path.name}/" for path in (ROOT / "tuner").iterdir() if path.is_dir() and path.name != "__pycache__"}
    files = {path.name for path in (ROOT / "tuner").glob("*.py") if not path.name.startswith("__")}
    missing = [room for room in sorted(rooms | files) if f"`{room}`" not in table]
    assert not missing
    named = set(re.findall(r"`((?:tuner|tests|docs)/[\w/.]*)`", text)) - {"tuner/service/"}
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
