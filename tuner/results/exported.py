"""An exported folder, read and checked: each file before it is used, and nothing in it can run code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError, ExportError, PlaceError, SpecError
from tuner.results.card import CONFIG, DENSITY, METRICS, MODEL, ONNX, PREPROCESS, Card, digest
from tuner.results.density import Density
from tuner.spec.architecture import layer_sizes
from tuner.spec.reader import read_spec

if TYPE_CHECKING:
    from tuner.learning.inference import Network
    from tuner.learning.onnx import OnnxNetwork

Parsed = TypeVar("Parsed")
AGAIN = "an export of an earlier version of the tuner; export it again"


@dataclass(frozen=True, eq=False, slots=True)
class Exported:
    """What an export says; its network is loaded when it is asked for.

    Attributes:
        folder: where it stands.
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
        from tuner.learning.inference import Network  # noqa: PLC0415 - torch, 0.8 s

        return Network.load(self.folder / MODEL, self.card.sizes, self.card.activation, self.card.loss)

    def onnx(self) -> OnnxNetwork:
        """The ONNX graph, run by onnxruntime.

        Raises:
            ExportError: it is damaged or missing, or onnxruntime is.
        """
        from tuner.learning.onnx import OnnxNetwork  # noqa: PLC0415 - only who asks for it needs it

        path = self.folder / ONNX
        if self.card.format == 1:
            raise ExportError(f"{path}: expected a file of an export, got {AGAIN}.")
        content = _read(path)
        _check_digest(path, content, self.card)
        return OnnxNetwork(content, str(path))


def read_export(folder: str | Path) -> Exported:
    """Read what `tuner export` wrote.

    Raises:
        ExportError: the folder is no export, or a file of it is missing, damaged or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PlaceError(f"{folder}: expected a folder that `tuner export` wrote, got {_kind(folder)}.")
    content = {name: _read(folder / name) for name in (CONFIG, METRICS, MODEL, PREPROCESS)}
    card = _parsed(folder / METRICS, lambda: Card.model_validate_json(content[METRICS]))
    for name in (MODEL, PREPROCESS):
        _check_digest(folder / name, content[name], card)
    preprocessor = _parsed(folder / PREPROCESS, lambda: Preprocessor.from_json(content[PREPROCESS].decode()))
    if len(preprocessor.names) != card.sizes[0]:
        raise ExportError(
            f"{folder / PREPROCESS}: expected {card.sizes[0]} features, as in {METRICS}, got {len(preprocessor.names)}."
        )
    _check_config(folder / CONFIG, card)
    return Exported(folder, card, preprocessor, _density(folder / DENSITY, card))


def _density(path: Path, card: Card) -> Density | None:
    if card.format == 1:
        return None
    content = _read(path)
    _check_digest(path, content, card)
    return _parsed(path, lambda: Density.from_json(content.decode(), card.sizes[len(card.sizes) // 2]))


def _check_digest(path: Path, content: bytes, card: Card) -> None:
    if digest(content) != card.files.get(path.name):
        raise ExportError(f"{path}: expected the file that was exported, got one with other content.")


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: expected a file of an export, got: {error.strerror}.") from error


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
    try:
        spec = read_spec(path)
    except SpecError as error:
        raise ExportError(f"expected the exported declaration, got: {error.problems[0]}") from error
    if (last := list(type(spec).model_fields)[-1]) not in spec.model_fields_set:
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
