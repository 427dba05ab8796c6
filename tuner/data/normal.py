"""Training on normal rows alone: `data.train_on: normal`, where data.label has two classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tuner.data.labels import Labels
from tuner.data.split import Split
from tuner.errors import DataError


def normal_training(split: Split, labels: Labels | None, where: str) -> tuple[Split, str]:
    """A split whose training rows are normal, and a sentence on the faults, the rows of the rarer class.

    Those of the training split are left out of all splits: among the test rows they would make faults more frequent
    there than they are, and its loss another one than that of the validation rows. Validation and test keep theirs,
    which tell how many of them a model finds.

    Args:
        split: of all rows.
        labels: their classes.
        where: the source, for messages.

    Raises:
        DataError: the label has not two classes, or no row is left to train on.
    """
    if labels is None or labels.anomaly is None:
        count = 0 if labels is None else len(labels.classes)
        raise DataError(f"{where}: data.train_on normal needs a data.label of two classes, got {count}.")
    fault = labels.codes == labels.classes.index(labels.anomaly)
    normal = split.train[~fault[split.train]]
    if not len(normal):
        raise DataError(f"{where}: data.train_on normal must leave rows to train on, but all are {labels.anomaly}.")
    gone, validation, test = (
        int(np.count_nonzero(fault[part])) for part in (split.train, split.validation, split.test)
    )
    return replace(split, train=normal), (
        f"data.train_on normal: {gone:,} training rows whose {labels.name} is {labels.anomaly}, the rarer class, are"
        f" left out; {validation:,} such validation and {test:,} such test rows stay, and count in their losses."
    )
