"""Batches from the loader to the device, one ahead of the step that uses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

Batch = dict[str, torch.Tensor]
STAY = frozenset({"index"})  # wanted in messages only


def on_device(batches: Iterable[Mapping[str, Any]], device: torch.device) -> Iterator[Batch]:
    """Yield the batches with their tensors on the device.

    On a GPU the copy of a batch runs in a stream of its own while the step before it computes.
    """
    if device.type != "cuda":
        for batch in batches:
            yield {name: torch.as_tensor(value) for name, value in batch.items()}
        return
    stream = torch.cuda.Stream(device)
    ahead: Batch | None = None
    for batch in batches:
        following = _copied(batch, device, stream)
        if ahead is not None:
            yield _ready(ahead, device, stream)
        ahead = following
    if ahead is not None:
        yield _ready(ahead, device, stream)


def _copied(batch: Mapping[str, Any], device: torch.device, stream: torch.cuda.Stream) -> Batch:
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    with torch.cuda.stream(stream):
        return {
            name: value
            if name in STAY
            else (value if value.is_pinned() else value.pin_memory()).to(device, non_blocking=True)
            for name, value in tensors.items()
        }


def _ready(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    """Let the computing stream wait for the copy, and the allocator know who uses the memory."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(stream)
    for name, value in batch.items():
        if name not in STAY:
            value.record_stream(current)
    return batch
