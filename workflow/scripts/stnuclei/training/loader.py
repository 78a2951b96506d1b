"""Batches of patches straight from the stores' shards.

One tensorstore future a patch: its threads, which are not Python's, read, check and decode while the model computes.
There are no worker processes, so nothing can be left behind, and what is read ahead is bounded by `prefetch` batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
import torch

from stnuclei.errors import UserError
from stnuclei.patches import PatchStore, patch_classes
from stnuclei.patches.arrays import explain, open_array
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.sources import Source

#: A read that takes longer than this many seconds is given up with a message (a file server that does not answer).
PATIENCE = 600.0


class PatchLoader:
    """Yields batches of patches in the order a sampler gives.

    Parameters
    ----------
    sources
        Patch stores, each with its labels; patch i of source s has number ``first[s] + i``. All of one patch size.
    taxonomy
        Gives the class ids.
    batch_size
        Patches of a batch; the last may be smaller.
    sampler
        Patch numbers: an integer array (n,), an iterable of numbers, or an iterable of arrays that each are one batch.
        It alone decides the order; nothing here is random.
    tissues
        Names that ``tissue`` points into; none: those of all sources, sorted. A tissue not among them gets 0.
    threads
        Threads that decode, over all stores; those waiting for the disk are four times as many.
    prefetch
        Batches read ahead.
    patience
        Seconds after which a read is given up.

    Yields
    ------
    ``image`` uint8 (B, 3, P, P) in channels_last memory (the pixels as they lie on disk, not copied once more),
    ``instances`` int32 (B, P, P), ``classes`` int8 (B, K) with K the largest number of nuclei, at least 1, padded with
    -1 (also Unknown), ``tissue`` int64 (B,), ``index`` int64 (B,) patch numbers.

    Raises
    ------
    UserError
        If stores do not go together, or a patch cannot be read: names store, patch and file.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        taxonomy: Taxonomy | str,
        batch_size: int,
        sampler: Iterable[int] | Iterable[np.ndarray] | np.ndarray,
        *,
        tissues: Sequence[str] | None = None,
        threads: int = 2,
        prefetch: int = 2,
        patience: float = PATIENCE,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"training.batch_size must be at least 1, not {batch_size}")
        self.batch_size, self.sampler = int(batch_size), sampler
        self.prefetch, self.patience = max(0, int(prefetch)), patience
        context = _context(max(1, int(threads)))
        taxonomy = Taxonomy.load(taxonomy)
        stores = [PatchStore(source.patches) for source in sources]
        names = list(tissues) if tissues is not None else sorted({t for store in stores for t in store.tissues})
        self.opened = [
            _open(store, source, taxonomy, names, context) for store, source in zip(stores, sources, strict=True)
        ]
        self.first = np.cumsum([0, *(len(one.tissue) for one in self.opened)], dtype=np.int64)
        sizes = {one.image.shape[1] for one in self.opened}
        if len(sizes) > 1:
            raise UserError(
                f"training: patches of {sorted(sizes)} px cannot be mixed; cut all samples with one patches.size"
            )
        self.patch_px = int(sizes.pop()) if sizes else 0

    def __len__(self) -> int:
        """Batches, where the sampler has a length."""
        n = len(self.sampler)  # type: ignore[arg-type]
        one = next(iter(self.sampler)) if n else 0
        return n if np.ndim(one) else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        pending: deque[_Batch] = deque()
        try:
            for numbers in _batches(self.sampler, self.batch_size):
                pending.append(self._ask(numbers))
                if len(pending) > self.prefetch:
                    yield self._take(pending.popleft())
            while pending:
                yield self._take(pending.popleft())
        finally:
            # Reads that nobody waits for any more: after an error, or when the caller stopped early.
            for batch in pending:
                batch.cancel()

    def _ask(self, numbers: np.ndarray) -> _Batch:
        """Begin to read a batch."""
        if len(numbers) and not (0 <= numbers.min() and numbers.max() < self.first[-1]):
            raise IndexError(f"patch numbers {numbers.min()}-{numbers.max()} of {self.first[-1]} patches")
        source = np.searchsorted(self.first, numbers, side="right") - 1
        row = numbers - self.first[source]
        reads = []
        for s, i in zip(source.tolist(), row.tolist(), strict=True):
            one = self.opened[s]
            reads.append((one.image[i].read(), one.instances[i].read()))
        return _Batch(numbers, source, row, reads)

    def _take(self, batch: _Batch) -> dict[str, torch.Tensor]:
        """Wait for a batch and put it together."""
        n, side = len(batch.numbers), self.patch_px
        image = torch.empty((n, side, side, 3), dtype=torch.uint8)
        instances = torch.empty((n, side, side), dtype=torch.int32)
        pixels, ids = image.numpy(), instances.numpy()
        rows = [self.opened[s].rows(i) for s, i in zip(batch.source.tolist(), batch.row.tolist(), strict=True)]
        classes = np.full((n, max([1, *(len(one) for one in rows)])), -1, np.int8)
        for k, (picture, marks) in enumerate(batch.reads):
            pixels[k] = self._result(batch, k, "image", picture)
            ids[k] = self._result(batch, k, "instances", marks)
            classes[k, : len(rows[k])] = rows[k]
        tissue = [self.opened[s].tissue[i] for s, i in zip(batch.source.tolist(), batch.row.tolist(), strict=True)]
        return {
            "image": image.permute(0, 3, 1, 2),
            "instances": instances,
            "classes": torch.from_numpy(classes),
            "tissue": torch.tensor(tissue, dtype=torch.int64),
            "index": torch.from_numpy(batch.numbers),
        }

    def _result(self, batch: _Batch, k: int, name: str, future: ts.Future) -> np.ndarray:
        try:
            return future.result(timeout=self.patience)
        except TimeoutError:
            batch.cancel()
            path = self.opened[int(batch.source[k])].path
            raise UserError(
                f"{path}[{int(batch.row[k])}]: no answer from the disk for {self.patience:.0f} s; look at the file "
                "system and start again, the run continues where it stopped"
            ) from None
        except (ValueError, OSError, NotImplementedError) as error:
            batch.cancel()
            path = self.opened[int(batch.source[k])].path / name
            raise UserError(explain(path, error, f"[{int(batch.row[k])}]")) from error


@dataclass
class _Opened:
    """One source, ready to be read."""

    path: Any
    image: ts.TensorStore
    instances: ts.TensorStore
    offset: np.ndarray
    classes: np.ndarray
    tissue: np.ndarray

    def rows(self, i: int) -> np.ndarray:
        """Class ids of patch i's nuclei."""
        return self.classes[self.offset[i] : self.offset[i + 1]]


@dataclass
class _Batch:
    """A batch under way."""

    numbers: np.ndarray
    source: np.ndarray
    row: np.ndarray
    reads: list[tuple[ts.Future, ts.Future]]

    def cancel(self) -> None:
        """Give up what has not been read."""
        for pair in self.reads:
            for future in pair:
                future.cancel()
        self.reads = []


def _context(threads: int) -> ts.Context:
    return ts.Context(
        {
            "file_io_concurrency": {"limit": 4 * threads},
            "data_copy_concurrency": {"limit": threads},
            # No cache of pixels: a patch comes back after an epoch, when it would be gone.
            "cache_pool": {"total_bytes_limit": 0},
        }
    )


def _open(
    store: PatchStore, source: Source, taxonomy: Taxonomy, tissues: Sequence[str], context: ts.Context
) -> _Opened:
    offset = np.asarray(store.offset)
    if source.labels is None:
        classes = np.full(int(offset[-1]), -1, np.int8)
    else:
        classes = patch_classes(store, source.labels, taxonomy)
    to_global = np.array([tissues.index(t) if t in tissues else 0 for t in store.tissues] or [0], np.int64)
    return _Opened(
        store.path,
        open_array(store.path / "image", context),
        open_array(store.path / "instances", context),
        offset,
        classes,
        to_global[store.tissue],
    )


def _batches(sampler: Iterable[Any], batch_size: int) -> Iterator[np.ndarray]:
    """Patch numbers batch by batch, int64."""
    if isinstance(sampler, np.ndarray | torch.Tensor):
        numbers = np.asarray(sampler).astype(np.int64)
        if numbers.ndim == 2:
            yield from numbers
        else:
            for begin in range(0, len(numbers), batch_size):
                yield numbers[begin : begin + batch_size]
        return
    held: list[int] = []
    for one in sampler:
        if np.ndim(one):
            yield np.asarray(one).astype(np.int64).ravel()
            continue
        held.append(int(one))
        if len(held) == batch_size:
            yield np.array(held, np.int64)
            held = []
    if held:
        yield np.array(held, np.int64)
