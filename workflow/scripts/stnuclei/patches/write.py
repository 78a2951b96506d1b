"""Writing patches.zarr: a stream of blocks in, a few files out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from stnuclei.disk import disk_full_explained
from stnuclei.files import atomic_write
from stnuclei.patches.arrays import SHARD, create_pixels, write_group, write_table
from stnuclei.patches.store import FORMAT

_MOST = 1 << 26  # patches an array is declared for before their number is known


@dataclass(frozen=True)
class PatchBlock:
    """Some patches with their nuclei; n patches, m nuclei.

    Parameters
    ----------
    image
        (n, P, P, 3) uint8 RGB.
    instances
        (n, P, P) uint16; k is the k-th nucleus of its patch, 0 background.
    origin
        (n, 2) int32, (x, y) patch_px.
    tissue
        (n,) uint8.
    count
        (n,) int64, nuclei of each patch.
    cell_index, nucleus_index
        (m,) int32, patch by patch.
    centroid
        (m, 2) float32, (x, y) px in the patch.
    """

    image: np.ndarray
    instances: np.ndarray
    origin: np.ndarray
    tissue: np.ndarray
    count: np.ndarray
    cell_index: np.ndarray
    nucleus_index: np.ndarray
    centroid: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


class _Shards:
    """Collects items of one array into shards and writes each once, the next filling while the last is written."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str, compress: bool) -> None:
        self.array = create_pixels(path, (_MOST, *shape), dtype, compress)
        self.buffer = np.empty((SHARD, *shape), dtype)
        self.filled = self.done = 0
        self.pending: ts.WriteFutures | None = None
        self.sha256 = hashlib.sha256()

    def add(self, items: np.ndarray) -> None:
        items = np.asarray(items, self.buffer.dtype)
        self.sha256.update(np.ascontiguousarray(items).data)
        while len(items):
            taken = min(SHARD - self.filled, len(items))
            self.buffer[self.filled : self.filled + taken] = items[:taken]
            self.filled += taken
            items = items[taken:]
            if self.filled == SHARD:
                self._flush()

    def _flush(self) -> None:
        if self.pending is not None:
            self.pending.result()
        shard, self.buffer = self.buffer[: self.filled], np.empty_like(self.buffer)
        begin, self.done, self.filled = self.done, self.done + self.filled, 0
        self.pending = self.array[begin : self.done].write(shard, can_reference_source_data_indefinitely=True)

    def settle(self) -> None:
        """Wait until nothing is being written, however it ended."""
        if self.pending is not None:
            self.pending.exception()

    def close(self) -> int:
        """Write what is left and fix the array's length, which is returned."""
        if self.filled:
            self._flush()
        if self.pending is not None:
            self.pending.result()
        shape = (self.done, *self.array.shape[1:])
        self.array.resize(exclusive_max=shape, resize_metadata_only=True).result()
        return self.done


def write_patches(
    out: str | Path,
    blocks: Iterable[PatchBlock],
    attrs: Mapping[str, Any],
    *,
    size: int = 256,
    compress_image: bool = False,
    extra: Callable[[], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write a patch store from a stream of blocks, atomically.

    Memory is that of two shards, however many patches come.

    Parameters
    ----------
    out
        The store's folder; replaced where it stands.
    blocks
        Patches in the order they get their numbers.
    attrs
        sample, tissues, um_per_px, settings and what else is worth keeping.
    size
        Side of a patch, px.
    compress_image
        zstd for the pixels too: a tenth smaller, slower to read.
    extra
        Called without arguments once all blocks are through; gives attributes known only then (counts).

    Returns
    -------
    The store's attributes; ``counts`` has patches, nuclei (rows), bytes, bytes_per_patch, seconds; ``content_sha256``
    is taken of all arrays as they are written.

    Raises
    ------
    UserError
        If the disk is full.
    """
    started = time.monotonic()
    with disk_full_explained(out, "a patch takes 200 kB"), atomic_write(out, directory=True) as aside:
        patches, nuclei, content_sha256 = _write_arrays(aside, blocks, size, compress_image)
        written = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file())
        counts = {
            "patches": patches,
            "nuclei": nuclei,
            "bytes": written,
            "bytes_per_patch": round(written / max(patches, 1)),
            "seconds": round(time.monotonic() - started, 2),
        }
        late = dict(extra()) if extra else {}
        counts = {**counts, **late.pop("counts", {})}
        identity = {"format": FORMAT.name, "version": FORMAT.version}
        content = {**identity, **attrs, **late, "patch_px": size, "content_sha256": content_sha256, "counts": counts}
        write_group(aside, content)
    return content


def _write_arrays(aside: Path, blocks: Iterable[PatchBlock], size: int, compress_image: bool) -> tuple[int, int, str]:
    """Write all arrays; number of patches, number of nuclei, and SHA-256 of everything written."""
    images = _Shards(aside / "image", (size, size, 3), "uint8", compress_image)
    ids = _Shards(aside / "instances", (size, size), "uint16", True)
    columns: dict[str, list[np.ndarray]] = {
        "origin": [np.zeros((0, 2), np.int32)],
        "tissue": [np.zeros(0, np.uint8)],
        "count": [np.zeros(1, np.int64)],
        "cell_index": [np.zeros(0, np.int32)],
        "nucleus_index": [np.zeros(0, np.int32)],
        "centroid": [np.zeros((0, 2), np.float32)],
    }
    try:
        for block in blocks:
            images.add(block.image)
            ids.add(block.instances)
            for name, blocks_of in columns.items():
                blocks_of.append(getattr(block, name).astype(blocks_of[0].dtype))
        images.close()
        patches = ids.close()
    except BaseException:
        # A shard still being written would put its file back into a folder that is being removed.
        images.settle()
        ids.settle()
        raise
    whole = {name: np.concatenate(blocks_of) for name, blocks_of in columns.items()}
    write_group(aside / "nuclei", {})
    write_table(aside / "nuclei_offset", np.cumsum(whole["count"]))
    for name in ("origin", "tissue"):
        write_table(aside / name, whole[name])
    for name in ("cell_index", "nucleus_index", "centroid"):
        write_table(aside / "nuclei" / name, whole[name])
    digest = hashlib.sha256(images.sha256.digest() + ids.sha256.digest())
    for name in sorted(whole):
        digest.update(np.ascontiguousarray(whole[name]).data)
    return patches, len(whole["cell_index"]), digest.hexdigest()
