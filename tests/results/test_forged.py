"""Claims about exports that somebody forged: their digests are right, and still they are refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save

from tuner.errors import ExportError
from tuner.export.apply import Request, apply
from tuner.export.model import load_model

MEASURED = """
import resource, sys, time
from tuner.errors import ExportError
from tuner.export.model import load_model
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
try:
    load_model(sys.argv[1])
except ExportError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture
def folder(exported: Callable[[Path], Path], tmp_path: Path) -> Path:
    """An export of the winner: 6 features, a code of 3."""
    return exported(tmp_path / "best")


def replace(folder: Path, name: str, content: bytes) -> None:
    """Put another file in the place of one, and its digest into metrics.json."""
    (folder / name).write_bytes(content)
    if name not in ("metrics.json", "config.yaml"):
        change(folder, "metrics.json", files=lambda files: {**files, name: hashlib.sha256(content).hexdigest()})


def change(folder: Path, name: str, **changes: Callable[[Any], Any]) -> None:
    known = json.loads((folder / name).read_text())
    for key, changed in changes.items():
        known[key] = changed(known[key])
    replace(folder, name, json.dumps(known).encode())


def use(folder: Path) -> None:
    """All that reads an export: its model, its density, its graph."""
    model = load_model(folder)
    model.sample(3)
    rows = folder.parent / "rows.npy"
    np.save(rows, np.ones((4, 6)))
    for with_graph in (False, True):
        apply(folder, Request("score", folder.parent / "scores.npy", str(rows), onnx=with_graph))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        use(folder)
    assert "\n" not in str(caught.value)


def test_what_was_exported_is_used(folder: Path) -> None:
    """The refusals below are not of `use` itself; links to regular files are followed, for a user may have set them."""
    for file in list(folder.iterdir()):
        file.rename(folder.parent / file.name)
        file.symlink_to(folder.parent / file.name)
    use(folder)


READ = ["config.yaml", "density.json", "metrics.json", "model.onnx", "model.safetensors", "preprocess.json"]


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "socket", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, name: str, folder: Path) -> None:
    """A pipe would be waited for without end, and /dev/zero is read without end: neither is opened."""
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "link to a pipe":
        os.mkfifo(folder.parent / "pipe")
        (folder / name).symlink_to(folder.parent / "pipe")
    elif kind == "device":
        (folder / name).symlink_to("/dev/zero")
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(folder / name))
    refused(folder, rf"{name}: .*file")


@pytest.mark.parametrize("name", READ)
def test_a_file_that_is_far_too_large_is_refused_unread(name: str, folder: Path) -> None:
    """A file of 10 TB, which takes no room on the disk: refused by its size, with both sizes."""
    with (folder / name).open("r+b") as file:
        try:
            file.truncate(10 * 2**40)
        except OSError:
            pytest.skip("this file system has no such large files")
    refused(folder, rf"{name}: .*(at most|smaller than) [0-9.]+ [kM]?B")


@pytest.mark.parametrize("name", ["metrics.json", "preprocess.json", "density.json"])
def test_much_json_takes_little_memory(name: str, folder: Path) -> None:
    """30 MB of empty lists would become 600 MB of objects; what reads them stays below 60 MB more."""
    replace(folder, name, b"[" + b"[]," * 10_000_000 + b"[]]")
    told = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder)], capture_output=True, text=True, check=True, timeout=120
    )
    message, grown = told.stdout.splitlines()
    assert name in message
    assert "at most" in message
    assert int(grown) < 60_000


def tensors(folder: Path, **changes: Callable[[Any], Any]) -> bytes:
    known = load_file(folder / "model.safetensors")
    for name, changed in changes.items():
        known[name.replace("__", ".")] = changed(known[name.replace("__", ".")])
    return save({name: value for name, value in known.items() if value is not None})


def with_value(value: float) -> Callable[[Any], Any]:
    def changed(array: Any) -> Any:
        array = array.copy()
        array.flat[0] = value
        return array

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (with_value(np.nan), "finite"),
        (with_value(-np.inf), "finite"),
        (lambda array: array.astype(np.float64), "float32"),
        (lambda array: array.astype(np.int64), "float32"),
        (lambda array: array.T.copy(), "weights of layers"),
        (lambda array: array.reshape(1, *array.shape), "weights of layers"),
        (lambda array: None, "weights of layers"),
        (lambda array: array[:0], "weights of layers"),
    ],
)
def test_weights_that_are_none_are_refused(changed: Callable[[Any], Any], message: str, folder: Path) -> None:
    """NaN, infinity, another type, another shape, none: the sentence names the file."""
    replace(folder, "model.safetensors", tensors(folder, encoder__0__weight=changed))
    refused(folder, rf"model\.safetensors: .*{message}")


@pytest.mark.parametrize(
    "header",
    [
        {"encoder.0.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
        {"encoder.0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**62]}},
        {"encoder.0.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}},
        {"encoder.0.weight": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}},
        {"encoder.0.weight": {"dtype": "PICKLE", "shape": [4], "data_offsets": [0, 4]}},
        {"encoder.0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        [],
        {"encoder.0.weight": 7},
    ],
)
def test_a_header_that_lies_is_refused(header: Any, folder: Path) -> None:
    """Sizes beyond the file, unknown types, no object: what the header of a safetensors file may claim."""
    text = json.dumps(header).encode()
    replace(folder, "model.safetensors", len(text).to_bytes(8, "little") + text + bytes(4))
    refused(folder, r"model\.safetensors: expected the weights of layers")


def test_a_header_longer_than_the_file_is_refused(folder: Path) -> None:
    """Its length is the file's first eight bytes, whatever they say."""
    replace(folder, "model.safetensors", (2**63).to_bytes(8, "little") + b"{}")
    refused(folder, r"model\.safetensors: expected the weights of layers")


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("names", ["a"] * 6, "names"),
        ("names", ["a", "b", "c", "d", "e", 6], "names"),
        ("names", "abcdef", "names"),
        ("shape", [-2, -3], "shape"),
        ("shape", [6.5], "shape"),
        ("shape", [True, 6], "shape"),
        ("shape", ["6"], "shape"),
        ("shape", [2, 2], "disagree"),
        ("shape", [2**31, 2**33], "disagree"),
        ("offset", [0, 0, 0, 0, 0, NAN], "offset"),
        ("offset", ["0", "0", "0", "0", "0", "0"], "offset"),
        ("offset", [10**400, 0, 0, 0, 0, 0], "offset"),
        ("offset", [True] * 6, "offset"),
        ("scale", [1, 1, 1, 1, 1, INF], "scale"),
        ("scale", [1, 1, 1, 1, 1, -1], "scale"),
        ("scale", [1, 1, 1, 1, 1, 0], "scale"),
        ("scale", [[1, 1, 1, 1, 1, 1]], "disagree"),
        ("clip", "false", "clip"),
        ("clip", True, "clip"),
        ("scaling", "cubic", "scaling"),
        ("version", 2, "version"),
    ],
)
def test_a_scaling_that_is_none_is_refused(key: str, value: Any, message: str, folder: Path) -> None:
    """Names that repeat, a shape that contradicts, numbers that are none: nothing of preprocess.json is guessed."""
    change(folder, "preprocess.json", **{key: lambda _: value})
    refused(folder, rf"preprocess\.json: .*{message}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", [-1.0]),
        ("weights", [NAN]),
        ("weights", [0.0]),
        ("weights", []),
        ("weights", ["1"]),
        ("weights", [10**400]),
        ("means", [[1e300, 0.0, 0.0]]),
        ("means", [[INF, 0.0, 0.0]]),
        ("kind", "anything"),
        ("version", 99),
    ],
)
def test_a_density_that_is_none_is_refused(key: str, value: Any, folder: Path) -> None:
    """Weights that are no shares, means beyond single precision, a kind that is not known."""
    one = {"version": 1, "kind": "mixture", "weights": [1.0], "means": [[0.0] * 3], "covariances": [np.eye(3).tolist()]}
    replace(folder, "density.json", json.dumps(one).encode())
    load_model(folder).sample(2)
    replace(folder, "density.json", json.dumps({**one, key: value}).encode())
    refused(folder, r"density\.json: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("anomaly", {"quantile": 0.9, "threshold": -1.0, "rows": 3}),
        ("anomaly", {"quantile": 0.9, "threshold": NAN, "rows": 3}),
        ("anomaly", {"quantile": 0.9, "threshold": INF, "rows": 3}),
        ("anomaly", {"quantile": NAN, "threshold": 1.0, "rows": 3}),
        ("anomaly", {"quantile": 0.9, "threshold": 1.0, "rows": -3}),
        ("losses", {"validation": INF, "test": None, "baselines": {}}),
        ("sizes", [6, 10, 5, 3.5, 5, 10, 6]),
        ("parameters", -1),
        ("parameters", 7),
        ("epochs", -1),
    ],
)
def test_a_description_out_of_range_is_refused(key: str, value: Any, folder: Path) -> None:
    """A threshold below zero, numbers that are none, a number of weights that the file does not have."""
    change(folder, "metrics.json", **{key: lambda _: value})
    refused(folder, r"metrics\.json: ")


def graph(inputs: list[Any], outputs: list[Any], *nodes: Any, weights: tuple[Any, ...] = ()) -> bytes:
    made = helper.make_graph(list(nodes), "forged", inputs, outputs, weights)
    content: bytes = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return content


def value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


ROWS = value("rows", TensorProto.DOUBLE, "n", 6)
CODE = value("code", TensorProto.FLOAT, "n", 3)
REBUILT = value("reconstruction", TensorProto.DOUBLE, "n", 6)
SCORE = value("score", TensorProto.DOUBLE, "n")
CODES = numpy_helper.from_array(np.ones((6, 3), np.float32), "w")
NODES = (
    helper.make_node("Cast", ["rows"], ["narrow"], to=TensorProto.FLOAT),
    helper.make_node("MatMul", ["narrow", "w"], ["code"]),
    helper.make_node("Identity", ["rows"], ["reconstruction"]),
    helper.make_node("ReduceMax", ["rows", "axis"], ["score"], keepdims=0),
)
AXIS = numpy_helper.from_array(np.array([1]), "axis")
SHAPE = numpy_helper.from_array(np.array([-1, 5]), "five")
RIGHT = ([ROWS], [CODE, REBUILT, SCORE], *NODES)
BRANCH = helper.make_graph(
    [helper.make_node("Identity", ["rows"], ["inner"])], "branch", [], [value("inner", TensorProto.DOUBLE, "n", 6)]
)


def elsewhere(tensor: Any) -> Any:
    """The tensor's values in another file of the machine."""
    made = onnx.TensorProto()
    made.CopyFrom(tensor)
    made.ClearField("raw_data")
    made.data_location = TensorProto.EXTERNAL
    for key, place in (("location", "../../../../../../etc/passwd"), ("offset", "0"), ("length", "72")):
        made.external_data.add(key=key, value=place)
    return made


def test_a_graph_of_the_right_form_is_run(folder: Path) -> None:
    """What the refusals below are changes of."""
    replace(folder, "model.onnx", graph(*RIGHT, weights=(CODES, AXIS)))
    use(folder)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(graph([ROWS], [REBUILT], NODES[2]), id="one output"),
        pytest.param(graph([ROWS], [SCORE, REBUILT], *NODES[2:], weights=(AXIS,)), id="no code"),
        pytest.param(
            graph([ROWS, value("more", TensorProto.DOUBLE, 1)], RIGHT[1], *NODES, weights=(CODES, AXIS)),
            id="two inputs",
        ),
        pytest.param(
            graph(
                [value("lines", TensorProto.DOUBLE, "n", 6)],
                RIGHT[1],
                helper.make_node("Identity", ["lines"], ["rows"]),
                *NODES,
                weights=(CODES, AXIS),
            ),
            id="another input",
        ),
        pytest.param(
            graph(
                [value("rows", TensorProto.FLOAT, "n", 6)],
                [CODE, value("reconstruction", TensorProto.FLOAT, "n", 6), value("score", TensorProto.FLOAT, "n")],
                *NODES,
                weights=(CODES, AXIS),
            ),
            id="another type",
        ),
        pytest.param(
            graph([value("rows", TensorProto.DOUBLE, "n", 7)], RIGHT[1], *NODES[2:], weights=(AXIS,)), id="7 features"
        ),
        pytest.param(
            graph(
                [ROWS],
                [value("code", TensorProto.FLOAT, "n", "c"), REBUILT, SCORE],
                *NODES,
                weights=(numpy_helper.from_array(np.ones((6, 2), np.float32), "w"), AXIS),
            ),
            id="a shorter code",
        ),
        pytest.param(graph(*RIGHT, weights=(elsewhere(CODES), AXIS)), id="weights elsewhere"),
        pytest.param(
            graph(
                [ROWS],
                RIGHT[1],
                *NODES,
                helper.make_node("Constant", [], ["w"], value=elsewhere(CODES)),
                weights=(AXIS,),
            ),
            id="a constant elsewhere",
        ),
        pytest.param(
            graph(
                [ROWS],
                RIGHT[1],
                NODES[0],
                NODES[1],
                NODES[3],
                helper.make_node("Cast", ["axis"], ["yes"], to=TensorProto.BOOL),
                helper.make_node("If", ["yes"], ["reconstruction"], then_branch=BRANCH, else_branch=BRANCH),
                weights=(CODES, AXIS),
            ),
            id="a branch",
        ),
        pytest.param(
            graph(
                [ROWS],
                [CODE, REBUILT, value("score", TensorProto.DOUBLE, "m")],
                *NODES[:3],
                helper.make_node("Reshape", ["rows", "five"], ["wide"]),
                helper.make_node("ReduceMax", ["wide", "axis"], ["score"], keepdims=0),
                weights=(CODES, AXIS, SHAPE),
            ),
            id="fails while it runs",
        ),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x08\x0a" + os.urandom(100), id="noise"),
    ],
)
def test_a_graph_of_another_form_is_refused(content: bytes, folder: Path) -> None:
    """Other inputs, outputs, types or sizes, values in other files, control flow, an error while it runs."""
    replace(folder, "model.onnx", content)
    refused(folder, r"model\.onnx: expected ")
