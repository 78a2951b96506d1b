"""tokens.zarr: one vector a nucleus of a patch store, written once and read by any number of classifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.disk import disk_full_explained
from stnuclei.files import atomic_write
from stnuclei.io.attributes import StoreFormat
from stnuclei.patches.arrays import create_rows, open_array, read_table, store_errors, write_group, write_table
from stnuclei.patches.store import RowStore

FORMAT = StoreFormat("stnuclei-tokens", 1, "tokens", "extract_tokens")
#: Vectors in a file: 12 MB at 384 numbers.
CHUNK_ROWS = 16_384


def write_tokens(
    out: str | Path,
    patches: Iterable[tuple[np.ndarray, np.ndarray]],
    cell_index: np.ndarray,
    dim: int,
    attrs: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a store from a stream of patches, atomically; memory is that of one chunk.

    Parameters
    ----------
    out
        The store's folder; replaced where it stands.
    patches
        For each patch, in order, the vectors (k, D) of its nuclei and their rows (k,) in the patch store.
    cell_index
        (M,) table row of every nucleus of the patch store; more vectors than M do not come.
    dim
        D.
    attrs
        Identity of the vectors: sample, model, choice of tokens.

    Returns
    -------
    The store's attributes; ``content_sha256`` is taken of all arrays, ``counts`` has patches and nuclei.

    Raises
    ------
    UserError
        If the disk is full.
    """
    need = f"a million nuclei take {2 * dim / 1e3:.1f} GB"
    with disk_full_explained(out, need), atomic_write(out, directory=True) as temporary:
        rows = _RowWriter(temporary / "tokens", len(cell_index), dim)
        offset, nuclei = [0], [np.zeros(0, np.int32)]
        for vectors, indices in patches:
            rows.add(vectors.astype(np.float16))
            nuclei.append(indices.astype(np.int32))
            offset.append(offset[-1] + len(indices))
        rows.close()
        nucleus = np.concatenate(nuclei)
        tables: dict[str, np.ndarray] = {
            "nuclei_offset": np.array(offset, np.int64),
            "nucleus": nucleus,
            "cell_index": np.asarray(cell_index, np.int32)[nucleus],
        }
        for name, values in tables.items():
            write_table(temporary / name, values)
            rows.sha256.update(values.tobytes())
        identity = {"format": FORMAT.name, "version": FORMAT.version, **attrs, "dim": dim}
        counts = {"patches": len(offset) - 1, "nuclei": offset[-1]}
        content = {**identity, "counts": counts, "content_sha256": rows.sha256.hexdigest()}
        write_group(temporary, content)  # last: a folder without it is no store
        return content


class _RowWriter:
    """Collects vectors into whole chunks and writes each once."""

    def __init__(self, path: Path, most: int, dim: int) -> None:
        self.array = create_rows(path, (most, dim), "float16", CHUNK_ROWS)
        self.held: list[np.ndarray] = []
        self.rows = self.done = 0
        self.sha256 = hashlib.sha256()

    def add(self, vectors: np.ndarray) -> None:
        self.sha256.update(np.ascontiguousarray(vectors).data)
        self.held.append(vectors)
        self.rows += len(vectors)
        if self.rows >= CHUNK_ROWS:
            self._flush(self.rows // CHUNK_ROWS * CHUNK_ROWS)

    def _flush(self, count: int) -> None:
        whole = np.concatenate(self.held)
        if count:
            self.array[self.done : self.done + count].write(whole[:count]).result()
        self.done += count
        self.held, self.rows = [whole[count:].copy()], len(whole) - count

    def close(self) -> None:
        if self.rows:
            self._flush(self.rows)
        shape = (self.done, self.array.shape[1])
        self.array.resize(exclusive_max=shape, resize_metadata_only=True).result()


class TokenStore(RowStore):
    """Read access to a tokens.zarr.

    Parameters
    ----------
    path
        The store's folder.

    Attributes
    ----------
    attrs
        sample, model (sha256, architecture, precision, device), tokens, nuclei, counts, cost, patches_sha256.

    Raises
    ------
    UserError
        If there is no such store, it is none of tokens, or of a newer version.
    """

    format = FORMAT

    def __len__(self) -> int:
        return int(self.attrs["counts"]["nuclei"])

    def __repr__(self) -> str:
        return f"TokenStore({self.path}: {len(self):,} nuclei, {self.dim} numbers each)"

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.attrs["dim"])

    @cached_property
    def nucleus(self) -> np.ndarray:
        """int32 (M,): row of each vector's nucleus in the patch store's columns."""
        return read_table(self.path / "nucleus")

    @cached_property
    def cell_index(self) -> np.ndarray:
        """int32 (M,): row of the sample's table (and of its labels), -1 where the nucleus has no cell."""
        return read_table(self.path / "cell_index")

    @cached_property
    def patch(self) -> np.ndarray:
        """int64 (M,): number of each vector's patch."""
        return np.repeat(np.arange(len(self.offset) - 1), np.diff(self.offset))

    def read(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Vectors (n, D) float16: all, or those of sorted rows, read chunk by chunk."""
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        out = np.empty((len(chosen), self.dim), np.float16)
        if not len(chosen):
            return out
        array = open_array(self.path / "tokens")
        for begin in range(0, len(self), CHUNK_ROWS):
            first, last = np.searchsorted(chosen, [begin, begin + CHUNK_ROWS])
            if first < last:
                with store_errors(self.path / "tokens", f"[{begin}]"):
                    chunk = np.asarray(array[begin : min(begin + CHUNK_ROWS, len(self))].read().result())
                out[first:last] = chunk[chosen[first:last] - begin]
        return out
