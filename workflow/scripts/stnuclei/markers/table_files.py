"""Files of a folder of marker tables, each read with the columns it must have."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.errors import UserError, first_line

#: File -> columns that are read of it.
_COLUMNS = {
    "panglaodb.tsv.gz": ("symbol", "organ", "cell_type", "ubiquitousness", "sensitivity", "specificity"),
    "cellmarker.tsv.gz": ("symbol", "organ", "cell_type", "from_tumour", "n_rows", "n_papers", "min_list_size"),
    "cancer_sets.tsv.gz": ("symbol",),
    "cell_types.tsv.gz": ("database", "cell_type", "category", "votes", "malignant"),
    "hgnc_symbols.tsv.gz": ("symbol",),
    "hgnc_aliases.tsv.gz": ("alias", "symbol"),
    "tissue_map.tsv": ("tissue", "aliases", "panglaodb_organs", "panglaodb_shared_organs", "cellmarker_tissues"),
}
_SYMBOL = {"symbol": str}
#: Name, bytes and time of change (ns) of each of the tables that is there.
FileStates = tuple[tuple[str, int, int], ...]


def file_states(folder: Path) -> FileStates:
    """States of a folder's tables: equal ones need not be read again."""
    states = {name: (folder / name).stat() for name in _COLUMNS if (folder / name).is_file()}
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states.items())


def read_marker_file(folder: Path, name: str, **options: Any) -> pd.DataFrame:
    """Read one of the tables; symbols are text, an empty cell is empty text.

    Parameters
    ----------
    folder
        Of the tables.
    name
        The file's.
    **options
        Of `pandas.read_csv`.

    Raises
    ------
    UserError
        If it is missing, damaged, or lacks a column.
    """
    path = folder / name
    if not path.is_file():
        raise UserError(f"markers: {path} is missing; rebuild it with python -m stnuclei.markers.build")
    try:
        # NA is a gene-free word in these tables and NaN a symbol nobody has.
        table = pd.read_csv(
            path, sep="\t", keep_default_na=False, na_values={}, **{"dtype": {"symbol": str}, **options}
        )
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"markers: {path} cannot be read ({first_line(error)}); rebuild or copy it again") from error
    lacking = [column for column in _COLUMNS[name] if column not in table.columns]
    if lacking:
        raise UserError(f"markers: {path} has no column {', '.join(lacking)}; it has {', '.join(table.columns[:12])}")
    return table
