"""Prefetching of batches: from the loader to the device while the step before them computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from stnuclei.cellvit.targets import make_targets

Batch = dict[str, torch.Tensor]
STAY = frozenset({"index"})  # wanted in messages only


def batch_targets(batch: Mapping[str, torch.Tensor], instances: torch.Tensor, weighted: bool = False) -> Batch:
    """Targets of a batch's (augmented) instances: classes, allowed classes, tissue.

    Parameters
    ----------
    batch
        As `stnuclei.loading.loader.PatchLoader` yields it.
    instances
        (B, H, W) integers.
    weighted
        Weigh each nucleus in the class loss by the confidence of its label.
    """
    weight = batch["confidence"] if weighted else None
    targets = make_targets(instances, batch["classes"], allowed=batch.get("allowed"), weight=weight)
    return targets | {"tissue": batch["tissue"]}


def on_device(batches: Iterable[Mapping[str, Any]], device: torch.device) -> Iterator[Batch]:
    """Yield the batches with their tensors on the device.

    A thread takes batches from the loader while the step before them computes; on a GPU they are copied there in a
    stream of their own at the same time.
    """
    taken = _taken(batches, pin=device.type == "cuda")
    if device.type != "cuda":
        yield from taken
        return
    stream = torch.cuda.Stream(device)
    ahead: Batch | None = None
    for batch in taken:
        following = _copied(batch, device, stream)
        if ahead is not None:
            yield _ready(ahead, device, stream)
        ahead = following
    if ahead is not None:
        yield _ready(ahead, device, stream)


def _taken(batches: Iterable[Mapping[str, Any]], pin: bool) -> Iterator[Batch]:
    """The batches as tensors, each taken in a thread while the caller is busy with the one before."""
    source = iter(batches)

    def take() -> Batch | None:
        batch = next(source, None)
        if batch is None:
            return None
        tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
        return {name: value.pin_memory() if pin and name not in STAY else value for name, value in tensors.items()}

    # Leaving early (a stop, an error in the step) waits for the batch under way, then closes the loader.
    with ThreadPoolExecutor(1, thread_name_prefix="stnuclei-batches") as pool:
        coming = pool.submit(take)
        while (batch := coming.result()) is not None:
            coming = pool.submit(take)
            yield batch


def _copied(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    with torch.cuda.stream(stream):
        return {name: value if name in STAY else value.to(device, non_blocking=True) for name, value in batch.items()}


def _ready(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    """Let the computing stream wait for the copy, and the allocator know who uses the memory."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(stream)
    for name, value in batch.items():
        if name not in STAY:
            value.record_stream(current)
    return batch
