"""An export applied to new files, block by block, from the folder alone.

Legend: N rows of a block, F features, C units of the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.blocks import Block, Selection, read_blocks
from tuner.data.outside import Outside
from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError, PlaceError
from tuner.export.model import ExportedModel
from tuner.export.output import open_output
from tuner.export.read import Exported, read_export
from tuner.export.runtimes import Engine, OnnxEngine, TorchEngine, Usable
from tuner.export.threshold import described

Progress = Callable[[int, int | None], object]
MOST_PARTS = 1000  # features of an array that are told one by one


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an export.

    Attributes:
        what: encode, reconstruct, score or sample.
        output: the file to write: .parquet, .csv or .npy.
        data: the rows; None for sample alone.
        array: which array of an .npz file.
        keep: columns of the data that are kept with the result.
        onnx: run model.onnx with onnxruntime instead of PyTorch.
        count: rows to draw.
        seed: of the draw.
        parts: with score, what each column adds to it.
    """

    what: str
    output: Path
    data: str | None = None
    array: str | None = None
    keep: tuple[str, ...] = ()
    onnx: bool = False
    count: int = 1000
    seed: int = 0
    parts: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done.

    Attributes:
        rows: rows written.
        mean_loss: of the rows, for score alone.
        anomalies: rows above the threshold, for score alone; None where the export has no threshold.
        threshold: that.
        set_on: on which rows it was set, and what is to be expected of it.
        without: rows that have no result, for a value of theirs is missing.
        missing: the first such value, as `column b, line 4`; empty where there is none.
        odd: on the first cell that is not of its column's type and counts as missing; empty where there is none.
        outside: a sentence on rows far outside the training rows' range; None where there are none.
    """

    rows: int
    mean_loss: float | None = None
    anomalies: int | None = None
    threshold: float | None = None
    set_on: str = field(default="", compare=False)
    without: int = 0
    missing: str = ""
    odd: str = ""
    outside: str | None = field(default=None, compare=False)


def apply(folder: str | Path, request: Request, progress: Progress | None = None) -> Applied:
    """Write codes, reconstructions, scores, or new rows into a file, whole or not at all.

    Args:
        folder: what `tuner export` wrote.
        request: what is asked.
        progress: called with the rows that are done, and those there are in all where that is known.

    Raises:
        ExportError: the folder is no export, a file of it is damaged, or the output cannot be written.
        DataError: the rows are not such as the model was trained on; the message names file, column and row.
    """
    exported, report = read_export(folder), progress or (lambda *_: None)
    _check(request)
    if request.what == "sample":
        return _draw(exported, request, report)
    fitted, results = exported.preprocessor, _results(exported, request)
    wanted = Selection(
        fitted.names, fitted.shape, request.array, request.keep, fitted.table, upright=fitted.extent is not None
    )
    _check_names(request.keep, results.names)
    rows, without, missing, odd, beyond = 0, 0, "", "", Outside(fitted)
    with open_output(request.output) as output:
        for block in read_blocks(str(request.data), wanted):
            columns, array = _named(str(request.data), block, results)
            output.write({**block.kept, **columns}, array)
            rows, odd = rows + len(block.values), odd or block.odd
            gone = Usable.of(fitted, block.values).gone
            without, missing = without + int(gone.sum()), missing or _first_missing(fitted, block, gone)
            beyond.add(block.values)
            report(rows, block.total)
    summary = results.summary(rows)
    return replace(summary, without=without, missing=missing, odd=odd, outside=beyond.sentence())


def _first_missing(fitted: Preprocessor, block: Block, gone: NDArray[np.bool_]) -> str:
    """Where the first value is missing of a row without a result; empty where every row has one."""
    if not gone.any():
        return ""
    row = int(gone.argmax())
    place = int(np.isnan(block.values[row]).argmax())
    columns = () if fitted.table is None else fitted.table.columns
    name = next((one.name for one in columns if one.first <= place < one.last), fitted.names[place])
    return f"column {name}, {block.named(row)}"


def _check(request: Request) -> None:
    if request.what not in (*_RESULTS, "sample"):
        raise DataError(f"what: must be one of {', '.join((*_RESULTS, 'sample'))}, got {request.what}.")
    if request.what == "sample":
        if request.data is not None or request.keep or request.array or request.onnx or request.parts:
            raise DataError("sample draws new rows: it takes no data, and none of --keep, --array, --onnx and --parts.")
        return
    if request.parts and request.what != "score":
        raise DataError(f"--parts: must be given with score, whose parts they are, got {request.what}.")
    if request.parts and request.onnx:
        raise DataError("--parts: must be computed by PyTorch, for model.onnx gives scores alone; leave out --onnx.")
    if request.data is None:
        raise DataError(f"{request.what}: must be given the rows, a file or a folder of images, got none.")
    if request.keep and request.output.suffix.lower() == ".npy":
        raise DataError(f"{request.output}: an array has no room for the columns of --keep; write .csv or .parquet.")
    source = Path(request.data)
    if source.exists() and request.output.exists() and source.samefile(request.output):
        raise PlaceError(f"{request.output}: must be another file than the rows'.")


def _named(source: str, block: Block, results: _Results) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """The result, with the file's name in an error of the preprocessor."""
    try:
        return results.of(block)
    except DataError as error:
        raise DataError(str(error).replace("data:", f"{source}:", 1)) from None


def _check_names(keep: tuple[str, ...], names: tuple[str, ...]) -> None:
    if both := [name for name in keep if name in names]:
        raise DataError(f"--keep {both[0]}: the result has a column of that name.")


class _Codes:
    def __init__(self, engine: Engine, exported: Exported) -> None:
        self._engine, self.names = engine, tuple(f"code_{unit}" for unit in range(exported.code_size))

    def of(self, block: Block) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        return _columns(self.names, self._engine.encode(block.values, block.first))

    def summary(self, rows: int) -> Applied:
        return Applied(rows)


class _Reconstructions:
    def __init__(self, engine: Engine, exported: Exported) -> None:
        self._engine, self._table = engine, exported.preprocessor.table
        self.names = exported.preprocessor.names if self._table is None else self._table.table_names

    def of(self, block: Block) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        rebuilt = self._engine.reconstruct(block.values, block.first)
        if self._table is None:
            return _columns(self.names, rebuilt)
        frame = self._table.decode(rebuilt)
        return {name: frame[name].to_numpy() for name in self.names}, rebuilt

    def summary(self, rows: int) -> Applied:
        return Applied(rows)


class _Scores:
    names: tuple[str, ...] = ("score", "anomaly")

    def __init__(self, engine: Engine, exported: Exported) -> None:
        self._engine, self._sum, self._scored, self._anomalies = engine, 0.0, 0, 0
        known = exported.card.anomaly
        self._threshold = known.threshold if known else None
        self._set_on = described(known) if known else ""

    def of(self, block: Block) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        scores = self._engine.score(block.values, block.first)
        self._sum += float(np.nansum(scores))
        self._scored += int((~np.isnan(scores)).sum())
        if self._threshold is None:
            return {"score": scores}, scores
        unusual = scores > self._threshold
        self._anomalies += int(unusual.sum())
        return {"score": scores, "anomaly": _where_known(unusual, scores)}, scores

    def summary(self, rows: int) -> Applied:
        mean = self._sum / max(1, self._scored)
        if self._threshold is None:
            return Applied(rows, mean)
        return Applied(rows, mean, self._anomalies, self._threshold, self._set_on)


def _where_known(unusual: NDArray[np.bool_], scores: NDArray[np.floating[Any]]) -> Any:
    """Nothing where a row has no score, in the place of False."""
    gone = np.isnan(scores)
    if not gone.any():
        return unusual
    import pyarrow as pa  # noqa: PLC0415 - half a second, and most files need it not

    return pa.array(unusual, mask=gone)


class _Parts(_Scores):
    """Scores, and what each column adds to them; an array has both side by side."""

    def __init__(self, engine: TorchEngine, exported: Exported) -> None:
        super().__init__(engine, exported)
        self._torch, fitted = engine, exported.preprocessor
        columns = fitted.names if fitted.table is None else fitted.table.table_names
        if fitted.table is None and len(columns) > MOST_PARTS:
            raise DataError(f"--parts: must be of {MOST_PARTS:,} features at most, got a model of {len(columns):,}.")
        self._parts = tuple(f"score: {name}" for name in columns)
        self.names = (*self.names, *self._parts)

    def of(self, block: Block) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        columns, scores = super().of(block)
        parts = self._torch.parts(block.values, block.first)
        return columns | dict(zip(self._parts, parts.T, strict=True)), np.column_stack([scores, parts])


_Results = _Codes | _Reconstructions | _Scores
_RESULTS: dict[str, Callable[[Engine, Exported], _Results]] = {
    "encode": _Codes,
    "reconstruct": _Reconstructions,
    "score": _Scores,
}


def _results(exported: Exported, request: Request) -> _Results:
    if request.parts:
        return _Parts(TorchEngine(exported), exported)
    return _RESULTS[request.what](OnnxEngine(exported) if request.onnx else TorchEngine(exported), exported)


def _columns(names: tuple[str, ...], array: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    return dict(zip(names, array.reshape(len(array), -1).T, strict=True)), array


def _draw(exported: Exported, request: Request, report: Progress) -> Applied:
    model, rows = ExportedModel(exported), 0
    with open_output(request.output) as output:
        for drawn in model.samples(request.count, request.seed):
            output.write(*_drawn_columns(model, drawn))
            rows += len(drawn)
            report(rows, request.count)
    return Applied(rows)


def _drawn_columns(model: ExportedModel, drawn: Any) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Drawn rows as columns: a table's as they are, an array's one for each feature."""
    if isinstance(drawn, np.ndarray):
        return _columns(model.names, drawn)
    return {name: drawn[name].to_numpy() for name in model.names}, drawn.to_numpy()
