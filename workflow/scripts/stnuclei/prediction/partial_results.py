"""Partial results on disk, so that an interrupted segmentation resumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.errors import UserError
from stnuclei.files import atomic_write, remove

#: Beginnings of the names of all that is kept here; `lock` is of `stnuclei.files.locked`.
_NAMES = ("state.json", "part-", "tissue.", "lock", ".partial-")


def partial_folder(out: Path) -> Path:
    """Folder of an output's partial results."""
    return out.with_name(f"{out.name}.partial")


class PartialResults:
    """Folder of finished pieces and of notes, valid for one input with one set of settings.

    Its caller holds its lock (`stnuclei.files.locked`).

    Parameters
    ----------
    out
        The output; the folder lies beside it.
    fingerprint
        Plain values that identify the result. Partial results of any other are removed.

    Raises
    ------
    UserError
        If the folder holds files of something else.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = partial_folder(out)
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._refuse_foreign()
        if self._read_state().get("fingerprint") != self.fingerprint:
            self._clear()
        self._drop_damaged()
        self.notes: dict[str, Any] = self._read_state().get("notes", {})
        self._save()

    def _refuse_foreign(self) -> None:
        """Refuse a folder of that name that holds anything else: its files would be removed in the end."""
        foreign = [path.name for path in self.folder.iterdir() if not path.name.startswith(_NAMES)]
        if foreign:
            raise UserError(
                f"{self.folder}: is where partial results are kept, and holds {sorted(foreign)[0]}, which is none; "
                "move it away or give another output"
            )

    def _clear(self) -> None:
        """Remove all but the lock, which this process holds."""
        kept = [path for path in self.folder.iterdir() if path.name != "lock"]
        if kept:
            print(f"{self.folder}: kept from another slide, model or other settings; begun anew", flush=True)
        for path in kept:
            remove(path)

    def _drop_damaged(self) -> None:
        """Remove the first piece of each group that cannot be read, and those after it: they are made again."""
        broken: set[str] = set()
        for path in sorted(self.folder.glob("part-*.parquet")):
            group = path.stem.split("-")[1]
            try:
                if group not in broken:
                    _read(path)
                    continue
            except (pa.ArrowException, OSError, KeyError, ValueError):
                print(f"{path}: is damaged; it and what follows it is made again", flush=True)
            broken.add(group)
            path.unlink()

    def _read_state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}

    def _save(self) -> None:
        with atomic_write(self.folder / "state.json") as temporary:
            temporary.write_text(json.dumps({"fingerprint": self.fingerprint, "notes": self.notes}))

    def note(self, key: str, value: Any) -> None:
        """Keep a plain value."""
        self.notes[key] = value
        self._save()

    def _path(self, group: int, number: int) -> Path:
        return self.folder / f"part-{group:04d}-{number:06d}.parquet"

    def finished(self, group: int) -> int:
        """Number of finished pieces of a group, counted from 0 without a gap."""
        number = 0
        while self._path(group, number).is_file():
            number += 1
        return number

    def write(self, group: int, number: int, table: pa.Table, info: Mapping[str, int]) -> None:
        """Keep a piece, with its counts."""
        table = table.replace_schema_metadata({"info": json.dumps(dict(info))})
        with atomic_write(self._path(group, number)) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    def read(self, group: int, number: int) -> tuple[pa.Table, dict[str, int]]:
        """Piece and its counts."""
        return _read(self._path(group, number))

    def all(self) -> Iterator[tuple[pa.Table, dict[str, int]]]:
        """All pieces, group after group, one in memory at a time."""
        for path in sorted(self.folder.glob("part-*.parquet")):
            _, group, number = path.stem.split("-")
            yield self.read(int(group), int(number))

    def remove(self) -> None:
        """Remove the folder, once the output is whole."""
        shutil.rmtree(self.folder)


def _read(path: Path) -> tuple[pa.Table, dict[str, int]]:
    table = pq.read_table(path, page_checksum_verification=True)
    return table, json.loads(table.schema.metadata[b"info"])
