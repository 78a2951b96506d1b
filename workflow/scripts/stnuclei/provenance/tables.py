"""Hashes of parquet tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stnuclei.errors import UserError

ROWS = 1 << 16


def table_hash(path: str | Path) -> str:
    """SHA-256 over the columns of a parquet table, in order: name, type, values, and which are missing.

    Row groups, pages, dictionaries, compression and the writer's metadata do not count; neither does whether texts are
    held with 32 or 64 bit offsets.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UserError
        If it is no parquet file.
    """
    try:
        names = pq.read_schema(path).names
        lines = [f"{name}\t{_column(path, name)}\n" for name in names]
    except pa.ArrowException as error:
        raise UserError(f"{path}: not a readable parquet table ({error})") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _column(path: str | Path, name: str) -> str:
    # Two streams, so that where one batch ends and the next begins leaves no trace.
    values, holes = hashlib.sha256(), hashlib.sha256()
    kind = "empty"
    for column in _batches(path, name):
        kind = str(column.type)
        _feed(column, values, holes)
    return f"{kind}\t{values.hexdigest()}\t{holes.hexdigest()}"


def _batches(path: str | Path, name: str) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS, columns=[name]):
        column = batch.column(0)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if pa.types.is_binary(column.type):
            column = column.cast(pa.large_binary())
        yield column


def _feed(column: pa.Array, values: hashlib._Hash, holes: hashlib._Hash) -> None:
    holes.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type):
        filled = pc.fill_null(column, "" if pa.types.is_large_string(column.type) else b"")
        holes.update(pc.binary_length(filled).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        for value in filled:
            values.update(value.as_buffer())
    elif pa.types.is_nested(column.type):
        # Lists and structs are rare and small here: their text.
        values.update("".join(f"{value}\n" for value in column.to_pylist()).encode())
    else:
        array = column.fill_null(False if pa.types.is_boolean(column.type) else 0) if column.null_count else column
        values.update(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).tobytes())
