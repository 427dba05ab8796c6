"""What is taken away of studies: exports, reports and tables, made in processes with limits and kept for a while."""

from __future__ import annotations

import shutil
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from tuner.answers.service import Scored
from tuner.errors import StudyError
from tuner.service.bounded import Bounded
from tuner.service.inside import configured, exported, reported, scored, trials_parquet
from tuner.service.studies import ServiceStudies

KEPT: Final = 8  # exports of finished studies


@final
@dataclass(frozen=True, slots=True)
class Exports:
    """Writes what clients download, into a folder that is gone with the server.

    Attributes:
        studies: what is exported.
        bounded: where rows are scored that a client sent.
        writing: where exports, reports and tables are written.
        most_rows: that are scored at once.
    """

    studies: ServiceStudies
    bounded: Bounded
    writing: Bounded
    most_rows: int
    _folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="tuner-exports-", ignore_cleanup_errors=True)
    )
    _kept: OrderedDict[tuple[str, float], Path] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Remove all that was made."""
        self._folder.cleanup()

    @contextmanager
    def room(self) -> Iterator[Path]:
        """A folder of its own, gone afterwards."""
        made = self.new_room()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def new_room(self) -> Path:
        """A folder of its own; whoever asks for it removes it."""
        return Path(tempfile.mkdtemp(dir=self._folder.name))

    def zipped(self, name: str, room: Path) -> Path:
        """A study's export as one .zip file in a folder; the archive's own folder has the study's name.

        Raises:
            StudyError: there is none of that name, or no trial is complete yet.
            ExportError: it cannot be exported.
        """
        made = room / f"{name}.zip"
        with self._export(name) as folder, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{name}/{file.name}")
        return made

    def configuration(self, name: str) -> str:
        """The best configuration, as `tuner run` and `tuner train` take it; raises as `zipped` does."""
        self.studies.begun(name)
        return self.writing.call(configured, self.studies.workspace, name)

    def report(self, name: str) -> str:
        """A study's report, one HTML page.

        Raises:
            StudyError: there is none of that name, or it waits to begin.
            ExportError: it cannot be written.
        """
        self.studies.begun(name)
        with self.room() as room:
            self.writing.call(reported, self.studies.workspace, name, room / "report.html")
            return (room / "report.html").read_text(encoding="utf-8")

    def parquet(self, name: str, times: bool) -> bytes:
        """A study's table of trials; raises as `report` does."""
        self.studies.begun(name)
        with self.room() as room:
            self.writing.call(trials_parquet, self.studies.workspace, name, times, room / "trials.parquet")
            return (room / "trials.parquet").read_bytes()

    def score(self, name: str, rows: bytes, kind: str) -> Scored:
        """Scores and codes of rows by a finished study's model.

        Args:
            name: the study.
            rows: a CSV file, or a JSON list of rows.
            kind: csv or json.

        Raises:
            StudyError: there is no study of that name, or it is not finished.
            DataError: the rows are not such as the model was trained on.
        """
        state = self.studies.ledger.standing(self.studies.begun(name))
        if state != "finished":
            raise StudyError(f"study {name}: must be finished for its model to score rows, but it is {state}.")
        with self._export(name) as folder, self.room() as room:
            (room / f"rows.{kind}").write_bytes(rows)
            found = self.bounded.call(scored, folder, room / f"rows.{kind}", self.most_rows)
        return Scored(scores=found.scores, anomalies=found.anomalies, threshold=found.threshold, codes=found.codes,
                      notes=found.notes)  # fmt: skip

    @contextmanager
    def _export(self, name: str) -> Iterator[Path]:
        """A study's export: of a finished study one that is kept, of any other as it is now."""
        record = self.studies.begun(name)
        if self.studies.ledger.standing(record) != "finished":
            with self.room() as room:
                self.writing.call(exported, self.studies.workspace, name, room / "export")
                yield room / "export"
            return
        key = (record.key, record.changed_at)
        with self._lock:
            if key not in self._kept or not self._kept[key].is_dir():
                folder = self.new_room() / "export"
                self.writing.call(exported, self.studies.workspace, name, folder)
                self._keep(key, folder)
            self._kept.move_to_end(key)
            found = self._kept[key]
        yield found

    def _keep(self, key: tuple[str, float], folder: Path) -> None:
        self._kept[key] = folder
        while len(self._kept) > KEPT:
            _, oldest = self._kept.popitem(last=False)
            shutil.rmtree(oldest.parent, ignore_errors=True)
