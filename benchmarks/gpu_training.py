"""Parts `facts`, `waits`, `training`, `resumed` and `profile` of `benchmarks/gpu.py`."""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpu_common import ALL, Rows, apart, device_of, first_patches, gib, prepared, seconds, source_of, wait
from stnuclei.cellvit.device import is_out_of_memory, set_arithmetic
from stnuclei.config.training import TrainSettings
from stnuclei.loading.batches import batch_targets, on_device
from stnuclei.training import loop
from stnuclei.training.failures import TrainingStopped
from stnuclei.training.resume import TrainingState
from stnuclei.training.run import TrainingRun, set_trainable
from stnuclei.training.step import take_step

#: Patches at a time: the first that fits is measured.
BATCHES = {"cellvit-tiny": (4,), "cellvit-256": (128, 64, 32), "cellvit-sam-b": (64, 32, 16)}


def facts(options: argparse.Namespace) -> Rows:
    """Versions, the device, what torchrun knows."""
    from torch.distributed.run import get_args_parser

    device = device_of(options)
    rows = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    rows |= {"cudnn": torch.backends.cudnn.version(), "cpu threads": torch.get_num_threads()}
    rows |= {"torchrun --shutdown-timeout": "--shutdown-timeout" in get_args_parser().format_help()}
    if device.type == "cuda":
        seen = torch.cuda.get_device_properties(device)
        free, total = (n / 2**30 for n in torch.cuda.mem_get_info(device))
        rows |= {"gpu": seen.name, "capability": f"{seen.major}.{seen.minor}", "GiB free": free, "GiB": total}
        rows |= {"bf16": torch.cuda.is_bf16_supported(), "gpus": torch.cuda.device_count()}
    return [{"fact": name, "value": value} for name, value in rows.items()]


def waits(options: argparse.Namespace) -> Rows:
    """Lines at which the host waits for the device in one step of training; none is the aim."""
    device = device_of(options)
    if device.type == "cpu":
        return [{"line": "nothing to wait for on a CPU", "waits": 0}]
    with prepared(options, architecture="cellvit-256", batch_size=16) as run:
        batch = next(iter(on_device(first_patches(run, 16).loader, device)))
        run.network.train()
        for _ in range(2):
            take_step(run, run.network, [batch])
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            take_step(run, run.network, [batch])
            torch.cuda.set_sync_debug_mode("default")
        lines = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in seen if "synchroniz" in str(w.message))
    return [{"line": line, "waits": n} for line, n in lines.most_common()] or [{"line": "none", "waits": 0}]


def training(options: argparse.Namespace) -> Rows:
    """Parts of a step, memory and rate: every architecture, frozen and learning, eager and compiled."""
    device = device_of(options)
    plan = [(name, False) for name in (("cellvit-tiny",) if device.type == "cpu" else ALL)]
    if device.type == "cuda":
        plan += [("cellvit-256", True), ("cellvit-sam-b", True)]
    rows: Rows = []
    for name, compiled in plan:
        if time.monotonic() > options.ends - 100:
            rows.append({"architecture": name, "compiled": compiled, "note": "left out: no time"})
            continue
        rows.append(_first_that_fits(options, name, compiled))
    return rows


def _first_that_fits(options: argparse.Namespace, name: str, compiled: bool) -> dict[str, Any]:
    for size in BATCHES.get(name, (32, 16, 8)):
        try:
            with prepared(options, architecture=name, batch_size=size, compile=compiled) as run:
                return {"architecture": name, "compiled": compiled, "batch": size, **_step_row(run, size)}
        except RuntimeError as error:
            if not is_out_of_memory(error):
                return {"architecture": name, "compiled": compiled, "batch": size, "note": f"{error}"[:300]}
        if device_of(options).type == "cuda":
            torch.cuda.empty_cache()
    return {"architecture": name, "compiled": compiled, "note": "no batch fits"}


def _step_row(run: TrainingRun, size: int) -> dict[str, Any]:
    """Milliseconds a patch of each part, patches a second of all, GiB."""
    device, rounds = run.group.device, 5 if run.group.device.type == "cuda" else 1
    warm = 3 if device.type == "cuda" else 1
    batch = next(iter(on_device(first_patches(run, size).loader, device)))
    run.network.train()
    images, instances = run.augment(batch["image"], batch["instances"], seed=0)

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device.type, run.precision, enabled=run.precision != torch.float32):
            run.network(images)

    actions: dict[str, Callable[[], Any]] = {
        "loader": lambda: list(first_patches(run, 2 * size).loader),
        "augmentation": lambda: run.augment(batch["image"], batch["instances"], seed=1),
        "targets": lambda: batch_targets(batch, instances),
        "forward": forward,
    }
    row: dict[str, Any] = {}
    for part, action in actions.items():
        each = 2 * size if part == "loader" else size
        row[f"{part} ms"] = 1e3 * seconds(action, device, rounds, warm) / each
    for state, frozen in (("learning", False), ("frozen", True)):
        for parameter in run.network.encoder_parameters():
            parameter.requires_grad_(not frozen)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        row[f"step {state} ms"] = (
            1e3 * seconds(lambda: take_step(run, run.network, [batch]), device, rounds, warm) / size
        )
        row[f"GiB {state}"] = gib(device)
    row["patches/s in an epoch"] = _epoch_rate(run, size)
    return row


def _epoch_rate(run: TrainingRun, size: int) -> float:
    """Patches a second of the loop itself, loader and copies included."""
    run.state, run.pending = TrainingState(), None
    run.sampler.steps = 2 if run.group.device.type == "cpu" else 10
    set_trainable(run.network, run.settings, 0)
    begin = time.perf_counter()
    loop.train_epoch(run)
    wait(run.group.device)
    return run.sampler.steps * size / (time.perf_counter() - begin)


def resumed(options: argparse.Namespace) -> Rows:
    """`train` of the tiny network: unbroken, and stopped by SIGUSR1 and continued; fp16 with its loss scaler."""
    rows = []
    for precision in ("fp32", "fp16") if device_of(options).type == "cuda" else ("fp32",):
        settings = TrainSettings(
            architecture="cellvit-tiny", epochs=2, batch_size=8, samples_per_epoch=16, validation_patches=0,
            workers=2, precision=precision, device=device_of(options).type, tensorboard=False, deterministic=True,
        )  # fmt: skip
        folders = [options.folder / f"{name}-{precision}" for name in ("unbroken", "stopped")]
        loop.train([source_of(options)], [], folders[0], settings, taxonomy="pannuke")
        real, taken = loop.take_step, itertools.count(1)

        def stop(*arguments: Any, real: Callable[..., None] = real, taken: Any = taken) -> None:
            if next(taken) == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
            real(*arguments)

        loop.take_step = stop
        try:
            loop.train([source_of(options)], [], folders[1], settings, taxonomy="pannuke")
        except TrainingStopped as stopped:
            words = str(stopped)
        finally:
            loop.take_step = real
        loop.train([source_of(options)], [], folders[1], settings, taxonomy="pannuke")
        states = [torch.load(folder / "last.pt", map_location="cpu")["objects"]["model"] for folder in folders]
        difference = max(apart(value, states[1][name]) for name, value in states[0].items())
        row = {"precision": precision, "stopped": words.split(";")[0]}
        rows.append(row | {"largest difference of weights": difference})
    set_arithmetic(deterministic=False)
    return rows


def profile(options: argparse.Namespace) -> Rows:
    """The twenty kernels that take longest in five steps, and the fraction of the time the device is busy."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    device = device_of(options)
    cuda = device.type == "cuda"
    name, size, steps = ("cellvit-256", 64, 5) if cuda else ("cellvit-tiny", 2, 1)
    with prepared(options, architecture=name, batch_size=size) as run:
        batch = next(iter(on_device(first_patches(run, size).loader, device)))
        run.network.train()
        take_step(run, run.network, [batch])
        wait(device)
        with record(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
            begin = time.perf_counter()
            for _ in range(steps):
                take_step(run, run.network, [batch])
            wait(device)
            wall = time.perf_counter() - begin
    events = seen.key_averages()
    taken = {e.key: (e.self_device_time_total if cuda else e.self_cpu_time_total) / 1e6 for e in events}
    rows: Rows = [
        {
            "kernel": "all",
            "ms a step": 1e3 * sum(taken.values()) / steps,
            "fraction of time": sum(taken.values()) / wall,
        }
    ]
    for key, total in sorted(taken.items(), key=lambda item: -item[1])[:20]:
        rows.append({"kernel": key[:90], "ms a step": 1e3 * total / steps, "fraction of time": total / wall})
    return rows
