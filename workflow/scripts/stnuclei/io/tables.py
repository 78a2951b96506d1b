"""Tables of a bundle, parquet or gzipped CSV, read by column with every failure told in a sentence."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stnuclei.errors import UserError, first_line

_ENDINGS = (".parquet", ".csv.gz", ".csv")


def find_table(folder: Path, stem: str) -> Path:
    """Path of ``stem`` in `folder`, parquet before CSV.

    Raises
    ------
    UserError
        If there is neither.
    """
    for ending in _ENDINGS:
        path = folder / (stem + ending)
        if path.is_file():
            return path
    raise UserError(f"{folder}: holds neither {stem}.parquet nor {stem}.csv.gz; copy it from the run's output folder")


def read_columns(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), coded: Sequence[str] = ()
) -> dict[str, pa.ChunkedArray]:
    """Read the named columns of a parquet or CSV table, nothing else of it.

    Parameters
    ----------
    path
        The table.
    required, optional
        Column names; optional ones are left out of the result where the table has none.
    coded
        Columns of text that repeats, read as codes from parquet (see `coded_texts`).

    Returns
    -------
    Column name -> Arrow array, in the table's order.

    Raises
    ------
    UserError
        If the file is damaged, empty, or lacks a required column.
    """
    names = column_names(path)
    wanted = [*_present(path, names, required), *(name for name in optional if name in names)]
    try:
        table = _read_parquet(path, wanted, coded) if path.suffix == ".parquet" else _read_csv(path, wanted)
    except (pa.ArrowException, OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error, 160)}); copy it again") from error
    if table.num_rows == 0:
        raise UserError(f"{path}: has no row; is the run complete?")
    return {name: table.column(name) for name in wanted}


def column_names(path: Path) -> list[str]:
    """Names of the columns of a parquet or CSV table."""
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path).names
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt") as file:
            return [name.strip().strip('"') for name in file.readline().rstrip("\n").split(",")]
    except (pa.ArrowException, OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error, 160)}); copy it again") from error


def batches(path: Path, columns: Sequence[str], rows: int = 1 << 18) -> Iterator[pa.RecordBatch]:
    """Stream columns of a parquet file in batches of at most `rows` rows.

    Raises
    ------
    UserError
        If the file is damaged or lacks a column.
    """
    columns = _present(path, column_names(path), columns)
    try:
        # Buffered ahead, the whole file (transcripts: gigabytes) would be in memory by the time its last row is read.
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=rows, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error, 160)}); copy it again") from error


def numbers(path: Path, name: str, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Column as float64 (n,), every value finite.

    Raises
    ------
    UserError
        If it holds text, nothing, NaN or infinity.
    """
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
        raise UserError(f"{path}, column {name}: holds {column.type}, not numbers")
    values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False) if len(column) else np.empty(0)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UserError(
            f"{path}, column {name}: {len(bad):,} of {len(values):,} values are no number, first in row {bad[0]}"
        )
    return values


def texts(path: Path, name: str, column: pa.ChunkedArray | pa.Array) -> pd.Series:
    """Column of ids or names as str (n,): integers are spelled out, bytes decoded, dictionaries resolved.

    Raises
    ------
    UserError
        If values are missing or of another kind.
    """
    return _spelled(path, name, column).to_pandas().astype(object)


def _spelled(path: Path, name: str, column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if column.null_count:
        raise UserError(f"{path}, column {name}: {column.null_count:,} of {len(column):,} values are missing")
    if pa.types.is_floating(kind) and np.all(np.mod(column.to_numpy(), 1) == 0):
        column = pc.cast(column, pa.int64())  # R and pandas turn integer ids into floats
    elif not (_is_text(kind) or pa.types.is_integer(kind)):
        raise UserError(f"{path}, column {name}: holds {kind}, neither text nor whole numbers")
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}, column {name}: bytes are not UTF-8 text") from error


def coded_texts(path: Path, name: str, column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Column of ids that repeat: code of every row (n,) int32, and what each code means (k,), text.

    A vertex table repeats each id a dozen times; as text it would be the largest thing in memory.

    Raises
    ------
    UserError
        See `texts`.
    """
    if column.null_count:
        _spelled(path, name, column)
    encoded = column.unify_dictionaries().combine_chunks()
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False), _spelled(path, name, encoded.dictionary)


def whole_numbers(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    """Column as whole numbers (n,), of its own type where that is one.

    Raises
    ------
    UserError
        See `numbers`.
    """
    if pa.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy()
    return numbers(path, name, column).astype(np.int64)


def check_numbers(path: Path, name: str, column: pa.ChunkedArray) -> None:
    """Check that every value is a finite number, without making float64 of them as `numbers` does.

    Raises
    ------
    UserError
        See `numbers`.
    """
    if not pa.types.is_floating(column.type) or column.null_count or not pc.all(pc.is_finite(column)).as_py():
        numbers(path, name, column)


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in (*tests, pa.types.is_string_view, pa.types.is_fixed_size_binary))


def _present(path: Path, names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UserError(f"{path}: has no column {', '.join(missing)}; its columns are {', '.join(names[:20])}")
    return list(wanted)


def _read_parquet(path: Path, columns: list[str], coded: Sequence[str]) -> pa.Table:
    schema = pq.read_schema(path)
    dictionaries = [name for name in columns if name in coded and _is_text(schema.field(name).type)]
    return pq.read_table(path, columns=columns, read_dictionary=dictionaries, pre_buffer=False)


def _read_csv(path: Path, columns: list[str]) -> pa.Table:
    import pyarrow.csv as csv

    return csv.read_csv(path, convert_options=csv.ConvertOptions(include_columns=columns))
