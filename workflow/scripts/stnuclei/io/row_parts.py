"""Rows of an Arrow table dealt to parts on disk, for an order other than the one they are stored in."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa


class RowParts:
    """Rows dealt to numbered parts, each a file that is read whole: memory holds one part, however many rows there are.

    Rows are added within ``with``; parts are read afterwards.

    Parameters
    ----------
    folder
        Holds the parts' files; whoever made it removes it.
    schema
        Columns of the rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._files: dict[int, pa.ipc.RecordBatchFileWriter] = {}

    def __enter__(self) -> RowParts:
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def deal(self, rows: pa.RecordBatch, part: np.ndarray) -> None:
        """Add each row to a part; `part` (n,) whole numbers, negative: to none."""
        order = np.argsort(part, kind="stable")
        order = order[np.searchsorted(part[order], 0) :]
        begins = np.flatnonzero(np.diff(part[order], prepend=-1))
        for chosen in np.split(order, begins[1:]) if len(order) else []:
            self.add(int(part[chosen[0]]), rows.take(pa.array(chosen)))

    def add(self, part: int, rows: pa.RecordBatch) -> None:
        """Add rows to a part, behind those that are there."""
        if part not in self._files:
            self._files[part] = pa.ipc.new_file(self._path(part), self._schema)
        self._files[part].write_batch(rows)

    def read(self, part: int) -> pa.Table:
        """Rows of a part in the order they were added; none where it got none."""
        if part not in self._files:
            return self._schema.empty_table()
        with pa.OSFile(str(self._path(part))) as file:
            return pa.ipc.open_file(file).read_all()

    def _path(self, part: int) -> Path:
        return self._folder / f"{part}.arrow"
