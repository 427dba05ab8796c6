"""Claims about what a worker measures of a finished trial: what scikit-learn says of the best epoch's weights."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain import digits, trial
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.manifold import trustworthiness
from sklearn.metrics import roc_auc_score

from tuner.data.rows import LabelFile, RowsFile
from tuner.errors import DataError
from tuner.execution import measures
from tuner.execution.context import Workplace
from tuner.execution.worker import run_segment
from tuner.learning import checkpoint, folding, quality
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.draws import generator
from tuner.learning.inference.network import Network
from tuner.learning.layout import Layout, padded_sizes
from tuner.learning.packs import compiled
from tuner.learning.scoring import encode
from tuner.spec.architecture import layer_sizes
from tuner.spec.length import Length
from tuner.spec.work import Segment, TrainingPlan

TRAIN, HELD_OUT, EPOCHS = 500, 300, 3


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A study of some rows of digits; the ones are the anomaly."""
    np.save(tmp_path / "rows.npy", np.concatenate(digits(TRAIN, HELD_OUT)))
    rows = RowsFile(str(tmp_path / "rows.npy"), (TRAIN, HELD_OUT, 0), 64)
    return Workplace(
        rows,
        CheckpointFolder(str(tmp_path / "checkpoints")),
        "mse",
        "cpu",
        Length.of(TrainingPlan(EPOCHS)),
        "fp32",
        7,
    )


def labelled(place: Workplace, labels: np.ndarray) -> Workplace:
    path = Path(place.rows.name).with_name("labels.npy")
    np.save(path, labels[: TRAIN + HELD_OUT].astype(np.int32))
    label_file = LabelFile(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    return replace(place, rows=replace(place.rows, labels=label_file))


def test_every_measure_is_what_scikit_learn_says_of_the_best_epochs_weights(place: Workplace) -> None:
    """Codes from the plain module with the checkpoint's best weights; a probe of ten classes."""
    one, labels = trial(0), load_digits().target
    (curve,) = run_segment(labelled(place, labels), Segment((one,), 0, EPOCHS), [()]).curves
    assert curve.checkpoint is not None
    weights = folding.best_weights(place.checkpoints.get(curve.checkpoint) or b"", None)
    network = Network(layer_sizes(64, one.point), one.point.activation, "mse", weights)
    train, held_out = digits(TRAIN, HELD_OUT)
    codes = network.encode(held_out)
    eigenvalues = np.linalg.eigvalsh(np.cov(codes.T))
    sample = np.sort(generator(7, "quality").permutation(HELD_OUT)[: measures.SAMPLE])
    probe = RidgeClassifier().fit(network.encode(train), labels[:TRAIN])
    assert list(curve.measures) == ["effective_dims", "dead_units", "trustworthiness", "probe_accuracy"]
    assert curve.measures["effective_dims"] == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-4)
    assert curve.measures["dead_units"] == 0
    expected = trustworthiness(held_out[sample], codes[sample], n_neighbors=5)
    assert curve.measures["trustworthiness"] == pytest.approx(expected, abs=2e-4)  # grey levels are tied
    accuracy = probe.score(codes, labels[TRAIN : TRAIN + HELD_OUT])
    assert curve.measures["probe_accuracy"] == pytest.approx(accuracy, abs=1.01 / HELD_OUT)


def test_of_two_classes_the_rarer_one_is_the_anomaly(place: Workplace) -> None:
    """AUROC of the plain module's error per row, the ones against all other digits."""
    one, labels = trial(0), load_digits().target != 1
    (curve,) = run_segment(labelled(place, labels), Segment((one,), 0, EPOCHS), [()]).curves
    assert curve.checkpoint is not None
    weights = folding.best_weights(place.checkpoints.get(curve.checkpoint) or b"", None)
    network = Network(layer_sizes(64, one.point), one.point.activation, "mse", weights)
    errors = network.losses(digits(TRAIN, HELD_OUT)[1])
    expected = roc_auc_score(~labels[TRAIN : TRAIN + HELD_OUT], errors)
    assert curve.measures["anomaly_auroc"] == pytest.approx(expected, abs=1e-4)
    assert "probe_accuracy" in curve.measures


@pytest.mark.skipif(not compiled("cpu", "auto"), reason="no C++ compiler was there when the project was installed")
@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_the_compiled_step_encodes_as_the_plain_module_does(activation: str, loss: str) -> None:
    """Codes and each row's error to 1e-5, for every activation, and for chunks with a remainder."""
    one = trial(0, activation=activation, width=37, bottleneck=5)
    sizes = layer_sizes(64, one.point)
    row = np.zeros(Layout.of(padded_sizes(sizes)).length, np.float32)
    draw = np.random.default_rng(0)
    layout = Layout.of(padded_sizes(sizes))
    for layer, (weight, bias) in enumerate(zip(layout.weights(row[None]), layout.biases(row[None]), strict=True)):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        weight[0, :inputs, :outputs] = draw.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        bias[0, 0, :outputs] = draw.normal(size=outputs) / 3
    rows = digits(200)[0]
    codes, errors, _ = encode(one.point, loss, row, rows, compiled=True)
    plain_codes, plain_errors, _ = encode(one.point, loss, row, rows, compiled=False)
    assert codes.shape == plain_codes.shape == (200, 5)
    np.testing.assert_allclose(codes, plain_codes, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(errors, plain_errors, rtol=1e-5, atol=1e-6)


def test_only_trials_that_came_to_the_end_are_measured(place: Workplace) -> None:
    """Not below the top rung, and not one that diverged there; the others whatever their neighbours are."""
    trials = (trial(0, learning_rate=1e25), trial(1), trial(2, depth=0))
    below = run_segment(place, Segment(trials[1:], 0, EPOCHS - 1), [()] * 2)
    assert [curve.measures for curve in below.curves] == [{}, {}]
    together = run_segment(place, Segment(trials, 0, EPOCHS), [()] * 3)
    assert together.curves[0].diverged
    assert together.curves[0].measures == {}
    for one, curve in zip(trials[1:], together.curves[1:], strict=True):
        (alone,) = run_segment(place, Segment((one,), 0, EPOCHS), [()]).curves
        assert curve.measures == alone.measures
        assert len(alone.measures) == 3


def test_labels_change_no_bit_of_the_training(place: Workplace) -> None:
    """The same losses and the same state with labels and without."""
    one = trial(0)
    (without,) = run_segment(place, Segment((one,), 0, EPOCHS), [()]).curves
    aside = replace(
        labelled(place, load_digits().target), checkpoints=CheckpointFolder(f"{place.checkpoints.folder}-aside")
    )
    (with_labels,) = run_segment(aside, Segment((one,), 0, EPOCHS), [()]).curves
    assert with_labels.val_loss == without.val_loss
    assert with_labels.train_loss == without.train_loss
    assert with_labels.checkpoint is not None
    assert without.checkpoint is not None
    both = aside.checkpoints.get(with_labels.checkpoint), place.checkpoints.get(without.checkpoint)
    state, expected = (checkpoint.loads(content or b"") for content in both)
    assert (state.parameters == expected.parameters).all()
    assert (state.best == expected.best).all()
    assert {**with_labels.measures, **without.measures} == with_labels.measures


def test_the_sample_is_drawn_from_the_studys_seed(place: Workplace) -> None:
    """Another seed, other neighbours; what is measured on all rows stays."""
    one = trial(0)
    found = [
        run_segment(replace(place, seed=seed), Segment((one,), 0, EPOCHS), [()]).curves[0].measures for seed in (7, 8)
    ]
    assert found[0]["trustworthiness"] != found[1]["trustworthiness"]
    assert found[0]["effective_dims"] == found[1]["effective_dims"]


def test_a_measure_whose_arithmetic_fails_is_left_out_with_the_reason(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others and the losses are there."""

    def broken(*_: object) -> float:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(quality, "trustworthiness", broken)
    (curve,) = run_segment(place, Segment((trial(0),), 0, EPOCHS), [()]).curves
    assert list(curve.measures) == ["effective_dims", "dead_units"]
    assert curve.unmeasured == {"trustworthiness": "LinAlgError: singular"}
    assert curve.last == EPOCHS


@pytest.mark.parametrize("settings", ["warn", "raise"])
def test_codes_that_are_no_numbers_are_told_of_whatever_numpy_is_set_to(place: Workplace, settings: str) -> None:
    """Weights beyond single precision's range: no warning, no exception, and the same reasons; what says nothing
    about such a trial (no labels, not variational) needs none."""
    one = trial(0, depth=0)
    weights = np.full(Layout.of(padded_sizes(layer_sizes(64, one.point))).length, 3e38, np.float32)
    with np.errstate(all=settings), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measures.measure(place, one, weights)
    assert found.values == {}
    reason = "FloatingPointError: the codes are not all finite numbers"
    assert found.reasons == dict.fromkeys(("effective_dims", "dead_units", "trustworthiness"), reason)


def test_a_measure_that_fails_in_any_other_way_fails_the_segment(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be this machine's doing, or this moment's: the table must not depend on it; no state is left."""

    def broken(*_: object) -> float:
        raise ValueError("no such thing")

    monkeypatch.setattr(quality, "trustworthiness", broken)
    with pytest.raises(ValueError, match="no such thing"):
        run_segment(place, Segment((trial(0),), 0, EPOCHS), [()])
    assert not list(Path(place.checkpoints.folder).glob("*"))


def test_memory_that_runs_out_for_a_moment_changes_no_measure(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack's halves are trained and measured one after the other, to the same bits."""
    trials = (trial(0), trial(1), trial(2))
    expected = run_segment(place, Segment(trials, 0, EPOCHS), [()] * 3)
    real, calls = quality.trustworthiness, list[int]()

    def tight(*arguments: Any) -> float:
        calls.append(len(calls))
        return float(np.empty(2**58).sum()) if len(calls) == 2 else real(*arguments)

    monkeypatch.setattr(quality, "trustworthiness", tight)
    found = run_segment(place, Segment(trials, 0, EPOCHS), [()] * 3)
    assert len(calls) == 5
    assert found.infeasible == ()
    assert [curve.measures for curve in found.curves] == [curve.measures for curve in expected.curves]
    assert [curve.val_loss for curve in found.curves] == [curve.val_loss for curve in expected.curves]


def test_a_trial_that_can_be_trained_but_not_measured_is_infeasible(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone, with a reason that says so; an empty cell would stay for good."""
    real, big = quality.effective_dims, 2**58

    def tight(scatter: Any) -> float:
        return float(np.empty(big).sum()) if len(scatter) == 9 else real(scatter)

    monkeypatch.setattr(quality, "effective_dims", tight)
    trials = (trial(0), trial(1, bottleneck=9), trial(2))
    found = run_segment(place, Segment(trials, 0, EPOCHS), [()] * 3)
    assert [curve.number for curve in found.curves] == [0, 2]
    ((number, reason),) = found.infeasible
    assert number == 1
    assert reason.startswith("can be trained, but what its code is worth needs more memory than there is")


def test_a_damaged_file_of_labels_is_noticed(place: Workplace) -> None:
    """A flipped bit, and a file that is gone, are said in a sentence: they would change the table."""
    damaged = labelled(place, load_digits().target)
    assert damaged.rows.labels is not None
    path = Path(damaged.rows.labels.path)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.npy: the file of labels is damaged; delete it and run the study"):
        run_segment(damaged, Segment((trial(0),), 0, EPOCHS), [()])
    path.unlink()
    with pytest.raises(DataError, match=r"labels\.npy: the labels cannot be read \(No such file"):
        run_segment(damaged, Segment((trial(0),), 0, EPOCHS), [()])
