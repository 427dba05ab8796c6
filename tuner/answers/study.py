"""A study's whole answer, as `tuner run --json` prints it and `Study.summary` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from tuner.answers.base import Answer, Loss, Params
from tuner.answers.parts import BaselineLosses, ColumnQuality, FinalStage, FrontPoint, Measures
from tuner.spec.names import Loss as LossName

FORMAT: Final = 1


class StoppedEarly(Answer):
    """Under which rule a study ended before its trials were spent.

    Attributes:
        patience: cohorts in a row without an improvement.
        min_improvement: what counted as an improvement, relative.
    """

    patience: int | None
    min_improvement: float


class WarmStarted(Answer):
    """Where a study's first trials came from.

    Attributes:
        origin: the study or exported folder; `from` in JSON.
        trials: how many trials.
        left_out: configurations there that the space has no room for.
    """

    origin: str = Field(alias="from")
    trials: int
    left_out: int


class BestTrial(Answer):
    """The complete trial with the lowest validation loss, or with several objectives the knee of the front.

    Attributes:
        number: the trial.
        value: its validation loss.
        params: its hyperparameters.
        test_loss: None where it was not scored, for instance because a final stage was.
        measures: what its code is worth.
    """

    number: int
    value: float
    params: Params
    test_loss: Loss | None
    measures: Measures


class Recommendation(Answer):
    """The model that the study recommends and `tuner export` writes; what was not measured is None.

    Attributes:
        trial: the trial that found the configuration.
        run: name of the run that is exported, `trial-0042` or `final-0042-3`.
        params: its hyperparameters.
        seed: of its training.
        loss: the loss function.
        sizes: units of every layer; None where the data's number of features is not recorded.
        parameters: weights and biases; None in the same case.
        best_epoch: the epoch whose weights are exported, counted from 1; 0 for the solution that training starts at.
        epochs: epochs trained.
        validation_loss: of the exported run.
        validation_loss_is: what that was chosen from, such as `the lowest of 5 seeds`.
        validation_losses: of every seed; None without a final stage.
        mean: of the validation losses over the seeds.
        low: lower end of the mean's 95 % interval.
        high: upper end of the interval.
        test_loss: of the exported run.
        mean_test_loss: over the seeds; without a final stage the same as `test_loss`.
        measures: what the exported run's code is worth.
        fingerprint: SHA-256 of the data and of its declaration.
        baselines: on the test split.
        validation_baselines: on the validation split.
    """

    trial: int
    run: str
    params: Params
    seed: int
    loss: LossName
    sizes: tuple[int, ...] | None
    parameters: int | None
    best_epoch: int | None
    epochs: int
    validation_loss: float | None
    validation_loss_is: str
    validation_losses: tuple[float | None, ...] | None
    mean: float | None
    low: float | None
    high: float | None
    test_loss: Loss | None
    mean_test_loss: Loss | None
    measures: Measures
    fingerprint: str
    baselines: BaselineLosses | None
    validation_baselines: BaselineLosses | None

    @property
    def value(self) -> float:
        """The validation loss to expect: the mean over the seeds, or the run's own without a final stage."""
        return (self.validation_loss or 0.0) if self.mean is None else self.mean

    @property
    def seeds(self) -> list[float]:
        """The validation losses of the completed seeds; none without a final stage."""
        return [loss for loss in self.validation_losses or () if loss is not None]


class TrainedOn(Answer):
    """Where a run of the study trained.

    Attributes:
        device: cpu, cuda:0 or mps.
        step: `avx512`, `avx2` or `plain` of the compiled step, or `torch`.
    """

    device: str
    step: str


class MlflowLinks(Answer):
    """Where MLflow shows the study, and what it does not show.

    Attributes:
        tracking_uri: MLflow's address, without secrets.
        experiment_id: None until something is published.
        run_id: of the study's run; None until something is published.
        view: key of the study's saved view.
        url: of the study's page; None until something is published.
        local: whether the address is a file of this machine and not a server.
        waiting: records that are not published yet.
        aside: records that MLflow will never take.
        reasons: why, a few of them.
        error: why records wait, where a run has just ended.
    """

    tracking_uri: str
    experiment_id: str | None
    run_id: str | None
    view: str | None
    url: str | None
    local: bool
    waiting: int
    aside: int
    reasons: tuple[str, ...]
    error: str | None = None


class StudyAnswer(Answer):
    """All that a study answers.

    Attributes:
        format: version of this form.
        study: its name.
        state: running, stopped or finished.
        counts: trials by state, the states that occur.
        stopped_early: None where the study did not end early.
        warm_start: None where the study began with nothing but its space.
        best: None where no trial is complete yet.
        winner: the recommended model; None where no trial is complete yet.
        final: what the final stage found; None without a final stage.
        test_uses: how often the test split has been used.
        front: the Pareto front, the lowest loss first; None with one objective.
        front_pca: PCA's validation loss by length of the code.
        baselines: on the test split, with codes as long as the winner's.
        validation_baselines: on the validation split.
        columns: of a table, how well the winner reconstructs each column of the test split; empty until it is scored.
        seconds: the runs' time in all; None until the study is scored.
        trained: where the runs trained, each device and step once.
        mlflow: where MLflow shows the study.
    """

    format: Literal[1] = FORMAT
    study: str
    state: Literal["running", "stopped", "finished"]
    counts: Mapping[str, int]
    stopped_early: StoppedEarly | None
    warm_start: WarmStarted | None
    best: BestTrial | None
    winner: Recommendation | None
    final: FinalStage | None
    test_uses: int | None
    front: tuple[FrontPoint, ...] | None
    front_pca: Mapping[int, Loss]
    baselines: BaselineLosses | None
    validation_baselines: BaselineLosses | None
    columns: tuple[ColumnQuality, ...]
    seconds: float | None
    trained: tuple[TrainedOn, ...]
    mlflow: MlflowLinks
