"""Our own parquet tables: written atomically with page checksums, compared when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.errors import UserError, first_line
from stnuclei.files import atomic_write


def write_table(table: pd.DataFrame | pa.Table, path: str | Path) -> None:
    """Write a table as parquet, its index left out.

    Parquet has no checksum by default: a byte that changed on disk is then read as another number.
    """
    content = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with atomic_write(path) as temporary:
        pq.write_table(content, temporary, write_page_checksum=True)


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table; files without checksums are read as they are.

    Raises
    ------
    UserError
        If it is absent, damaged, or lacks a column.
    """
    wanted = None if columns is None else list(columns)
    try:
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        return table.to_pandas()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{path}: is no readable table ({first_line(error)}); delete it and run again") from error
