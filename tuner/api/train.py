"""Train one configuration in which nothing is searched, such as an exported one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.analysis.agreement import Agreement, agreement
from tuner.answers.parts import ModelLosses
from tuner.api.workspace import workspace_for
from tuner.data.prepare import Prepared, prepare
from tuner.data.rows import Rows
from tuner.data.sources import Sources
from tuner.errors import DeviceError, Problem, SpecError, StudyError
from tuner.export.write import Origin, write_export
from tuner.learning.device import check_precision, resolve
from tuner.learning.inference.network import Network
from tuner.learning.packs import step_name, training_data
from tuner.learning.training import Trained, train_to_its_end
from tuner.search.lengths import resolved
from tuner.settings import Workspace
from tuner.spec.architecture import layer_sizes
from tuner.spec.defaults import completed, rules_of
from tuner.spec.length import Length
from tuner.spec.reader import declared, with_memory
from tuner.spec.study import StudySpec
from tuner.spec.work import TrainingPlan, Trial, TrialEnd, TrialState, derive_seed


def train(
    source: str | Path | StudySpec | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    on_epoch: Callable[[int], object] | None = None,
    data: object = None,
    workspace: Workspace | None = None,
) -> Model:
    """Train the one configuration of a declaration in which every hyperparameter is fixed, such as an exported one.

    Args:
        source: a space file, or what it says.
        overrides: `search.epochs=20` each.
        on_epoch: called after each epoch with its number.
        data: rows in memory, as for `run`.
        workspace: where prepared data is kept, in place of the current folder.

    Raises:
        SpecError: the declaration has mistakes, or something in it is searched.
        DataError, DeviceError: as for `run`.
        StudyError: the training diverged before its first epoch was done.
    """
    workspace = workspace_for(workspace, None)
    spec, origin = declared(source, with_memory(overrides, data), workspace.folder)
    searched = spec.space.searched()
    if searched:
        where = str(source) if isinstance(source, str | Path) else "spec"
        raise SpecError(
            Problem(
                f"space.{name}", f"must be a plain value to train one model, got the type {value.type}", None, where
            )
            for name, value in searched.items()
        )
    rules = rules_of(spec)
    spec = completed(spec, rules)
    prepared = prepare(spec, Sources(origin.parent, workspace.data_root, data), workspace.work, rules)
    spec, rows = spec.model_copy(update={"loss": prepared.loss}), prepared.open()
    device = resolve(spec.device)
    seed = derive_seed(spec.search.seed, "trial", 0) if spec.search.trial_seed is None else spec.search.trial_seed
    trial = Trial(0, spec.space.point({}), seed)
    check_precision(spec.precision, device)
    data = training_data(rows.train, rows.validation, device, spec.precision, spec.step, rows.terms, start=rows.start)
    length = resolved(spec, len(rows.train), len(rows.validation))
    trained = train_to_its_end(trial, data, spec.loss, length, on_epoch)
    return Model((spec, origin.parent), (trial, length.plan), device, (prepared, rows), trained)


class Model:
    """One configuration, trained.

    Attributes:
        value: the best epoch's validation loss.
        best_epoch: that epoch.
        epochs: epochs trained.
    """

    def __init__(
        self,
        declared: tuple[StudySpec, Path],
        planned: tuple[Trial, TrainingPlan],
        device: str,
        data: tuple[Prepared, Rows],
        trained: Trained,
    ) -> None:
        (self._spec, self._base), (self._trial, self._plan), self._device = declared, planned, device
        spec, trial = self._spec, self._trial
        self._prepared, self._rows = data
        self._curve = trained.curve
        self.value, self.best_epoch = trained.curve.best
        self.epochs = trained.curve.last
        if self.best_epoch is None:
            raise StudyError(f"{spec.name}: the training diverged in epoch {self.epochs}, so there is no model.")
        sizes = layer_sizes(self._prepared.features, trial.point)
        self._network = Network(sizes, trial.point.activation, spec.loss, trained.weights, self._rows.terms)

    @property
    def best_at(self) -> str:
        """When its loss was lowest: `in epoch 7 of 12`, `after 120 of 270 steps`."""
        length = Length.of(self._plan)
        if length.unit == "steps":
            return f"after {length.amount(self.best_epoch or 0):,} of {length.shown(self.epochs)}"
        return f"{length.at(self.best_epoch or 0, 'in')} of {length.amount(self.epochs)}"

    @property
    def step(self) -> str:
        """What trained it: `avx512`, `avx2` or `plain` of the compiled step, or `torch`."""
        return step_name(self._device, self._spec.step)

    def beside_plain(self) -> Agreement:
        """Train the same configuration by an ordinary PyTorch loop, and compare every epoch's losses.

        Raises:
            DeviceError: the products are not fp32, so that the losses cannot be equal.
        """
        if self._spec.precision != "fp32":
            raise DeviceError(
                f"precision: must be fp32 where plain PyTorch trains beside it, got {self._spec.precision}."
            )
        return agreement(self._trial, self._rows, self._spec.loss, self._curve, self._device, self._plan)

    def export(
        self,
        path: str | Path,
        force: bool = False,
        quantile: float = 0.99,
        on_step: Callable[[str], object] | None = None,
    ) -> Path:
        """Write the configuration and the model into one folder, as `Study.export` does.

        Raises:
            ExportError: the folder exists, or cannot be written.
        """
        place = Path(path).absolute()
        ended = TrialEnd(0, TrialState.COMPLETE, self.value, self.best_epoch, self.epochs, "")
        return write_export(
            place,
            spec=self._spec,
            base=self._base,
            trial=self._trial,
            plan=self._plan,
            end=ended,
            network=self._network,
            preprocessor=self._prepared.preprocessor,
            rows=self._rows,
            labels=self._prepared.source.open_labels(),
            quantile=quantile,
            on_step=on_step,
            # Nothing was compared here, so the test rows are as fresh as they were.
            losses=ModelLosses(threshold_on_test=True),
            origin=Origin(self._prepared.fingerprint, self._device, self.step, rules=rules_of(self._spec)),
            force=force,
        )
