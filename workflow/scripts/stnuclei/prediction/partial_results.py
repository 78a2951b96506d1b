"""What a segmentation has finished, kept beside its output until that is whole: killed, it goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.errors import UserError
from stnuclei.files import atomic_write, disk_full


def folder_of(out: Path) -> Path:
    """Where what is finished of an output is kept."""
    return out.with_name(f"{out.name}.partial")


class Parts:
    """A folder of finished pieces and of notes, valid for one input with one set of settings.

    Parameters
    ----------
    out
        The output; the folder lies beside it.
    fingerprint
        Plain values that say what is being made. What was kept of anything else is removed.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder_of(out)
        self.fingerprint = json.loads(json.dumps(fingerprint))
        if self.folder.exists() and self._read_state().get("fingerprint") != self.fingerprint:
            print(f"{self.folder}: kept from another slide, model or other settings; begun anew", flush=True)
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.notes: dict[str, Any] = self._read_state().get("notes", {})
        self._save()

    def _read_state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}

    def _save(self) -> None:
        with atomic_write(self.folder / "state.json") as aside:
            aside.write_text(json.dumps({"fingerprint": self.fingerprint, "notes": self.notes}))

    def note(self, key: str, value: Any) -> None:
        """Keep a plain value."""
        self.notes[key] = value
        self._save()

    def _path(self, group: int, number: int) -> Path:
        return self.folder / f"part-{group:04d}-{number:06d}.parquet"

    def finished(self, group: int) -> int:
        """How many parts of a group are there, counted from 0 without a gap."""
        number = 0
        while self._path(group, number).is_file():
            number += 1
        return number

    def write(self, group: int, number: int, table: pa.Table, info: Mapping[str, int]) -> None:
        """Keep a part, with counts that go with it."""
        table = table.replace_schema_metadata({"info": json.dumps(dict(info))})
        with atomic_write(self._path(group, number)) as aside:
            pq.write_table(table, aside, compression="zstd")

    def read(self, group: int, number: int) -> tuple[pa.Table, dict[str, int]]:
        """A part and its counts."""
        table = pq.read_table(self._path(group, number))
        return table, json.loads(table.schema.metadata[b"info"])

    def all(self) -> Iterator[tuple[pa.Table, dict[str, int]]]:
        """All parts, group after group, one in memory at a time."""
        for path in sorted(self.folder.glob("part-*.parquet")):
            _, group, number = path.stem.split("-")
            yield self.read(int(group), int(number))

    def remove(self) -> None:
        """Remove the folder: the output is whole."""
        shutil.rmtree(self.folder)


@contextmanager
def room_on_disk(out: Path) -> Iterator[None]:
    """Turn a full disk into one sentence.

    Raises
    ------
    UserError
        If the block failed for lack of space.
    """
    try:
        yield
    except OSError as error:
        if not disk_full(error):
            raise
        raise UserError(
            f"{out}: cannot be written, the disk is full or the quota used up; free space (1 kB a nucleus) and run "
            "again: the rows of tiles finished so far are kept"
        ) from error
