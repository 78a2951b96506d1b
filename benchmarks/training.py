"""Patches a second of each part of training, and of all together; on a GPU also the share of time it is busy.

    python benchmarks/training.py                                        # cellvit-tiny on the CPU
    python benchmarks/training.py --architectures cellvit-256 cellvit-sam-h --batch 256 64 --compile --write
                                                                         # where there is a GPU
    torchrun --nproc-per-node 4 benchmarks/training.py --architectures cellvit-256   # several: all together

Patches are discs on noise, 256 px with 40 nuclei; a figure is the median of repeated rounds after a warm-up. That
of a part says how fast training were if nothing else took time; `training` is the loop itself, without validation.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

from ratio import COST, Ratio, race  # noqa: E402
from stnuclei.cellvit.targets import make_targets  # noqa: E402
from stnuclei.config.training import TrainSettings  # noqa: E402
from stnuclei.loading import PatchLoader, ReadSettings, Source  # noqa: E402
from stnuclei.loading.batches import on_device  # noqa: E402
from stnuclei.patches import PatchBlock, write_patches  # noqa: E402
from stnuclei.taxonomy import Taxonomy  # noqa: E402
from stnuclei.training import failures, loop  # noqa: E402
from stnuclei.training.distributed import process_group  # noqa: E402
from stnuclei.training.resume import TrainingState  # noqa: E402
from stnuclei.training.run import TrainingRun, prepare  # noqa: E402
from stnuclei.training.step import take_step  # noqa: E402

PX, NUCLEI = 256, 40


def write_store(folder: Path, n: int, seed: int = 0) -> Source:
    """A store of n patches and labels, as `cut_patches` writes them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-9:10, -9:10]
    blocks = []
    for start in range(0, n, 256):
        m = min(256, n - start)
        instances = np.zeros((m, PX, PX), np.uint16)
        for picture in instances:
            for k, (cy, cx) in enumerate(random.integers(10, PX - 10, (NUCLEI, 2)), start=1):
                a, b = random.uniform(4, 9, 2)
                picture[cy - 9 : cy + 10, cx - 9 : cx + 10][(x / a) ** 2 + (y / b) ** 2 < 1] = k
        image = random.integers(150, 250, (m, PX, PX, 3), dtype=np.uint8)
        image[instances > 0] //= 2
        rows = np.arange(m * NUCLEI, dtype=np.int32) + start * NUCLEI
        blocks.append(
            PatchBlock(
                image,
                instances,
                np.zeros((m, 2), np.int32),
                np.zeros(m, np.uint8),
                np.full(m, NUCLEI, np.int64),
                rows,
                rows,
                np.zeros((len(rows), 2), np.float32),
            )
        )
    attrs = {"sample": "noise", "tissues": ["Breast"], "um_per_px": 0.25, "settings": {}}
    write_patches(folder / "patches.zarr", blocks, attrs, size=PX)
    names = np.array([*Taxonomy.load("pannuke").labels])
    pd.DataFrame({"cell_id": np.arange(n * NUCLEI).astype(str), "label": random.choice(names, n * NUCLEI)}).assign(
        confidence=np.float32(1), cluster=np.int32(0)
    ).to_parquet(folder / "labels.parquet")
    return Source(folder / "patches.zarr", folder / "labels.parquet")


def rate(action: Callable[[], int], device: torch.device, seconds: float) -> float:
    """Patches a second: median over rounds, the first of which does not count."""
    rounds = []
    started = time.perf_counter()
    while len(rounds) < 4 or (time.perf_counter() - started < seconds and len(rounds) < 50):
        begin = time.perf_counter()
        patches = action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rounds.append(patches / (time.perf_counter() - begin))
    return float(np.median(rounds[1:]))


def measure(run: TrainingRun, seconds: float) -> dict[str, float]:
    """Rates of all parts for one prepared run."""
    settings, device = run.settings, run.group.device
    size = settings.micro_batch(run.group.size)
    order = np.resize(run.sampler.epoch(0).ravel(), size * 8)

    def loader() -> PatchLoader:
        return PatchLoader(
            run.data.sources,
            run.taxonomy,
            batch_size=size,
            sampler=order,
            tissues=run.data.tissues,
            reading=ReadSettings(threads=settings.readers),
        )

    batch = next(iter(on_device(loader(), device)))
    images, instances = run.augment(batch["image"], batch["instances"], seed=0)
    targets = make_targets(instances, batch["classes"])
    network = run.group.wrap(run.network)
    batches = [batch] * settings.accumulation

    def forward() -> int:
        with torch.no_grad(), torch.autocast(device.type, run.precision, enabled=run.precision != torch.float32):
            network(images)
        return size

    def step() -> int:
        take_step(run, network, batches)
        run.state.step = 0
        return settings.batch_size

    def training() -> int:
        run.state = TrainingState()
        loop.train_epoch(run)
        return run.sampler.steps * settings.batch_size

    parts: dict[str, Callable[[], int]] = {
        "loader": lambda: sum(len(b["image"]) for b in loader()),
        "loader to device": lambda: sum(len(b["image"]) for b in on_device(loader(), device)),
        "augmentation": lambda: len(run.augment(batch["image"], batch["instances"], seed=1)[0]),
        "targets": lambda: len(make_targets(instances, batch["classes"])["hv"]),
        "forward": forward,
        "step (all of the above and backward)": step,
        "training": training,
    }
    del targets
    return {name: rate(action, device, seconds) for name, action in parts.items()}


def busy(device: torch.device, run: TrainingRun) -> str:
    """Share of the time of an epoch in which the GPU computes; empty on a CPU."""
    if device.type != "cuda":
        return ""
    from torch.profiler import ProfilerActivity, profile

    run.state = TrainingState()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        begin = time.perf_counter()
        loop.train_epoch(run)
        torch.cuda.synchronize(device)
        wall = time.perf_counter() - begin
    kernels = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    return f"{100 * min(kernels / wall, 1):.0f} %"


def small() -> list[Ratio]:
    """CPU time of a training step of the small networks, batch 8, against their forward pass without gradients."""
    from cellvit import _step
    from stnuclei.cellvit import build_model

    torch.set_num_threads(1)
    x, ratios = torch.randn(8, 3, 256, 256).contiguous(memory_format=torch.channels_last), []
    for name in ("cellvit-light", "cellvit-tiny"):
        model = build_model(name, 6, 3)
        step = _step(model, "cpu", 8, torch.float32)
        times = race(step, torch.no_grad()(lambda model=model: model(x)), rounds=3)
        ratios.append(Ratio(f"training step of {name}, forward pass", times[0] / times[1], COST))
    return ratios


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["cellvit-tiny"])
    parser.add_argument("--batch", nargs="+", type=int, default=[16], help="patches at a time, one each")
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each part")
    parser.add_argument("--steps", type=int, default=8, help="of an epoch")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    columns: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder, process_group(options.device) as group:
        source = write_store(Path(folder), options.patches)
        for architecture, size in zip(options.architectures, options.batch * len(options.architectures)):  # noqa: B905
            settings = TrainSettings(
                architecture=architecture,
                batch_size=size * group.size,
                samples_per_epoch=size * group.size * options.steps,
                precision=options.precision,
                compile=options.compile,
                workers=options.workers,
                threads=options.threads,
                tensorboard=False,
            )
            out = Path(folder) / f"run{len(columns)}"
            stop = failures.StopRequest()
            run, _ = prepare([source], [], out, settings, Taxonomy.load("pannuke"), group, stop)
            column = f"{architecture}, batch {size}, {str(run.precision).removeprefix('torch.')}"
            columns[column] = measure(replace(run), options.seconds)
            share = busy(group.device, run)
            columns[column] |= {"GPU busy in training": share} if share else {}
        if group.is_main:
            report(columns, group, options)


def report(columns: dict[str, dict[str, float | str]], group: object, options: argparse.Namespace) -> None:
    """Print the table; write it to benchmarks/results."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU"
    where = f"{group.size} process(es), {device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines = [f"| patches a second | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for part in next(iter(columns.values())):
        cells = [values.get(part, "") for values in columns.values()]
        words = [f"{v:,.1f}" if isinstance(v, float) else v for v in cells]
        lines.append(f"| {part} | {' | '.join(words)} |")
    lines += (
        [] if torch.cuda.is_available() else ["", "There was no GPU here; the same command measures one where it is."]
    )
    table = "\n".join([where, "", *lines])
    print(table)
    if options.write:
        command = "python benchmarks/training.py " + " ".join(a for a in sys.argv[1:] if a != "--write")
        text = f"# Training: patches a second\n\n`{command.strip()}`: {table}\n"
        name = "training_gpu.md" if torch.cuda.is_available() else "training.md"
        (ROOT / "benchmarks" / "results" / name).write_text(text)


if __name__ == "__main__":
    main()
