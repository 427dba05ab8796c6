"""Claims about studies that search the learning-rate schedule and the bound on the gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import tiny

import tuner
from tuner.data.prepare import prepare
from tuner.data.sources import Sources
from tuner.export.model import load_model
from tuner.export.write import Origin, exported_spec
from tuner.learning.packs import training_data
from tuner.learning.training import train_alone
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import read_spec
from tuner.spec.work import TrainingPlan, Trial

NEW = ("schedule", "warmup", "clip_norm")


def scheduled() -> dict[str, Any]:
    """The tiny study with all three, searched and conditional."""
    space = {
        **tiny()["space"],
        "schedule": {"type": "categorical", "choices": ["constant", "cosine", "linear"]},
        "warmup": {"type": "float", "low": 0.0, "high": 0.3, "when": {"schedule": ["cosine", "linear"]}},
        "clip_norm": {"type": "categorical", "choices": [0.0, 0.05]},
    }
    return tiny(space=space)


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_pruned_trials_are_parts_of_whole_trainings(pruner: str, workspace: Path) -> None:
    """Laws 1 and 2: whichever rung it ended at, a trial's value is that of a training planned for search.epochs."""
    declared = scheduled()
    declared["search"]["pruner"] = pruner
    study = tuner.run(declared, workers=0)
    rows = prepare(study.spec, Sources(workspace), workspace / ".tuner").open()
    data = training_data(rows.train, rows.validation, "cpu", "fp32", "auto", start=rows.start)
    assert {record.epochs for record in study.records} > {9}
    for record in study.records:
        one = Trial(record.number, record.point, record.seed)
        alone = train_alone(one, data, "mse", record.epochs, plan=TrainingPlan(9)).curve
        assert alone.best == (record.value, record.best_epoch)
    assert {f"param.{name}" for name in NEW} <= set(study.trials.columns)


def test_the_final_stage_trains_the_whole_length_and_its_export_trains_the_same(workspace: Path) -> None:
    """`tuner train` of the export, planned for search.epochs again, comes to the exported run's value."""
    study = tuner.run({**scheduled(), "final": {"top": 1, "seeds": 2}}, workers=0)
    exported = study.export("best")
    assert read_spec(exported / "config.yaml").search.epochs == 9
    assert tuner.train(exported / "config.yaml").value == load_model(exported).card.losses.validation


def test_a_study_that_leaves_them_out_does_not_show_them(workspace: Path) -> None:
    """Neither its table nor its exported configuration names any of the three."""
    study = tuner.run(tiny(search={"trials": 3, "epochs": 2, "pruner": "none"}), workers=0)
    one = study.records[0]
    trial, length = Trial(0, one.point, one.seed), {"epochs": one.epochs}
    config = to_yaml(exported_spec(study.spec, workspace, trial, length, Origin()))
    for name in NEW:
        assert f"param.{name}" not in study.trials.columns
        assert name not in config


def test_training_beside_the_plain_loop_agrees(workspace: Path) -> None:
    """`tuner train --plain` judges a scheduled, clipped training by PyTorch's own schedulers and clipping."""
    space = {"bottleneck": 2, "width": 16, "batch_size": 16, "schedule": "cosine", "warmup": 0.2, "clip_norm": 0.05}
    model = tuner.train(
        {
            "name": "one",
            "data": {"source": "sklearn:iris"},
            "space": space,
            "search": {"trials": 1, "epochs": 8},
            "device": "cpu",
        }
    )
    assert model.beside_plain().holds
