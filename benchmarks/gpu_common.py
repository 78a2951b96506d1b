"""Shared by the parts of `benchmarks/gpu.py`: the device, timing, synthetic patches, a prepared training run."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from stnuclei.cellvit.device import choose_device
from stnuclei.config.training import TrainSettings
from stnuclei.loading.sources import Source
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.distributed import process_group
from stnuclei.training.failures import StopRequest
from stnuclei.training.run import TrainingRun, prepare


def _beside(name: str) -> ModuleType:
    """A benchmark of this folder, by its file: `training` is also the name of a folder of tests."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


synthetic = _beside("training")
Rows = list[dict[str, Any]]
ALL = ("cellvit-256", "cellvit-sam-b", "cellvit-sam-l", "cellvit-sam-h")


def device_of(options: argparse.Namespace) -> torch.device:
    """The device of the report."""
    return choose_device(options.device, "--device")


def source_of(options: argparse.Namespace) -> Source:
    """A store of synthetic patches, written once a report."""
    if not hasattr(options, "source"):
        small = device_of(options).type == "cpu"
        if small:
            synthetic.PX, synthetic.NUCLEI = 64, 5
        options.source = synthetic.write_store(options.folder, 16 if small else 2048)
    return options.source


def seconds(action: Callable[[], Any], device: torch.device, rounds: int = 10, warm: int = 3) -> float:
    """Median seconds of an action, with the device waited for."""
    times = []
    for _ in range(warm + rounds):
        wait(device)
        begin = time.perf_counter()
        action()
        wait(device)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[warm:]))


def wait(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gib(device: torch.device) -> float:
    """Largest memory allocated since the last reset, GiB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def pictures(n: int, px: int = 256) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels uint8 (n, 3, px, px), instances int32 (n, px, px), classes int8 (n, 9): nine discs each."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:px, :px]
    instances = np.zeros((n, px, px), np.int32)
    for k, (cy, cx) in enumerate(random.integers(12, px - 12, (9, 2))):
        instances[:, (y - cy) ** 2 + (x - cx) ** 2 < 60] = k + 1
    pixels = random.integers(120, 250, (n, 3, px, px), dtype=np.uint8)
    pixels[np.broadcast_to(instances[:, None] > 0, pixels.shape)] //= 2
    return (
        torch.from_numpy(pixels),
        torch.from_numpy(instances),
        torch.from_numpy(random.integers(-1, 6, (n, 9)).astype(np.int8)),
    )


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference of two tensors, wherever they are."""
    return float((a.detach().cpu().double() - b.detach().cpu().double()).abs().max())


@contextmanager
def prepared(options: argparse.Namespace, **changes: Any) -> Iterator[TrainingRun]:
    """A run of training on the synthetic patches; the process group is this process's."""
    count = itertools.count()
    settings = TrainSettings(tensorboard=False, validation_patches=0, workers=8, **changes)
    with process_group(str(device_of(options))) as group:
        folder = next(path for k in count if not (path := options.folder / f"run{k}").exists())
        run, _ = prepare([source_of(options)], [], folder, settings, Taxonomy.load("pannuke"), group, StopRequest())
        yield run


def first_patches(run: TrainingRun, n: int) -> TrainingRun:
    """The run, its loader set to the first `n` patches of its first epoch."""
    run.loader.sampler = np.resize(run.sampler.epoch(0).ravel(), n)
    return run
