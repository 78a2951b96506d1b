"""Hashes of what files and stores hold, whatever the encoding: chunks, shards, compression, row groups, time stamps.

A zarr array counts by its type, shape and values; a parquet table by its columns in order; a checkpoint by the tensors
of its model; JSON by its values; any other file by its bytes. Everything is streamed.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zarr

from stnuclei.errors import UserError, first_line
from stnuclei.files import sha256

#: Bytes read at a time, about: whole rows of chunks, at least one.
BLOCK = 64 << 20
ROWS = 1 << 16


def content_hashes(path: str | Path) -> dict[str, str]:
    """Hash of each member of a file or folder.

    Parameters
    ----------
    path
        A zarr store, a parquet table, a checkpoint, any other file, or a folder with such.

    Returns
    -------
    Name of the member -> hexadecimal SHA-256 of its content: arrays of a store by their path in it (``image``,
    ``nuclei/centroid``), files of a folder by their relative path; a single file has the one name ``""``.

    Raises
    ------
    UserError
        If there is nothing at `path`, or it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is nothing to hash")
    if path.is_file():
        return {"": file_hash(path)}
    return dict(sorted(_members(path, "")))


def total(hashes: dict[str, str]) -> str:
    """One hash for all members."""
    lines = "".join(f"{name}\t{value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _members(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    if _is_zarr(folder):
        for name, value in zarr_arrays(folder):
            yield f"{prefix}{name}", value
        # SpatialData keeps shapes as parquet inside the store.
        for table in sorted(folder.rglob("*.parquet")):
            yield f"{prefix}{table.relative_to(folder)}", table_hash(table)
        return
    for child in sorted(folder.iterdir()):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            yield from _members(child, f"{prefix}{child.name}/")
        else:
            yield f"{prefix}{child.name}", file_hash(child)


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def file_hash(path: Path) -> str:
    """Hash of one file's content, by its ending."""
    if path.suffix == ".parquet":
        return table_hash(path)
    if path.suffix == ".pt":
        return _checkpoint_hash(path)
    if path.suffix == ".json":
        return _json_hash(path)
    return sha256(path)


def _json_hash(path: Path) -> str:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checkpoint_hash(path: Path) -> str:
    import torch  # here alone: hashing tables and stores needs no torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 torch raises half a dozen kinds for a damaged file
        raise UserError(f"{path}: not a checkpoint ({first_line(error)})") from error
    state = content.get("model_state_dict", content)
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().contiguous()
        digest.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def zarr_arrays(store: str | Path) -> Iterator[tuple[str, str]]:
    """Path and content hash of each array of a store.

    Parameters
    ----------
    store
        Folder of a zarr group or array, version 2 or 3.

    Yields
    ------
    Path of the array in the store (``nuclei/centroid``; ``""`` where the store is one array) and SHA-256 over its
    type, shape and values in C order, little-endian; texts as UTF-8 with their lengths.

    Raises
    ------
    UserError
        If the store cannot be opened.
    """
    try:
        node = zarr.open(str(store), mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{store}: not a readable zarr store ({error})") from error
    with warnings.catch_warnings():
        # Snakemake's time stamp and SpatialData's parquet lie among the arrays.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        arrays = list(_walk(node, ""))
    for key, array in arrays:
        yield key, array_hash(array)


def _walk(node: zarr.Group | zarr.Array, key: str) -> Iterator[tuple[str, zarr.Array]]:
    if isinstance(node, zarr.Array):
        yield key, node
        return
    for name, child in sorted(node.members()):
        yield from _walk(child, f"{key}/{name}" if key else name)


def array_hash(array: zarr.Array) -> str:
    """SHA-256 of one array's type, shape and values, read in blocks of rows."""
    texts = array.dtype.kind not in "biufcSV"
    digest = hashlib.sha256(f"{'text' if texts else array.dtype.str.lstrip('<>=|')} {array.shape}\n".encode())
    if array.ndim == 0:
        digest.update(_bytes(np.asarray(array[()]), texts))
        return digest.hexdigest()
    for start in range(0, array.shape[0], _rows(array)):
        digest.update(_bytes(np.asarray(array[start : start + _rows(array)]), texts))
    return digest.hexdigest()


def _rows(array: zarr.Array) -> int:
    """Rows in a block: a whole number of the rows that are stored together."""
    stored = (array.shards or array.chunks)[0] or 1
    row = max(1, int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize)
    return max(1, BLOCK // (row * stored)) * stored


def _bytes(values: np.ndarray, texts: bool) -> bytes | memoryview:
    if texts:
        encoded = [str(value).encode() for value in values.ravel().tolist()]
        return b"".join(len(text).to_bytes(8, "little") + text for text in encoded)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).reshape(-1).view(np.uint8).data


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
