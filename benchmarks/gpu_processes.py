"""Part `processes` of `benchmarks/gpu.py`: two processes on one device; run as a program, one of the two.

Little is imported here: each of the two processes pays for it.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.cellvit.model import CellViT, build_model
from stnuclei.cellvit.targets import make_targets
from stnuclei.training.distributed import process_group, sum_over_processes


def processes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Gradients of two processes of four pictures on one device (gloo) against those of one of all eight."""
    from stnuclei.cellvit.device import choose_device

    device = choose_device(options.device, "--device")
    path = options.folder / "gradients.pt"
    _run_two(str(device), path)
    two, one = torch.load(path), _gradients(device, slice(None), None)
    largest = max(float(value.abs().max()) for value in one.values())
    difference = max(float((one[name] - two[name]).abs().max()) for name in one)
    return [{"compared": "gradients of 2 x 4 and 1 x 8", "largest difference": difference, "of": largest}]


def _run_two(device: str, path: Path) -> None:
    """Run `_worker` in two processes that end with this one.

    Raises
    ------
    RuntimeError
        With the last words of those that failed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, device, str(path)],
            env={**shared, "RANK": str(k), "LOCAL_RANK": str(k)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    try:
        errors = [process.communicate(timeout=900 if device == "cpu" else 150)[1] for process in started]
    finally:
        for process in started:
            process.kill()  # nothing where it has ended
    if any(process.returncode for process in started):
        raise RuntimeError("; ".join(re.sub(r"\s+", " ", error)[-500:] for error in errors))


def _pictures(device: torch.device, rows: slice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Some of eight pictures of squares, float64 (n, 3, 64, 64), and their targets."""
    random = np.random.default_rng(0)
    instances = np.zeros((8, 64, 64), np.int32)
    for b, k in np.ndindex(8, 5):
        y, x = random.integers(0, 54, 2)
        instances[b, y : y + 9, x : x + 9] = k + 1
    images = torch.from_numpy(random.normal(size=(8, 3, 64, 64)) + (instances > 0)[:, None])[rows].to(device)
    classes = torch.from_numpy(random.integers(-1, 6, (8, 5)))[rows].to(device)
    targets = make_targets(torch.from_numpy(instances)[rows].to(device), classes)
    return images, targets | {"tissue": torch.zeros(len(images), dtype=torch.int64, device=device)}


def _gradients(device: torch.device, rows: slice, wrap: Callable[[CellViT], Any] | None) -> dict[str, torch.Tensor]:
    """Gradients of the tiny network over some rows; in evaluation mode, where BatchNorm joins no pictures."""
    torch.manual_seed(0)
    network = build_model("cellvit-tiny", 6, 2).to(device).double().eval()
    images, targets = _pictures(device, rows)
    # The wrapper lives until after the backward pass: it is DDP's hooks that average the gradients.
    model = wrap(network) if wrap else network
    terms = cellvit_losses(model(images), targets, reduce=sum_over_processes if wrap else None)
    total_loss(terms).backward()
    return {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}


def _worker(device: str, path: str) -> None:
    """One of the two processes."""
    with process_group(device, backend="gloo") as group:
        gradients = _gradients(group.device, slice(4 * group.rank, 4 * group.rank + 4), group.wrap)
        if group.is_main:
            torch.save(gradients, path)
        group.barrier()


if __name__ == "__main__":
    _worker(*sys.argv[1:])
