"""Arrays of a zarr v3 store through tensorstore: created, opened, their errors turned into one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from stnuclei.errors import UserError

#: Patches in one file. 256 RGB patches of 256 px are 50 MB: few files, and one write holds little memory.
SHARD = 256

_CRC = {"name": "crc32c"}
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}


def create_pixels(path: Path, shape: tuple[int, ...], dtype: str, compress: bool) -> ts.TensorStore:
    """Create an array of one item a chunk, `SHARD` items a file.

    Parameters
    ----------
    path
        Folder of the array.
    shape
        (N, ...); the first axis is the item.
    dtype
        ``uint8``, ``uint16``.
    compress
        zstd (ids shrink 50 times) or none (H&E pixels hardly shrink). Either way each item carries a CRC-32C, so that
        a flipped bit on disk is an error and not a patch.
    """
    inner = [_BYTES, _ZSTD, _CRC] if compress else [_BYTES, _CRC]
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, *shape[1:]],
            "codecs": inner,
            "index_codecs": [_BYTES, _CRC],
            "index_location": "end",
        },
    }
    return _create(path, shape, dtype, [SHARD, *shape[1:]], [sharding])


def write_table(path: Path, values: np.ndarray) -> None:
    """Write a whole array (a column of the nuclei, say) as one compressed file."""
    chunk = [max(int(n), 1) for n in values.shape]
    array = _create(path, values.shape, values.dtype.name, chunk, [_BYTES, _ZSTD, _CRC])
    if values.size:
        array.write(values).result()


def create_rows(path: Path, shape: tuple[int, int], dtype: str, chunk_rows: int) -> ts.TensorStore:
    """Create an array of vectors, `chunk_rows` a file, compressed and with a checksum, to be written piece by piece."""
    return _create(path, shape, dtype, [max(1, min(chunk_rows, shape[0])), shape[1]], [_BYTES, _ZSTD, _CRC])


def write_group(path: Path, attributes: dict[str, Any]) -> None:
    """Write the metadata of a zarr v3 group."""
    path.mkdir(parents=True, exist_ok=True)
    content = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(content, indent=1))


def _create(path: Path, shape: tuple[int, ...], dtype: str, chunk: list[int], codecs: list[dict]) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "codecs": codecs,
            "fill_value": 0,
        },
        # An item of zeros is written like any other: what is absent on disk is then always an error.
        "store_data_equal_to_fill_value": True,
    }
    return ts.open(spec, create=True).result()


def open_array(path: Path, context: ts.Context | None = None) -> ts.TensorStore:
    """Open an array for reading; a file it lacks is an error on reading, never zeros.

    Raises
    ------
    UserError
        If it is not there or its metadata cannot be read.
    """
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "fill_missing_data_reads": False,
        # The shard's index may be kept: a finished store never changes.
        "recheck_cached_data": "open",
    }
    with store_errors(path):
        return ts.open(spec, read=True, context=context or ts.Context()).result()


def read_table(path: Path) -> np.ndarray:
    """Read a whole array."""
    array = open_array(path)
    if 0 in array.shape:
        return np.zeros(array.shape, array.dtype.numpy_dtype)
    with store_errors(path):
        return np.asarray(array.read().result())


@contextmanager
def store_errors(path: Path, where: str = "") -> Iterator[None]:
    """Turn tensorstore's errors into one sentence that names the store, and the patch where it is known."""
    try:
        yield
    except (ValueError, OSError, NotImplementedError) as error:
        raise UserError(explain(path, error, where)) from error


def explain(path: Path, error: Exception, where: str = "") -> str:
    """One sentence on a failed read of the array at `path`; `where` says which patch."""
    text = str(error)
    shard = re.search(r'"[^"]*?(c/[0-9/]+)"', text)
    file = f" (file {shard.group(1)})" if shard else ""
    problem = next((words for pattern, words in _REASONS if re.search(pattern, text, re.IGNORECASE)), "")
    problem = problem or (text.splitlines() or [type(error).__name__])[0][:160]
    return f"{path}{where}{file}: {problem}; delete the store and write it again with its rule"


_REASONS = (
    ("crc-?32c|checksum|digest", "is damaged: its checksum does not fit"),
    ("not_found|not found|missing", "is not there"),
    ("corrupt|invalid shard|decod|zstd|truncat|out of range", "is damaged and cannot be decoded"),
    ("resource_exhausted|no space", "cannot be read for want of resources"),
    ("permission", "may not be read"),
)
