"""Hashes of the arrays of a zarr store."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from stnuclei.errors import UserError

#: Bytes read at a time, about: whole rows of chunks, at least one.
BLOCK = 64 << 20


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
