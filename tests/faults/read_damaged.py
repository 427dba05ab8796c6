"""Reads damaged data files of one kind in a process of its own: python read_damaged.py KIND SEED COUNT FOLDER [FIRST].

Parsers in C can crash, and a header can claim any amount of memory: both are to be seen, and not to take the tests
along. Ends with 0 and one JSON object of what was counted, or with a sentence about the first claim that failed. `at`
in FOLDER is the number of the file that is being read, which `FIRST` begins with again.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from damage import damaged
from PIL import Image
from pyarrow import parquet

from tuner.data.prepare import prepare
from tuner.data.rows import open_rows
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.reader import spec_from_mapping

MEMORY = 1_000_000_000  # beyond what the libraries take for themselves
SECONDS = 5.0
LONGEST_SENTENCE = 1000

Draw = np.random.Generator
Made = Callable[[Draw, Path], bytes]


def _frame(draw: Draw) -> pd.DataFrame:
    whole = {"kind": draw.integers(0, 3, 40), "on": draw.random(40) < 0.5}
    return pd.DataFrame({name: draw.normal(size=40) for name in "abc"} | whole)


def _csv(draw: Draw, _: Path) -> bytes:
    return _frame(draw).drop(columns="on").to_csv(index=False).encode()


def _quoted_csv(draw: Draw, _: Path) -> bytes:
    frame = _frame(draw).drop(columns="on")
    return b"\xef\xbb\xbf" + frame.to_csv(index=False, sep=";", quoting=1, lineterminator="\r\n").encode()


def _parquet(draw: Draw, folder: Path) -> bytes:
    _frame(draw).to_parquet(folder / "made")
    return (folder / "made").read_bytes()


def _plain_parquet(draw: Draw, folder: Path) -> bytes:
    table = pa.Table.from_pandas(_frame(draw), preserve_index=False)
    settings = {"compression": "zstd", "use_dictionary": False, "data_page_version": "2.0", "row_group_size": 16}
    parquet.write_table(table, folder / "made", column_encoding={"a": "BYTE_STREAM_SPLIT"}, **settings)
    return (folder / "made").read_bytes()


def _checked_parquet(draw: Draw, folder: Path) -> bytes:
    _frame(draw).to_parquet(folder / "made", compression="gzip", write_page_checksum=True)
    return (folder / "made").read_bytes()


def _npy(draw: Draw, _: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, draw.normal(size=(20, 3)))
    return file.getvalue()


def _fortran_npy(draw: Draw, _: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asfortranarray(draw.integers(0, 256, size=(9, 4, 5), dtype=np.uint8)))
    return file.getvalue()


def _npz(draw: Draw, _: Path) -> bytes:
    file = io.BytesIO()
    np.savez(file, x=draw.normal(size=(20, 3)))
    return file.getvalue()


def _compressed_npz(draw: Draw, _: Path) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=draw.integers(0, 4, size=(20, 3)))
    return file.getvalue()


def _idx(draw: Draw, _: Path) -> bytes:
    return b"\0\0\x08\3" + np.array([20, 4, 3], ">u4").tobytes() + draw.bytes(240)


def _gzipped_idx(draw: Draw, folder: Path) -> bytes:
    return gzip.compress(_idx(draw, folder), mtime=0)


def _image(kind: str, mode: str) -> Made:
    def made(draw: Draw, _: Path) -> bytes:
        file, grey = io.BytesIO(), Image.fromarray(draw.integers(0, 256, size=(8, 8), dtype=np.uint8))
        grey.convert(mode).save(file, kind)
        return file.getvalue()

    return made


PNG_MODES = ("L", "RGB", "P", "I;16", "1", "RGBA")
DEEP = PNG_MODES.index("I;16")
KINDS: dict[str, tuple[str, tuple[Made, ...]]] = {
    "csv": ("t.csv", (_csv, _quoted_csv)),
    "parquet": ("t.parquet", (_parquet, _plain_parquet, _checked_parquet)),
    "npy": ("x.npy", (_npy, _fortran_npy)),
    "npz": ("x.npz", (_npz, _compressed_npz)),
    "idx": ("x.idx", (_idx, _gzipped_idx)),
    "png": ("images/1.png", tuple(_image("PNG", mode) for mode in PNG_MODES)),
    "jpeg": ("images/1.jpg", tuple(_image("JPEG", mode) for mode in ("L", "RGB", "CMYK"))),
}


def read_all(kind: str, seed: str, count: int, folder: Path, first: int) -> Counter[str]:
    """Damage and read `count` files, having seen that each can be read whole; what came of them."""
    (folder / "images").mkdir(exist_ok=True)
    name, makers = KINDS[kind]
    draw, seen, source = np.random.default_rng(0), Counter[str](), name.partition("/")[0]
    originals = [maker(draw, folder) for maker in makers]
    for number in range(first, count):
        chance = random.Random(f"{seed}/{kind}/{number}")
        content = originals[number % len(originals)]
        (folder / "at").write_text(str(number))
        if source == "images":
            deep = kind == "png" and number % len(originals) == DEEP  # one depth in a folder
            for other in (0, 2):
                (folder / f"images/{other}.png").write_bytes(_image("PNG", "I;16" if deep else "L")(draw, folder))
        if number - first < len(originals):
            (folder / name).write_bytes(content)
            _claim(_outcome(folder, source) == "read", "the whole file cannot be read")
        (folder / name).write_bytes(damaged(content, chance))
        seen[_outcome(folder, source)] += 1
    return seen


def _outcome(folder: Path, source: str) -> str:
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # as Python does; numpy leaves a broken archive to the collector
        try:
            said = _read(folder, source)
        except DataError as error:
            said = str(error)
            _claim(said.startswith(f"{source}: "), f"the file is not named: {said!r}")
            _claim(said.isprintable() and len(said) <= LONGEST_SENTENCE, f"that is no sentence: {said!r}")
    _claim(not warned, f"the user would see a warning: {[str(one.message) for one in warned]}")
    _claim(time.monotonic() - started <= SECONDS, "it took too long")
    return "no memory" if "fit into memory" in said else "refused" if said else "read"


def _read(folder: Path, source: str) -> str:
    for scaling in ("minmax", "standard", "none"):
        spec = {
            "name": "x",
            "data": {"source": source, "scaling": scaling},
            "space": {"bottleneck": 1, "width": 8, "batch_size": 1},
            "search": {"trials": 1, "epochs": 1},
        }
        made = prepare(spec_from_mapping(spec), Sources(folder), folder)
        rows = open_rows(made.path, made.sha256, (made.train, made.validation, made.test))
        for part in (rows.train, rows.validation, rows.test):
            _claim(part.dtype == np.float32 and bool(np.isfinite(part).all()), "rows are not finite float32")
            _claim(len(part) > 0 and part.shape[1] == len(made.names) == np.prod(made.shape), f"shape {part.shape}")
        Path(made.path).unlink()
    return ""


def _claim(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _watch_pickle(name: str, _: tuple[object, ...]) -> None:
    if name == "pickle.find_class":
        sys.exit("a pickle was read")


def main(kind: str, seed: str, count: str, folder: str, first: str = "0") -> None:
    """The command line."""
    sys.addaudithook(_watch_pickle)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    before = _most_memory()
    seen = read_all(kind, seed, int(count), Path(folder), int(first))
    print(json.dumps({**seen, "megabytes": (_most_memory() - before) // 1024}))  # noqa: T201 - the answer


def _most_memory() -> int:
    """The most that this process ever had in memory, in kB; getrusage would tell of its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
