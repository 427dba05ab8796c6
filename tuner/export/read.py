"""An exported folder, read and checked: each file before it is used, and nothing in it can run code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError, ExportError, PlaceError, SpecError
from tuner.export.density import MOST_COMPONENTS, Density
from tuner.export.files import read_file
from tuner.export.model_card import CONFIG, DENSITY, METRICS, MODEL, ONNX, PREPROCESS, Card, digest
from tuner.spec.architecture import layer_sizes
from tuner.spec.reader import read_spec

if TYPE_CHECKING:
    from tuner.learning.inference.network import Network
    from tuner.learning.inference.onnx import OnnxNetwork

Parsed = TypeVar("Parsed")
MOST_TEXT = 1_000_000  # bytes of a declaration
MOST_CARD = 16_000_000  # bytes of a description, which says something of every column of a table
_WITH_STEP = 3  # the first form whose declaration says `step`
_ROOM = 1_000_000  # for all in a file that does not grow with the model
_NUMBER = 32  # characters of a number in JSON, with what surrounds it
_NAME = 1024  # of a column
AGAIN = "an export of an earlier version of the tuner; export it again"


@dataclass(frozen=True, eq=False, slots=True)
class Exported:
    """What an export says; its network is loaded when it is asked for.

    Attributes:
        folder: the export.
        card: `metrics.json`.
        preprocessor: `preprocess.json`.
        density: `density.json`; None in an export in the first form.
    """

    folder: Path
    card: Card
    preprocessor: Preprocessor
    density: Density | None

    @property
    def code_size(self) -> int:
        """Units of the code."""
        return self.card.sizes[len(self.card.sizes) // 2]

    def network(self) -> Network:
        """The network, run by torch.

        Raises:
            ExportError: the weights are not those of the layers that `metrics.json` names.
        """
        from tuner.learning.inference.network import Network  # noqa: PLC0415 - torch, 0.8 s

        path, card = self.folder / MODEL, self.card
        terms = self.preprocessor.terms
        network = Network.read(_content(path, card), str(path), card.sizes, card.activation, card.loss, terms)
        if network.parameters != card.parameters:
            raise ExportError(
                f"{self.folder / METRICS}: expected {network.parameters} parameters, as {MODEL} has,"
                f" got {card.parameters}."
            )
        return network

    def onnx(self) -> OnnxNetwork:
        """The ONNX graph, run by onnxruntime.

        Raises:
            ExportError: it is damaged or missing, or onnxruntime is, or it is no graph of this model's form.
        """
        from tuner.learning.inference.onnx import OnnxNetwork  # noqa: PLC0415 - only who asks for it needs it

        path = self.folder / ONNX
        if self.card.format == 1:
            raise ExportError(f"{path}: expected a file of an export, got {AGAIN}.")
        return OnnxNetwork(_content(path, self.card), str(path), (self.card.sizes[0], self.code_size))


def read_export(folder: str | Path) -> Exported:
    """Read what `tuner export` wrote.

    Raises:
        ExportError: the folder is no export, or a file of it is missing, damaged or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PlaceError(f"{folder}: expected a folder that `tuner export` wrote, got {_kind(folder)}.")
    described = read_file(folder / METRICS, MOST_CARD)
    card = _parsed(folder / METRICS, lambda: Card.model_validate_json(described))
    _check_config(folder / CONFIG, card)  # the sizes that bound what is read from here on
    _content(folder / MODEL, card)
    return Exported(folder, card, _preprocessor(folder / PREPROCESS, card), _density(folder / DENSITY, card))


def _preprocessor(path: Path, card: Card) -> Preprocessor:
    content = _content(path, card)
    made = _parsed(path, lambda: Preprocessor.from_json(content.decode()))
    if len(made.names) != card.sizes[0]:
        raise ExportError(f"{path}: expected {card.sizes[0]} features, as in {METRICS}, got {len(made.names)}.")
    if made.clip != (card.loss == "bce"):
        raise ExportError(f"{path}: expected clip to be {card.loss == 'bce'}, as loss {card.loss} needs it.")
    return made


def _density(path: Path, card: Card) -> Density | None:
    if card.format == 1:
        return None
    content = _content(path, card)
    return _parsed(path, lambda: Density.from_json(content.decode(), card.sizes[len(card.sizes) // 2]))


def _content(path: Path, card: Card) -> bytes:
    """A file's content, which is the exported one's.

    Raises:
        ExportError: it is another, or far too large for a model of this size.
    """
    content = read_file(path, _MOST[path.name](card.sizes))
    if digest(content) != card.files.get(path.name):
        raise ExportError(f"{path}: expected the file that was exported, got one with other content.")
    return content


def _weights(sizes: tuple[int, ...]) -> int:
    """Bytes of the weights, generously: of a variational code twice, with a normalisation of every layer."""
    return 8 * sum((inputs + 3) * outputs for inputs, outputs in pairwise(sizes))


def _mixture(sizes: tuple[int, ...]) -> int:
    """Numbers of a density of that code: weights, means and covariances."""
    code = sizes[len(sizes) // 2]
    return MOST_COMPONENTS * (code * code + code + 1)


_MOST: dict[str, Callable[[tuple[int, ...]], int]] = {
    MODEL: lambda sizes: _weights(sizes) + _ROOM,
    ONNX: lambda sizes: 2 * _weights(sizes) + 64 * sizes[0] + _ROOM,
    PREPROCESS: lambda sizes: (5 * _NUMBER + _NAME) * sizes[0] + _ROOM,
    DENSITY: lambda sizes: _NUMBER * _mixture(sizes) + _ROOM,
}


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"


def _parsed(path: Path, parse: Callable[[], Parsed]) -> Parsed:
    try:
        return parse()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ExportError(f"{path}: {where}{': ' if where else ''}{first['msg']}.") from error
    except (DataError, ValueError, RecursionError) as error:
        raise ExportError(f"{path}: expected what was exported, got: {error}.") from error


def _check_config(path: Path, card: Card) -> None:
    """The declaration may have been edited for another training, but it must still describe this model."""
    read_file(path, MOST_TEXT)
    try:
        spec = read_spec(path)
    except SpecError as error:
        raise ExportError(f"expected the exported declaration, got: {error.problems[0]}") from error
    last = "step" if card.format >= _WITH_STEP else "precision"  # the key that its version wrote last
    if last not in spec.model_fields_set:
        raise ExportError(f"{path}: expected {last} as the last key, as it was exported; the file breaks off.")
    if searched := spec.space.searched():
        raise ExportError(f"{path}: expected every hyperparameter fixed, got a range for {next(iter(searched))}.")
    point = spec.space.point({})
    described: dict[str, Any] = {
        "sizes": layer_sizes(card.sizes[0], point),
        "activation": point.activation,
        "loss": spec.loss,
    }
    for key, value in described.items():
        if value != (expected := getattr(card, key)):
            raise ExportError(f"{path}: expected {key} {expected}, as in {METRICS}, got {value}.")
