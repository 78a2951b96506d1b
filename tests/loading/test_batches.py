"""Batches come in order, ahead of their use, and their source is closed when the user leaves."""

import threading

import numpy as np
import pytest
import torch

from stnuclei.errors import UserError
from stnuclei.loading.batches import on_device

CPU = torch.device("cpu")


def counting(n, closed=None, fail_at=None):
    try:
        for i in range(n):
            if i == fail_at:
                raise UserError("patch 3 of a.zarr cannot be read")
            yield {"image": np.full((2, 3), i), "index": np.arange(2)}
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_in_order_and_as_tensors():
    seen = list(on_device(counting(5), CPU))
    assert [int(batch["image"][0, 0]) for batch in seen] == list(range(5))
    assert all(isinstance(value, torch.Tensor) for value in seen[0].values())


def test_leaving_early_ends_thread_and_source():
    closed = []
    batches = on_device(counting(100, closed), CPU)
    next(batches)
    batches.close()
    del batches
    assert not [t for t in threading.enumerate() if t.name.startswith("stnuclei-batches")]
    assert len(closed) == 1


def test_an_error_of_the_loader_arrives():
    with pytest.raises(UserError, match="patch 3"):
        list(on_device(counting(5, fail_at=3), CPU))
