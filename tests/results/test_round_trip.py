"""Claims about a whole round: trained, exported, trained again from what was exported, loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tuner
from tuner.analysis.baselines import baselines
from tuner.answers.parts import ModelLosses
from tuner.data.prepare import Prepared, prepare
from tuner.data.rows import open_rows
from tuner.data.sources import Sources
from tuner.export.apply import Request, apply
from tuner.export.density import Density
from tuner.export.model import load_model
from tuner.export.write import Origin, write_export
from tuner.learning.inference.network import Network
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import Trained, train_alone
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.reader import read_spec
from tuner.spec.study import StudySpec
from tuner.spec.work import TrainingPlan, Trial, TrialEnd, TrialState

EPOCHS = 15


def trained(spec: StudySpec, base: Path, trial: Trial, folder: Path) -> tuple[Prepared, Trained]:
    prepared = prepare(spec, Sources(base), folder)
    rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
    data = TrainingData.of(rows.train, rows.validation, "cpu")
    return prepared, train_alone(trial, data, spec.loss, spec.search.epochs)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_an_export_trains_again_to_the_same_bits(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another current folder config.yaml gives the same curve and weights; the loaded model scores its value."""
    draw, home, elsewhere = np.random.default_rng(4), tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    code = draw.normal(size=(300, 2))
    table = pd.DataFrame(np.tanh(code @ draw.normal(size=(2, 5))) * 40 + 7, columns=list("abcde"))
    table.to_csv(home / "rows.csv", index=False)
    space = {"bottleneck": 2, "activation": "gelu", "width": 16, "batch_size": 32, "learning_rate": 3e-3}
    spec = StudySpec.model_validate(
        {
            "name": "round",
            "data": {"source": "rows.csv"},
            "space": space,
            "loss": loss,
            "search": {"trials": 9, "epochs": EPOCHS, "seed": 12},
        }
    )
    trial = Trial(4, Hyperparameters(**spec.space.fixed()), 2**60 + 1)  # type: ignore[arg-type]
    prepared, first = trained(spec, home, trial, home)
    value = min(first.curve.val_loss)
    network = Network(layer_sizes(5, trial.point), "gelu", loss, first.weights)
    folder = write_export(
        elsewhere / "best",
        spec=spec,
        base=home,
        trial=trial,
        plan=TrainingPlan(EPOCHS),
        end=TrialEnd(4, TrialState.COMPLETE, value, first.curve.val_loss.index(value) + 1, EPOCHS, ""),
        network=network,
        preprocessor=prepared.preprocessor,
        rows=open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test)),
        losses=ModelLosses(),
        origin=Origin(),
    )

    monkeypatch.chdir(elsewhere)
    config = read_spec("best/config.yaml")
    seed = config.search.trial_seed
    assert seed is not None
    again = Trial(0, Hyperparameters(**config.space.fixed()), seed)  # type: ignore[arg-type]
    _, second = trained(config, folder, again, elsewhere)
    assert second.curve.val_loss == first.curve.val_loss
    assert second.curve.train_loss == first.curve.train_loss
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(second.weights[name], weight)

    model = load_model("best")
    assert model.card.losses.validation == value
    rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
    table = prepared.preprocessor.table
    assert table is not None
    raw = table.decode(prepared.preprocessor.inverse(rows.validation))
    assert model.score(raw).mean() == pytest.approx(value, rel=1e-5)
    assert value < baselines(rows, 2, loss).validation.mean


def test_a_variational_model_is_exported_with_its_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With layer normalisation, through every file: `sample` decodes standard normal codes, ONNX agrees with torch."""
    monkeypatch.chdir(tmp_path)
    space = {"kind": "variational", "beta": 0.1, "norm": "layer", "activation": "silu", "bottleneck": 2}
    model = tuner.train(
        {
            "name": "prior",
            "data": {"source": "sklearn:iris"},
            "space": {**space, "width": 16, "depth": 1, "batch_size": 16, "learning_rate": 3e-3},
            "search": {"trials": 1, "epochs": 3, "sampler": "random", "pruner": "none"},
            "device": "cpu",
        }
    )
    loaded = load_model(model.export("best"))
    assert json.loads((tmp_path / "best" / "density.json").read_text())["kind"] == "prior"
    codes = np.concatenate(list(Density.prior(2).samples(50, 7)))
    low, high = loaded.decode(codes).min(0), loaded.decode(codes).max(0)
    drawn = loaded.sample(50, 7)
    assert ((drawn >= low - 1e-9) & (drawn <= high + 1e-9)).all()
    for what, onnx in (("a", False), ("b", True)):
        apply("best", Request("score", Path(f"{what}.npy"), "sklearn:iris", onnx=onnx))
    np.testing.assert_allclose(np.load("a.npy"), np.load("b.npy"), rtol=1e-4)
