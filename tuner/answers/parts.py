"""The parts that stored and shown answers have in common: baselines, final stage, test scores, measures, front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, model_serializer

from tuner.answers.base import Answer, Loss, Params


class BaselineLosses(Answer):
    """Losses on one split that a model has to beat.

    Attributes:
        mean: of the training rows' mean, predicted for every row.
        pca: of PCA with a code of the model's length.
    """

    mean: Loss
    pca: Loss


@dataclass(frozen=True, slots=True)
class Baselines:
    """The baselines' losses on both splits that did not fit them."""

    validation: BaselineLosses
    test: BaselineLosses


class Configuration(Answer):
    """A configuration that the final stage trained again.

    Attributes:
        trial: the trial that found it.
        params: its hyperparameters.
        mean: of the validation losses over the completed runs; None where no run was completed.
        low: lower end of the mean's 95 % interval; None with fewer than two completed runs.
        high: upper end of the interval.
        losses: the validation loss of each run, by the run's index; None for a lost run. By rules 4 of the winner
            alone, from seeds that had no part in the choice.
        lost: why each lost run has no loss, one sentence each.
        choosing: by rules 4, the validation losses that the winner was chosen by, one a seed.
        predicted: by rules 4, the loss that the search's trial was predicted to end at, which made it a candidate.
        pruned: whether the search had ended that trial early.
    """

    trial: int
    params: Params
    mean: float | None
    low: float | None
    high: float | None
    losses: tuple[float | None, ...]
    lost: tuple[str, ...]
    choosing: tuple[float | None, ...] = ()
    predicted: float | None = None
    pruned: bool = False

    @property
    def completed(self) -> list[float]:
        """The losses of the completed runs."""
        return [loss for loss in self.losses if loss is not None]


class LongerTraining(Answer):
    """How the winner was trained in the final stage, by rules 4.

    Attributes:
        length: of each run, in `unit`.
        searched: length of the search's longest training; where trials train until flat, of the shortest whole one.
        unit: epochs or steps.
        schedule: of the learning rate.
        constant: validation loss that the winner came to at a constant rate; None where that was not tried.
        cosine: with the rate falling to 0 along a cosine, from the same seed and over the same length.
        is_flat: whether the length was found where training on brought nothing more; else it is the longest that the
            budget allows, or declared.
    """

    length: int | float
    searched: int | float
    unit: Literal["epochs", "steps"]
    schedule: str
    constant: float | None
    cosine: float | None
    is_flat: bool


class FinalStage(Answer):
    """What the final stage found: the best configurations, each trained again with several seeds.

    Attributes:
        top: how many configurations were to be trained again.
        seeds: runs of each configuration; by rules 4 of the winner, beside those that chose it.
        trials: how many trials the search had when the configurations were chosen.
        method: how means and differences were computed.
        configurations: the winner first.
        winner: the trial whose configuration won; None where no run was completed.
        exported: index of the winner's run that is exported; None where there is no winner.
        sentence: the result in plain words.
        test_loss: of the exported run; None until it is scored.
        mean_test_loss: over the winner's completed runs; None until they are scored.
        training: by rules 4, how the winner was trained; None where there is no winner.
        of_choosing: whether the minutes were over before a further seed was trained, so that the winner's losses are
            those that it was chosen by.
    """

    top: int
    seeds: int
    trials: int
    method: str
    configurations: tuple[Configuration, ...]
    winner: int | None
    exported: int | None
    sentence: str
    test_loss: Loss | None = None
    mean_test_loss: Loss | None = None
    training: LongerTraining | None = None
    of_choosing: bool = False

    @property
    def best(self) -> Configuration | None:
        """The winner's configuration."""
        return next((one for one in self.configurations if one.trial == self.winner), None)

    @property
    def unscored(self) -> FinalStage:
        """The same without test losses: what follows from the runs alone."""
        return self.model_copy(update={"test_loss": None, "mean_test_loss": None})


class Scores(Answer):
    """Which models met the test split, and what they scored.

    Attributes:
        trial: the trial whose configuration they are of.
        runs: numbers of the trial or of the final stage's runs, the exported one first.
        losses: the test loss of each.
    """

    trial: int
    runs: tuple[int, ...]
    losses: tuple[Loss, ...]


class Measures(Answer):
    """What a code is worth apart from the loss; the measures that do not apply to a model are left out.

    Attributes:
        effective_dims: participation ratio of the codes' covariance.
        dead_units: units of the code with next to no variance.
        trustworthiness: whether neighbours by code are neighbours in the data; 1 is best.
        kl: divergence from the prior in nats, of a variational autoencoder.
        active_units: units of a variational code that carry information.
        probe_accuracy: of a linear classifier of the labels from the codes.
        anomaly_auroc: area under the ROC curve of the reconstruction error for the declared anomaly.
    """

    # A measure that a newer version recorded is kept under its name.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int | float]

    effective_dims: float | None = None
    dead_units: int | float | None = None
    trustworthiness: float | None = None
    kl: float | None = None
    active_units: int | float | None = None
    probe_accuracy: float | None = None
    anomaly_auroc: float | None = None

    def found(self) -> dict[str, int | float]:
        """The measures that there are, by name."""
        known = {name: getattr(self, name) for name in type(self).model_fields} | self.__pydantic_extra__
        return {name: value for name, value in known.items() if value is not None}

    @model_serializer
    def _written(self) -> dict[str, int | float]:
        return self.found()


class ColumnQuality(Answer):
    """How well a model reconstructs one column of a table.

    Attributes:
        name: the column's.
        type: what it holds.
        observed: rows in which it has a value, or one that a missing value was filled with.
        r2: of a number or a moment, the share of its variance that is reconstructed, as it is scaled: 1 is perfect, 0
            no better than its mean; None of anything else, and where it is constant.
        accuracy: of a yes or no or a level, the share of rows whose likeliest value is theirs; None of a number.
        commonest: what always guessing the commonest value would reach; None of a number.
        share: of the whole loss of these rows, the column's.
    """

    name: str
    type: str
    observed: int
    r2: float | None
    accuracy: float | None
    commonest: float | None
    share: float

    @property
    def skill(self) -> float | None:
        """R2, or of the rows that have another value than the commonest the share that accuracy gains; 1 is perfect.

        None where there is nothing to tell, as of a column with one value.
        """
        if self.accuracy is None or self.commonest is None:
            return self.r2
        if self.commonest == 1:
            return None if self.accuracy == 1 else self.accuracy - 1
        return (self.accuracy - self.commonest) / (1 - self.commonest)


class FrontPoint(Answer):
    """A trial of the Pareto front.

    Attributes:
        number: the trial.
        val_loss: its validation loss.
        bottleneck: length of its code.
        parameters: weights and biases.
        pca_val_loss: the validation loss of PCA with a code of this length; None until the study is scored.
        knee: whether it is the front's knee (`tuner.spec.pareto.knee`).
    """

    number: int
    val_loss: float
    bottleneck: int
    parameters: int
    pca_val_loss: Loss | None
    knee: bool


@dataclass(frozen=True, slots=True)
class ModelLosses:
    """What is known of an exported model's losses apart from its own validation loss.

    Attributes:
        validation_is: what the validation loss was chosen from, such as `the lowest of 5 seeds`; None where it was not
            chosen.
        test: its test loss; None where it was not scored.
        final: what the final stage found.
        baselines: on the test split.
        validation_baselines: on the validation split.
        threshold_on_test: whether test rows may set the anomaly threshold, because nothing is chosen by them any more.
        columns: of a table, how well each column of the test rows is reconstructed.
    """

    validation_is: str | None = None
    test: float | None = None
    final: FinalStage | None = None
    baselines: BaselineLosses | None = None
    validation_baselines: BaselineLosses | None = None
    threshold_on_test: bool = False
    columns: tuple[ColumnQuality, ...] = ()
