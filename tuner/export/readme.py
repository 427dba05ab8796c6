"""README.md of an export: what it is, how good it is, and programs that run as printed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tuner.answers.columns import HEAD, MEANING, left_out, shown
from tuner.data.preprocess import Preprocessor
from tuner.export.model_card import Card
from tuner.export.threshold import described
from tuner.ledger.trainers import step_in_words

if TYPE_CHECKING:
    from tuner.data.columns.encoder import TableEncoder

MOST_NAMED = 12  # columns that a program names one by one


def readme(card: Card, preprocessor: Preprocessor) -> str:
    """The whole file; its programs are run in the folder, by the tests as well.

    Args:
        card: what `metrics.json` says.
        preprocessor: the columns and their scaling.
    """
    code = card.sizes[len(card.sizes) // 2]
    return TEXT.format(
        study=card.study,
        trial=card.trial,
        features=card.sizes[0],
        code=code,
        kind=card.params.get("kind", "plain"),
        layers=" - ".join(map(str, card.sizes)),
        activation=card.activation,
        parameters=card.parameters,
        trained="" if card.step is None else f"It was trained on {card.device} by {step_in_words(card.step)}.\n",
        figures="\n".join([*_figures(card), *_quality(card)]),
        rows=_rows(preprocessor),
        frame=_frame(preprocessor),
        columns=_columns(preprocessor),
        clipped=_clipped(preprocessor),
        bounded=_bounded(card),
        scaling=preprocessor.scaling,
        unusual=_unusual(card),
        encoding=_encoding(preprocessor),
        taken="tables as they are, as shown" if preprocessor.table else "raw values everywhere",
        units="of the same kind" if preprocessor.table else "in the data's units",
        compared="unusual = scores > model.threshold\n"
        * (card.anomaly is not None and card.anomaly.threshold is not None),
    )


def _figures(card: Card) -> list[str]:
    baselines, losses = card.losses.baselines, card.losses
    lines = [
        f"| loss ({card.loss}, mean over rows and features, scaled) | this model | PCA, same code size | mean row |",
        "| --- | --- | --- | --- |",
    ]
    chosen = "" if losses.validation_is is None else f"; this model's is {losses.validation_is}{_mean(card)}"
    halved = "; half of them also set the threshold below" * (card.anomaly is not None and card.anomaly.split == "test")
    for name, value, others in (
        (f"validation rows (compared by{chosen})", losses.validation, baselines.validation or {}),
        (f"test rows (scored once{halved})", losses.test, baselines.test or {}),
    ):
        lines.append(f"| {name} | {_number(value)} | {_number(others.get('pca'))} | {_number(others.get('mean'))} |")
    return [*lines, *_certain(card), *(["", card.source_note] if card.source_note else [])]


def _mean(card: Card) -> str:
    """Of the seeds that the model is the lowest of."""
    return "" if card.final is None or len(card.final.losses) < 2 else f", their mean {card.final.mean:.6g}"


def _quality(card: Card) -> list[str]:
    """The columns of a table, the worst first."""
    if not card.columns:
        return []
    rows = [HEAD, ["---"] * len(HEAD), *shown(card.columns)]
    more = left_out(card.columns)
    table = [f"| {' | '.join(map(_in_a_row, row))} |" for row in rows]
    said = [f"{more} `columns` in metrics.json has all."] if more else []
    return ["", "Columns of the test rows, the worst first:", "", *table, "", *said, MEANING]


def _in_a_row(words: str) -> str:
    """A cell of a table in Markdown: in one line, and without what would begin another cell."""
    return " ".join(words.split()).replace("\\", "\\\\").replace("|", "\\|")


def _certain(card: Card) -> list[str]:
    """What the final stage says, where there was one."""
    if card.final is None:
        return []
    said, count = card.final, sum(loss is not None for loss in card.final.losses)
    interval = "" if said.low is None or said.high is None else f", 95 % interval {said.low:.6g} to {said.high:.6g}"
    tested = "" if said.mean_test_loss is None else f", its test loss {said.mean_test_loss:.6g}"
    average = (
        f"Over {count} seeds this configuration's validation loss is {said.mean:.6g} on average{interval}{tested}."
    )
    lowest = ["The model here is the run with the lowest one: expect the average of another training, not its loss."]
    return ["", average, *(lowest if count > 1 else []), said.sentence]


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g}"


def _unusual(card: Card) -> str:
    known = card.anomaly
    if known is None or known.threshold is None:
        return "No threshold is known: too many rows scored infinity."
    return (
        f"A row that scores more than {known.threshold:.6g} is unusual (`anomaly` in metrics.json): {described(known)}."
    )


def _clipped(preprocessor: Preprocessor) -> str:
    """What is done to values that lie far out."""
    if preprocessor.clip:
        return " and clipped to [0, 1]"
    limit = preprocessor.limit
    if limit is None:
        return ""
    bound = [f"within {value:g} of 0" for value in sorted({float(value) for value in limit[np.isfinite(limit)]})]
    which = "" if np.isfinite(limit).all() else ", of columns that are constant there"
    return f" and kept {' or '.join(bound)}{which}"


def _bounded(card: Card) -> str:
    """Which reconstructions are cut off."""
    if not card.bounded:
        return ""
    which = "All columns have" if card.bounded == card.sizes[0] else f"{card.bounded} of the columns have"
    return (
        f"\n{which} a limit on which a twentieth or more of the training rows lie (`bounds` in model.safetensors);"
        "\nreconstructions do not pass it."
    )


def _example(preprocessor: Preprocessor) -> list[float]:
    """A row of round numbers within the data's range."""
    middle = preprocessor.offset + preprocessor.scale / 2 * (preprocessor.scaling == "minmax")
    return [float(f"{value:.6g}") for value in middle]


def _rows(preprocessor: Preprocessor) -> str:
    if len(preprocessor.names) <= MOST_NAMED:
        return f"np.array([{_example(preprocessor)}])"
    return f"np.full((1, {len(preprocessor.names)}), {float(f'{np.mean(_example(preprocessor)):.6g}')!r})"


def _frame(preprocessor: Preprocessor) -> str:
    if preprocessor.table is not None:
        return _table_frame(preprocessor, preprocessor.table)
    if len(preprocessor.shape) > 1:
        return f"np.full((1, {', '.join(map(str, preprocessor.shape))}), {np.mean(_example(preprocessor)):.6g})"
    if len(preprocessor.names) > MOST_NAMED:
        return f"pd.DataFrame({_rows(preprocessor)}, columns=list(model.names))"
    return f"pd.DataFrame([{_example(preprocessor)}], columns={list(preprocessor.names)!r})"


def _table_frame(preprocessor: Preprocessor, table: TableEncoder) -> str:
    """A row of a table within the training rows' range; of one with many columns a drawn one."""
    if len(table.table_names) > MOST_NAMED or preprocessor.extent is None:
        return "model.sample(1)  # or a table of your own with the columns in model.names"
    middle = (preprocessor.extent.low + preprocessor.extent.high) / 2
    row = table.decode(middle[None])
    cells = ", ".join(f"{name!r}: [{_cell(row[name].iloc[0])}]" for name in table.table_names)
    return f"pd.DataFrame({{{cells}}})"


def _cell(value: object) -> str:
    """A value as Python writes it; a moment as its text."""
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return repr(value.item() if isinstance(value, np.generic) else value if isinstance(value, str) else str(value))


def _encoding(preprocessor: Preprocessor) -> str:
    """What stands behind the graphs of a table's model."""
    if preprocessor.table is None:
        return ""
    return (
        "\n\nIts rows are the columns of the table as numbers, scaled, in the order above: numbers, 0 or 1, a column"
        "\nfor each level, and of a moment its time and points on circles. `model.encoded(table)` gives them, and"
        "\npreprocess.json says how; NaN is a missing value. Its reconstructions are such columns as well."
    )


def _columns(preprocessor: Preprocessor) -> str:
    names = [f"`{name}`" for name in preprocessor.names[:MOST_NAMED]]
    more = len(preprocessor.names) - len(names)
    listed = ", ".join(names) + f" and {more} more (`names` in preprocess.json)" * bool(more)
    if len(preprocessor.shape) > 1:
        shape = " x ".join(map(str, preprocessor.shape))
        return f"{listed}: arrays of {shape}, flattened row by row to {math.prod(preprocessor.shape)} values"
    return listed


TEXT = """\
# The best autoencoder of study {study}

Trial {trial} (see metrics.json). Kind: {kind}. Layers: {layers}, activation {activation}, {parameters} parameters.
{trained}It turns a row of {features} numbers into a code of {code}, and the code back into the row.

{figures}

{unusual}

Columns, in this order: {columns}.
Scaling ({scaling}, fitted on the training rows{clipped}) is part of the model: it takes {taken} below.{bounded}

## From Python

```python
import numpy as np
import pandas as pd
import tuner

model = tuner.load_model(".")  # this folder
rows = {frame}
codes = model.encode(rows)
rebuilt = model.reconstruct(rows)
scores = model.score(rows)
{compared}drawn = model.sample(5)
print(codes.shape, scores, drawn.shape)
```

`model.parts(rows)` tells what each column adds to a score.

From the shell: `tuner apply . rows.csv --what score -o scores.csv` (also encode, reconstruct, sample); with `--parts`
what each column adds to a score as well.

## Without this package

`model.onnx` needs onnxruntime alone, in any language. Its input `rows` is (N, {features}), double precision; its
outputs are `code` (N, {code}), `reconstruction` (N, {features}) {units}, and `score` (N).{encoding}

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
rows = {rows}
code, reconstruction, score = session.run(["code", "reconstruction", "score"], {{"rows": rows}})
print(code.shape, reconstruction.shape, score)
```

`model.pt2` is the same for PyTorch; it holds no pickle, but `torch.export.load` would read one: load only a file
whose sha256 is the one in metrics.json.

```python
import numpy as np
import torch

model = torch.export.load("model.pt2").module()
rows = {rows}
code, reconstruction, score = model(torch.from_numpy(rows))
print(code.shape, reconstruction.shape, score)
```

## Files

- `config.yaml`: `tuner train config.yaml` trains this model again.
- `model.safetensors`, `preprocess.json`, `density.json`: weights, scaling, and the density of the codes that
  `sample` draws from.
- `metrics.json`: losses, hyperparameters, versions, and the sha256 of the other files but config.yaml, which may
  be edited.
"""
