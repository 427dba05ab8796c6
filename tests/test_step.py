"""Claims about `step`, which says what trains on the CPU, and about the plain loop beside a training."""

from __future__ import annotations

import ast
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from studies import tiny
from typer.testing import CliRunner

import tuner
from tuner.analysis import agreement
from tuner.analysis.agreement import LEAST, Agreement, as_text, rounding_bounds
from tuner.answers.study import TrainedOn
from tuner.api import train
from tuner.cli.app import app
from tuner.data.terms import Terms
from tuner.errors import DeviceError, StudyError
from tuner.learning import plain
from tuner.learning.compiled import library as loading
from tuner.learning.compiled.library import library
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.epoch import Epoch
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import read_spec, spec_from_mapping

needs_a_build = pytest.mark.skipif(library() is None, reason="no C++ compiler was there when the project was installed")
SMALL = {"search": {"trials": 3, "epochs": 2, "cohort": 3}}
ONE = {"learning_rate": 0.01, "batch_size": 16, "width": 20, "depth": 1, "activation": "gelu", "bottleneck": 2}


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where no C++ compiler was there."""
    monkeypatch.setattr(loading, "build_path", lambda build: None)
    loading.found.cache_clear()
    yield
    loading.found.cache_clear()


def losses(study: tuner.Study) -> np.ndarray:
    return study.trials["value"].to_numpy(float)


@needs_a_build
def test_pytorch_trains_where_the_declaration_says_so(workspace: Path) -> None:
    """The losses are the compiled step's to 1e-5 and differ in their last bits; study, export and record say which."""
    compiled = tuner.run(tiny(**SMALL, step="compiled", name="compiled"), workers=0)
    torch = tuner.run(tiny(**SMALL, step="torch", name="torch"), workers=0)
    np.testing.assert_allclose(losses(torch), losses(compiled), rtol=1e-5)
    assert (losses(torch) != losses(compiled)).any()
    step = library()
    assert step is not None
    for study, name in ((compiled, step.name), (torch, "torch")):
        assert study.summary.trained == (TrainedOn(device="cpu", step=name),)
        folder = study.export(study.name)
        assert json.loads((folder / "metrics.json").read_text())["step"] == name
        assert read_spec(folder / "config.yaml").step == study.spec.step
    assert "It was trained on cpu by PyTorch's functions." in Path("torch/README.md").read_text()
    shown = CliRunner().invoke(app, ["show", "torch"]).stdout
    assert "Trained on cpu by PyTorch's functions.\n" in shown


@needs_a_build
def test_workers_train_by_the_drivers_step(workspace: Path) -> None:
    """Two processes come to the table of this one, with PyTorch's functions."""
    here = tuner.run(tiny(**SMALL, step="torch"), workers=0).csv()
    assert tuner.run(tiny(**SMALL, step="torch", name="two"), workers=2).csv() == here


def test_a_study_of_before_the_key_goes_on(workspace: Path) -> None:
    """Its record does not name `step`: it counts as auto, its fingerprint holds, and no trial is lost."""
    before = tuner.run(tiny(**SMALL), workers=0)
    with sqlite3.connect("tuner.db") as ledger:
        (text,) = ledger.execute("SELECT spec_json FROM tuner_study").fetchone()
        old = {key: value for key, value in json.loads(text).items() if key != "step"}
        assert len(old) < len(json.loads(text))
        ledger.execute("UPDATE tuner_study SET spec_json = ?", (json.dumps(old),))
    grown = tuner.run(tiny(search={**SMALL["search"], "trials": 4}), workers=0)
    assert grown.csv().splitlines()[:4] == before.csv().splitlines()


def test_another_step_is_another_study(workspace: Path) -> None:
    """It changes the last bits, so a study does not go on with it; the refusal names the key."""
    tuner.run(tiny(**SMALL), workers=0)
    with pytest.raises(StudyError, match="cannot go on, for step was auto and is now torch"):
        tuner.run(tiny(**SMALL, step="torch"), workers=0)


@needs_a_build
def test_a_study_that_goes_on_without_the_build_says_so(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With auto: PyTorch trains the rest, one sentence is said, and the study names both from then on."""
    step = library()
    assert step is not None
    tuner.run(tiny(**SMALL), workers=0)
    assert not caplog.messages
    monkeypatch.setattr(loading, "build_path", lambda build: None)
    loading.found.cache_clear()
    grown = tuner.run(tiny(search={**SMALL["search"], "trials": 4}), workers=0)
    loading.found.cache_clear()
    assert caplog.messages == [
        f"tiny: was trained on cpu by the compiled step ({step.name}); what is left is trained by PyTorch's functions,"
        " whose losses differ in the last bits."
    ]
    assert [one.step for one in grown.summary.trained] == [step.name, "torch"]
    shown = CliRunner().invoke(app, ["show", "tiny"]).stdout
    assert f"Trained on cpu by the compiled step ({step.name}), then on cpu by PyTorch's functions." in shown


@pytest.mark.parametrize("command", ["run", "validate", "train"])
def test_the_compiled_step_where_it_is_not_built_is_refused(command: str, workspace: Path, no_build: None) -> None:
    """One sentence that says why and what to say instead, before anything is trained or recorded."""
    changes = {"space": ONE} if command == "train" else {}
    Path("tiny.yaml").write_text(to_yaml(spec_from_mapping(tiny(**SMALL, **changes))))
    ended = CliRunner().invoke(app, [command, "tiny.yaml", "--set", "step=compiled"])
    assert isinstance(ended.exception, DeviceError)
    assert ended.exception.exit_code == 2
    assert str(ended.exception) == (
        "step: compiled cannot train here, for no C++ compiler was there when the tuner was installed."
        " Or say step: auto or torch."
    )
    assert "no studies" in CliRunner().invoke(app, ["list"]).stdout


@pytest.mark.parametrize("step", [pytest.param("compiled", marks=needs_a_build), "torch"])
def test_an_exported_configuration_trains_as_plain_pytorch_does(step: str, workspace: Path) -> None:
    """`tuner train DIR/config.yaml --plain` shows both losses of every epoch and ends with 0: equal to 1e-5."""
    # Begun at PCA gradients are nearly zero, and AdamW makes steps of rounding.
    study = tuner.run(tiny(**SMALL, space={**tiny()["space"], "skip": "linear"}, step=step), workers=0)
    study.export("best")
    ended = CliRunner().invoke(app, ["train", "best/config.yaml", "--plain"])
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["1", "2"]
    assert min(float(row[3]) for row in rows) == pytest.approx(study.best.value, rel=1e-6)
    for row in rows:
        ours, plain_ones = (np.array(row[first:5:2], float) for first in (1, 2))
        np.testing.assert_allclose(ours, plain_ones, rtol=LEAST)
    assert "Equal as far as rounding lets them be (there up to 1.0e-05)." in lines[-1]


@needs_a_build
def test_a_step_that_trains_otherwise_is_found_out(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is wrong by a thousandth from the second epoch on: exit code 1, naming that epoch."""
    right = CompiledPack.train_epoch

    def wrong(self: CompiledPack) -> Epoch:
        epoch = right(self)
        factor = 1.001 if self.epoch > 1 else 1.0
        return Epoch(epoch.train_loss, [factor * loss for loss in epoch.val_loss], epoch.at)

    monkeypatch.setattr(CompiledPack, "train_epoch", wrong)
    # Begun at PCA gradients are nearly zero, and rounding may explain a difference of any size.
    space = {**ONE, "skip": "linear"}
    Path("one.yaml").write_text(to_yaml(spec_from_mapping(tiny(search={"epochs": 3}, space=space))))
    ended = CliRunner().invoke(app, ["train", "one.yaml", "--plain"])
    assert ended.exit_code == 1
    assert "Not equal: in epoch 2 they differ by 1.0e-03, and rounding explains at most" in ended.stdout


def test_other_products_than_fp32_are_not_compared(workspace: Path) -> None:
    """They differ by what they are for."""
    model = train.train(tiny(search={"epochs": 1}, space=ONE))
    model._spec = model._spec.model_copy(update={"precision": "bf16"})
    with pytest.raises(DeviceError, match="precision: must be fp32 where plain PyTorch trains beside it, got bf16"):
        model.beside_plain()


def test_what_rounding_explains_grows_with_the_plain_loops_own_error() -> None:
    """At least 1e-5; a hundred times the largest difference so far from double precision; from 1 on anything."""
    plain_ones = [(1.0, 1.0), (1.0, 1.00001), (1.0, 1.0), (1.5, 1.0), (1.0, 1.0)]
    bounds = rounding_bounds(plain_ones, [(1.0, 1.0)] * 5)
    assert bounds[0] == LEAST
    assert bounds[1:3] == pytest.approx([1e-3, 1e-3])
    assert bounds[3:] == [np.inf, np.inf]


@pytest.mark.parametrize(
    ("ours", "theirs", "holds", "said"),
    [
        ((1.0, 2.0), (1.0, 2.0), True, "Equal as far as"),
        ((1.0, 2.1), (1.0, 2.0), False, "Not equal: in epoch 1 they differ by 5.0e-02"),
        ((1.0, np.nan), (1.0, np.inf), True, "Equal as far as"),
        ((1.0, np.nan), (1.0, 2.0), False, "Not equal: in epoch 1 they differ by inf"),
        ((0.0, 0.0), (0.0, 0.0), True, "Equal as far as"),
    ],
)
def test_losses_agree_within_their_bound(ours, theirs, holds: bool, said: str) -> None:
    """Both losses count; two that are no numbers are equal, one alone is not."""
    found = Agreement((agreement.Epoch(1, ours, theirs, LEAST),))
    assert found.holds is holds
    assert said in as_text(found, "avx2")


def test_the_plain_loop_shares_no_code_with_what_it_judges() -> None:
    """Of this project it imports the meaning of a declaration and of terms alone, and none of their arithmetic, so a
    fault in a layer, a loss or a step is not its own."""
    tree = ast.parse(Path(plain.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    meaning = {"tuner.spec.architecture", "tuner.spec.work", "tuner.data.terms", "tuner.data.linear_start"}
    assert {name for name in imported if name.startswith("tuner")} == meaning
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    arithmetic = {"cells", "link", "outputs", "filled", "completion"} & {name for name in vars(Terms) if name[0] != "_"}
    assert arithmetic
    assert not arithmetic & read
