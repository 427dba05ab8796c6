"""One study of a server: watched, stopped, continued and taken away."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, final

from tuner.answers.service import Scored, StudyDetail, StudyItem
from tuner.errors import ExportError, InputError, ServerError
from tuner.remote.connection import Connection, quoted
from tuner.remote.events import follow

if TYPE_CHECKING:
    import pandas as pd

AT_REST: Final = ("finished", "stopped", "failed", "archived")
MOST_FILES: Final = 1000
MOST_BYTES: Final = 20_000_000_000
WAIT_SECONDS: Final = 0.5


@final
class RemoteStudy:
    """A study of a server. Every method asks the server; ServerError where it cannot be reached.

    Attributes:
        name: the study's.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self.name, self._path = connection, name, f"/studies/{quoted(name)}"

    def item(self) -> StudyItem:
        """What it is now: state, budget, best, speed."""
        return self._connection.get(f"{self._path}/progress", StudyItem)

    def detail(self) -> StudyDetail:
        """The same with its declaration and, once it is recorded, its answer."""
        return self._connection.get(self._path, StudyDetail)

    def watch(self) -> Iterator[StudyItem]:
        """What it is, at every change, until it is at rest: finished, stopped, failed or archived.

        A server that is restarted meanwhile is asked again.
        """
        item = self.item()
        yield item
        if item.state in AT_REST:
            return
        for event in follow(self._connection, f"{self._path}/events"):
            if event.kind != "study":
                continue
            try:
                item = StudyItem.model_validate_json(event.data)
            except ValueError:
                raise ServerError(
                    f"{self._connection.url}: must say how a study is, but sent something else."
                ) from None
            yield item
            if item.state in AT_REST:
                return

    def stop(self, wait: bool = True, timeout: float | None = None) -> StudyItem:
        """Stop it, as Ctrl-C stops a run: what is recorded stays, and it can be continued.

        Args:
            wait: until it has stopped.
            timeout: wait so many seconds at most.
        """
        item = self._connection.send("POST", f"{self._path}/stop", StudyItem)
        deadline = None if timeout is None else time.monotonic() + timeout
        while wait and item.state not in AT_REST and (deadline is None or time.monotonic() < deadline):
            time.sleep(WAIT_SECONDS)
            item = self.item()
        return item

    def extend(self, trials: int | None = None, timeout: float | None = None) -> StudyItem:
        """Let it go on, also after its end: to so many trials in all, or for so many seconds; without both, as it was.

        Raises:
            StudyError: the budget is not larger.
        """
        given = {name: value for name, value in (("trials", trials), ("timeout", timeout)) if value is not None}
        return self._connection.send("POST", f"{self._path}/continue", StudyItem, given)

    def config(self, file: str | Path) -> Path:
        """Write the best configuration, which `tuner run` and `tuner train` accept, into a file."""
        written = Path(file)
        content = self._connection.content(f"{self._path}/config.yaml")
        try:
            written.write_bytes(content)
        except OSError as error:
            raise InputError(f"{written}: must be a file that can be written, got: {error.strerror}.") from None
        return written.absolute()

    def export(self, folder: str | Path, force: bool = False) -> Path:
        """Write its best model into a folder, as `tuner export` does.

        Args:
            folder: where to; missing parents are made.
            force: replace an export that is there.

        Raises:
            ExportError: the place is taken, the server has no model yet, or sent no export.
        """
        from tuner.export.folder import check_free, write_folder

        place = Path(folder)
        check_free(place, force)
        with tempfile.TemporaryDirectory(prefix="tuner-") as scratch:
            packed = Path(scratch) / "export.zip"
            self._connection.download(f"{self._path}/export.zip", packed)
            return write_folder(place, lambda new: _unpack(packed, new), force)

    def trials(self) -> pd.DataFrame:
        """Its trials, as `Study.trials` has them."""
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self._connection.content(f"{self._path}/trials", format="parquet")))

    def csv(self) -> str:
        """Its trials, byte for byte as `tuner trials` prints them."""
        return self._connection.content(f"{self._path}/trials", format="csv").decode("utf-8")

    def score(self, rows: pd.DataFrame | Sequence[Sequence[float]] | Sequence[Mapping[str, object]]) -> Scored:
        """Errors and codes of new rows, by the finished study's model on the server.

        Args:
            rows: a table, whose columns are found by their names; or rows of numbers or of named values.
        """
        if isinstance(rows, Sequence):
            return self._connection.send("POST", f"{self._path}/score", Scored, list(rows))
        text = rows.to_csv(index=False)
        return self._connection.send("POST", f"{self._path}/score", Scored, text, content_type="text/csv")


def _unpack(packed: Path, folder: Path) -> None:
    """The files of an archive, which are in one folder of it, into a folder of this machine and nowhere else.

    Raises:
        ExportError: it is no archive, or holds what an export does not.
    """
    try:
        with zipfile.ZipFile(packed) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > MOST_BYTES:
                raise ExportError("the server must send an export, but it sent an archive that is too large.")
            for info in infos:
                _unpack_file(archive, info, folder)
    except zipfile.BadZipFile:
        raise ExportError("the server must send an export, but it sent no archive.") from None


def _unpack_file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    parts = PurePosixPath(info.filename).parts
    is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
    if len(parts) != 2 or parts[0] == "/" or ".." in parts or "\\" in info.filename or is_link:
        raise ExportError(f"the server must send an export, but it sent the file {info.filename!r}.")
    with archive.open(info) as packed, (folder / parts[1]).open("wb") as opened:
        while piece := packed.read(1 << 20):
            opened.write(piece)
