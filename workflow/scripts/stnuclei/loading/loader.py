"""Batches of patches straight from the stores' shards.

One tensorstore future a patch: its threads, which are not Python's, read, check and decode each patch into its row of
the batch while the model computes. There are no worker processes, so none can be left running, and at most `prefetch`
batches are read ahead.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
import torch

from stnuclei.errors import UserError
from stnuclei.loading.slow_disk import Sweep, shard_numbers
from stnuclei.loading.sources import Source, open_sources
from stnuclei.patches.arrays import SHARD, explain
from stnuclei.taxonomy import Taxonomy


@dataclass(frozen=True)
class ReadSettings:
    """Threads and limits of reading.

    Parameters
    ----------
    threads
        Threads that decode, over all stores; those that wait for the disk are four times as many.
    prefetch
        Batches read ahead.
    sweep
        For disks that seek slowly: read whole files so many ahead of need. Only for an array of patch numbers that
        stays with few files at a time (`stnuclei.loading.slow_disk.by_shards`).
    patience
        Seconds after which a read is given up with a message (a file server that does not answer).
    """

    threads: int = 2
    prefetch: int = 2
    sweep: int = 0
    patience: float = 600.0


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
        Patch numbers: an integer array (n,), one of batches (steps, n), an iterable of numbers, or an iterable of
        arrays that each are one batch. It alone decides the order; nothing here is random.
    tissues
        Names that ``tissue`` points into; none: those of all sources, sorted. A tissue not among them gets 0.
    reading
        Threads, batches ahead, limits.

    Yields
    ------
    ``image`` uint8 (B, 3, P, P) in channels_last memory (the pixels as they lie on disk), ``instances`` int32
    (B, P, P), ``classes`` int8 (B, K) with K the largest number of nuclei, at least 1, padded with -1 (also Unknown),
    ``confidence`` float32 (B, K) of these labels, ``tissue`` int64 (B,), ``index`` int64 (B,) patch numbers; where a
    source has undecided nuclei also ``allowed`` int32 (B, K), bit c set for an allowed class c.

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
        reading: ReadSettings | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"training.batch_size must be at least 1, not {batch_size}")
        self.batch_size, self.sampler = int(batch_size), sampler
        self.reading = reading or ReadSettings()
        self._context = _context(max(1, self.reading.threads))
        self._buffers = Buffers()
        self.opened = open_sources(sources, Taxonomy.load(taxonomy), tissues, self._context)
        self.undecided = any(source.labels.allowed is not None for source in self.opened)
        self.first = np.cumsum([0, *(len(source) for source in self.opened)], dtype=np.int64)

    def __len__(self) -> int:
        """Batches, where the sampler has a length."""
        n = len(self.sampler)  # type: ignore[arg-type]
        first: Any = next(iter(self.sampler)) if n else 0
        return n if np.ndim(first) else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        pending: deque[_Batch] = deque()
        needed = 0
        try:
            with Sweep(*self._files()) if self.reading.sweep else nullcontext() as sweep:
                for numbers in _batches(self.sampler, self.batch_size):
                    if sweep:
                        needed += len(numbers)
                        sweep.need(int(self._files_needed[needed - 1]), self.reading.patience)
                    pending.append(self._ask(numbers))
                    if len(pending) > self.reading.prefetch:
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
            raise IndexError(f"patch numbers {numbers.min()} to {numbers.max()} of {self.first[-1]} patches")
        source = np.searchsorted(self.first, numbers, side="right") - 1
        row = numbers - self.first[source]
        shape = (len(numbers), *self.opened[0].instances.shape[1:])
        image, instances = self._buffers.take((*shape, 3), "uint8"), self._buffers.take(shape, "int32")
        batch = _Batch(numbers, source.tolist(), row.tolist(), image, instances, [])
        into_image = ts.array(image, context=self._context, copy=False, write=True)
        into_ids = ts.array(instances, context=self._context, copy=False, write=True)
        for k, (s, i) in enumerate(zip(batch.source, batch.row, strict=True)):
            opened = self.opened[s]
            batch.reads.append((into_image[k].write(opened.image[i]), into_ids[k].write(opened.instances[i])))
        return batch

    def _take(self, batch: _Batch) -> dict[str, torch.Tensor]:
        """Wait for a batch; its classes and tissues meanwhile."""
        patches = list(zip(batch.source, batch.row, strict=True))
        labels = self._labels(patches)
        tissue = [int(self.opened[s].tissue[i]) for s, i in patches]
        for k, pair in enumerate(batch.reads):
            for name, future in zip(("image", "instances"), pair, strict=True):
                self._wait(batch, k, name, future)
        return {
            "image": torch.from_numpy(batch.image).permute(0, 3, 1, 2),
            "instances": torch.from_numpy(batch.instances),
            **{name: torch.from_numpy(values) for name, values in labels.items()},
            "tissue": torch.tensor(tissue, dtype=torch.int64),
            "index": torch.from_numpy(batch.numbers),
        }

    def _labels(self, patches: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        """Classes, confidence and allowed classes of the nuclei of (source, row) pairs, each (B, K)."""
        rows = [self.opened[s].rows(i) for s, i in patches]
        shape = (len(rows), max([1, *(row.stop - row.start for row in rows)]))
        labels = {"classes": np.full(shape, -1, np.int8), "confidence": np.zeros(shape, np.float32)}
        if self.undecided:
            labels["allowed"] = np.zeros(shape, np.int32)
        for k, ((s, _), row) in enumerate(zip(patches, rows, strict=True)):
            known, n = self.opened[s].labels, row.stop - row.start
            labels["classes"][k, :n] = known.classes[row]
            labels["confidence"][k, :n] = known.confidence[row]
            if self.undecided:
                allowed = known.single if known.allowed is None else known.allowed
                labels["allowed"][k, :n] = allowed[row]
        return labels

    def _wait(self, batch: _Batch, k: int, name: str, future: ts.WriteFutures) -> None:
        path, where = self.opened[batch.source[k]].path, f"[{batch.row[k]}]"
        try:
            future.result(timeout=self.reading.patience)
        except TimeoutError:
            batch.cancel()
            raise UserError(
                f"{path}{where}: no answer from the disk for {self.reading.patience:.0f} s; look at the file system "
                "and start again, the run continues where it stopped"
            ) from None
        except (ValueError, OSError, NotImplementedError) as error:
            batch.cancel()
            raise UserError(explain(path / name, error, where)) from error

    def _files(self) -> tuple[list[tuple], int]:
        """Files in the order of need for the sweep, and how many may be ahead; notes how many each patch needs."""
        numbers = np.concatenate([np.zeros(0, np.int64), *_batches(self.sampler, self.batch_size)])
        shard = shard_numbers(numbers, [len(source) for source in self.opened])
        _, begin = np.unique(shard, return_index=True)
        begin = np.sort(begin)
        self._files_needed = np.searchsorted(begin, np.arange(len(numbers)), side="right")
        source = np.searchsorted(self.first, numbers[begin], side="right") - 1
        within = (numbers[begin] - self.first[source]) // SHARD
        files = [self.opened[s].files(i) for s, i in zip(source.tolist(), within.tolist(), strict=True)]
        return files, self.reading.sweep


@dataclass
class _Batch:
    """A batch under way."""

    numbers: np.ndarray
    source: list[int]
    row: list[int]
    image: np.ndarray
    instances: np.ndarray
    reads: list[tuple[ts.WriteFutures, ts.WriteFutures]]

    def cancel(self) -> None:
        """Give up what has not been read."""
        for pair in self.reads:
            for future in pair:
                future.cancel()
        self.reads = []


class Buffers:
    """Pool of arrays for batches: fresh pages for 110 MB a batch would cost more than reading the patches.

    An array, its views, the tensors made from it, and reads that still write into it all hold it; only when the last of
    them is gone is its memory given to the next batch. So a caller may keep a batch as long as it likes.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[tuple[int, ...], str], list[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Return an array of arbitrary content."""
        free = self._free.setdefault((shape, dtype), [])
        memory = free.pop() if free else np.empty(shape, dtype)
        # What is lent is a second array object over the same memory: its end can be watched, the memory stays.
        lent = np.frombuffer(memory.data, dtype).reshape(shape) if memory.size else memory.view()
        weakref.finalize(_owner(lent), free.append, memory).atexit = False
        return lent


def _owner(array: np.ndarray) -> np.ndarray:
    """The array object that all views of `array` hold on to."""
    return array.base if isinstance(array.base, np.ndarray) else array


def _context(threads: int) -> ts.Context:
    return ts.Context(
        {
            "file_io_concurrency": {"limit": 4 * threads},
            "data_copy_concurrency": {"limit": threads},
            # No cache of pixels: a patch comes back after an epoch, when it would be gone.
            "cache_pool": {"total_bytes_limit": 0},
        }
    )


def _batches(sampler: Iterable[int] | Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
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
    for entry in sampler:
        if np.ndim(entry):
            yield np.asarray(entry).astype(np.int64).ravel()
            continue
        held.append(int(entry))
        if len(held) == batch_size:
            yield np.array(held, np.int64)
            held = []
    if held:
        yield np.array(held, np.int64)
