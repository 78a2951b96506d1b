"""The parts of `benchmarks/gpu.py`; each takes its options and gives rows of a table."""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import training as synthetic
from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.cellvit import targets as target_maps
from stnuclei.cellvit.checkpoint import save_checkpoint
from stnuclei.cellvit.device import choose_device, is_out_of_memory, set_arithmetic
from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.cellvit.model import CellViT, build_model
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings
from stnuclei.config.training import TrainSettings
from stnuclei.evaluation.segmentation import panoptic_quality
from stnuclei.loading.batches import batch_targets, on_device
from stnuclei.loading.sources import Source
from stnuclei.prediction.inference import Inference
from stnuclei.prediction.patches import predict_patches
from stnuclei.prediction.predictor import Predictor
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import loop
from stnuclei.training.distributed import process_group
from stnuclei.training.failures import StopRequest, TrainingStopped
from stnuclei.training.resume import TrainingState
from stnuclei.training.run import TrainingRun, prepare, set_trainable
from stnuclei.training.step import take_step

Rows = list[dict[str, Any]]
ALL = ("cellvit-256", "cellvit-sam-b", "cellvit-sam-l", "cellvit-sam-h")
#: Patches at a time: the first that fits is measured.
BATCHES = {"cellvit-tiny": (4,), "cellvit-256": (128, 64, 32), "cellvit-sam-b": (64, 32, 16)}


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


def correctness(options: argparse.Namespace) -> Rows:
    """The device against the CPU in fp32: networks, losses, gradients, targets, transforms, nuclei."""
    device = device_of(options)
    set_arithmetic(deterministic=False)
    small = device.type == "cpu"
    rows = _maps_rows(device)
    rows += [_transform_row(name, device) for name in PROBABILITIES]
    for name in ("cellvit-tiny",) if small else ("cellvit-tiny", "cellvit-256", "cellvit-sam-b"):
        rows += _network_rows(name, device, 2, 64 if small else 256)
    return rows


def _maps_rows(device: torch.device) -> Rows:
    """Targets: the scatter operations of devices against the compiled pass, which must agree to the bit."""
    _, instances, classes = pictures(4)
    here = target_maps.make_targets(instances, classes)
    there = target_maps.make_targets(instances.to(device), classes.to(device))
    scattered = target_maps._hv_scatter(instances.to(device), 9).cpu()
    rows = [{"compared": f"targets {name}", "largest difference": _apart(here[name], there[name])} for name in here]
    return [*rows, {"compared": "hv by scatter", "largest difference": _apart(here["hv"], scattered)}]


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.detach().cpu().double() - b.detach().cpu().double()).abs().max())


def _transform_row(name: str, device: torch.device) -> dict[str, Any]:
    """One transform with its noise off: the same parameters on both devices."""
    off = {"noise_variance": 0.0, "elastic_alpha": 0.0, "superpixel_fraction": 0.0}
    settings = AugmentSettings(**{other: float(other == name) for other in PROBABILITIES}, **off)
    pixels, instances, _ = pictures(4, 96)
    here = Augmenter(1, settings)(pixels, instances, seed=2)
    there = Augmenter(1, settings)(pixels.to(device), instances.to(device), seed=2)
    share = float((here[1] != there[1].cpu()).float().mean())
    return {"compared": f"transform {name}", "largest difference": _apart(here[0], there[0]), "ids apart": share}


def _network_rows(name: str, device: torch.device, n: int, px: int) -> Rows:
    """Outputs, loss terms and gradients in fp32; outputs and nuclei in bf16 and fp16."""
    torch.manual_seed(0)
    network = build_model(name, 6, 2).eval()
    pixels, instances, classes = pictures(n, px)
    images = pixels.float() / 127.5 - 1
    batch = {"classes": classes, "tissue": torch.zeros(n, dtype=torch.int64)}
    here = _backward(network, images, batch_targets(batch, instances))
    network = network.to(device)
    sent = {key: value.to(device) for key, value in batch.items()}
    there = _backward(network, images.to(device), batch_targets(sent, instances.to(device)))
    rows = [
        {
            "compared": f"{name} {part}",
            "largest difference": max(_apart(here[part][k], there[part][k]) for k in here[part]),
        }
        for part in ("outputs", "losses", "gradients")
    ]
    rows[-1]["of"] = max(float(value.abs().max()) for value in here["gradients"].values())
    for dtype in (torch.bfloat16, torch.float16):
        with torch.no_grad(), torch.autocast(device.type, dtype):
            half = {key: value.float() for key, value in network(images.to(device)).items()}
        rows.append(
            {
                "compared": f"{name} outputs {str(dtype).removeprefix('torch.')}",
                "largest difference": max(_apart(here["outputs"][key], half[key]) for key in half),
                "PQ of nuclei": _agreement(here["outputs"], half),
            }
        )
    return rows


def _backward(
    network: CellViT, images: torch.Tensor, wanted: dict[str, torch.Tensor]
) -> dict[str, dict[str, torch.Tensor]]:
    network.zero_grad()
    outputs = network(images)
    losses = cellvit_losses(outputs, wanted)
    total_loss(losses).backward()
    gradients = {name: p.grad.detach().cpu() for name, p in network.named_parameters() if p.grad is not None}
    return {"outputs": outputs, "losses": losses, "gradients": gradients}


def _agreement(full: dict[str, torch.Tensor], half: dict[str, torch.Tensor]) -> float:
    """Panoptic quality of the nuclei from one precision against those from the other."""
    maps = [
        [
            separate_nuclei(f, h)
            for f, h in zip(
                o["nuclei_binary_map"].argmax(1).bool().cpu().numpy(), o["hv_map"].detach().cpu().numpy(), strict=True
            )
        ]
        for o in (full, half)
    ]
    return float(np.mean([panoptic_quality(a, b)[2] if a.any() else 1.0 for a, b in zip(*maps, strict=True)]))


@contextmanager
def prepared(options: argparse.Namespace, **changes: Any) -> Iterator[TrainingRun]:
    """A run of training on the synthetic patches; the process group is this process's."""
    count = itertools.count()
    settings = TrainSettings(tensorboard=False, validation_patches=0, workers=8, **changes)
    with process_group(str(device_of(options))) as group:
        folder = next(path for k in count if not (path := options.folder / f"run{k}").exists())
        run, _ = prepare([source_of(options)], [], folder, settings, Taxonomy.load("pannuke"), group, StopRequest())
        yield run


def waits(options: argparse.Namespace) -> Rows:
    """Lines at which the host waits for the device in one step of training; none is the aim."""
    device = device_of(options)
    if device.type == "cpu":
        return [{"line": "nothing to wait for on a CPU", "waits": 0}]
    with prepared(options, architecture="cellvit-256", batch_size=16) as run:
        batch = next(iter(on_device(_order(run, 16).loader, device)))
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


def _order(run: TrainingRun, n: int) -> TrainingRun:
    run.loader.sampler = np.resize(run.sampler.epoch(0).ravel(), n)
    return run


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
    batch = next(iter(on_device(_order(run, size).loader, device)))
    run.network.train()
    images, instances = run.augment(batch["image"], batch["instances"], seed=0)

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device.type, run.precision, enabled=run.precision != torch.float32):
            run.network(images)

    actions: dict[str, Callable[[], Any]] = {
        "loader": lambda: list(_order(run, 2 * size).loader),
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


def prediction(options: argparse.Namespace) -> Rows:
    """Patches a second of `predict_patches`, tiles a second of the slide engine's network, by precision."""
    device, rows = device_of(options), []
    cpu = device.type == "cpu"
    for name in ("cellvit-tiny",) if cpu else ALL:
        checkpoint = options.folder / f"{name}.pt"
        model = build_model(name, 6, 1)
        save_checkpoint(checkpoint, model, taxonomy="pannuke", tissues=["Breast"])
        for precision in ("fp32",) if cpu else ("fp16", "bf16"):
            row: dict[str, Any] = {"architecture": name, "precision": precision}
            rows.append(row | _tile_rate(checkpoint, str(device), precision))
        if name in ("cellvit-tiny", "cellvit-256"):
            counts = predict_patches(
                checkpoint, source_of(options).patches, options.folder / f"{name}.zarr", threads=16, device=str(device)
            )
            rows[-1]["predict_patches patches/s"] = counts["patches_per_second"]
    return rows


def _tile_rate(checkpoint: Path, device: str, precision: str) -> dict[str, Any]:
    """Tiles of 1,024 px (192 on a CPU) from as many threads as the engine uses."""
    from stnuclei.patches.prefetch import prefetch_map

    predictor = Predictor(checkpoint, device, precision)
    inference, cpu = Inference([predictor]), predictor.device.type == "cpu"
    tiles = np.random.default_rng(0).integers(0, 255, (1, 192, 192, 3) if cpu else (8, 1024, 1024, 3), dtype=np.uint8)
    inference(tiles, 64)
    batches = 1 if cpu else 12
    begin = time.perf_counter()
    done = sum(len(maps) for maps in prefetch_map(lambda t: inference(t, 64), [tiles] * batches, inference.workers))
    return {"tile px": tiles.shape[1], "tiles/s": done / (time.perf_counter() - begin), "GiB": gib(predictor.device)}


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
        apart = max(_apart(value, states[1][name]) for name, value in states[0].items())
        rows.append({"precision": precision, "stopped": words.split(";")[0], "largest difference of weights": apart})
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
        batch = next(iter(on_device(_order(run, size).loader, device)))
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
