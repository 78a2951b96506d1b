"""Networks for computers without a GPU: patches a second beside CellViT-256, and what each learns in the same steps.

    python benchmarks/small_networks.py --write                  # speed alone
    python benchmarks/small_networks.py --write --shared ../shared

Speed: forward passes of 256 px on one thread, all networks in turn, the fastest of some rounds by the processor's
clock, so that other work on the machine hits all alike. Learning: `pannuke_like` of ../shared (nine CoNSeP tiles with
manual classes), the same number of steps on the same random crops from a random start, scored after the last epoch,
which nobody chose, on six other tiles. The teacher is a cellvit-light trained for three times as many steps; its
student learns from labels and from its maps for as many steps as the others.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from composite_data import held_out, pannuke_like  # noqa: E402
from ratio import Ratio, race  # noqa: E402
from stnuclei.cellvit import build_model  # noqa: E402
from stnuclei.config import TrainSettings  # noqa: E402
from stnuclei.training import train  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "small_networks.md"
NETWORKS = ("cellvit-256", "cellvit-tiny", "cellvit-light")
#: Name -> architecture, epochs as a multiple of the budget, teacher.
RUNS = {
    "cellvit-tiny": ("cellvit-tiny", 1, None),
    "cellvit-light": ("cellvit-light", 1, None),
    "teacher": ("cellvit-light", 3, None),
    "cellvit-light, taught": ("cellvit-light", 1, "teacher"),
}
SCORES = ("detection_f1", "bpq", "dice", "macro_f1")


def speed(rounds: int, batch: int = 2) -> list[str]:
    """Table of parameters, multiplications and patches a CPU second."""
    torch.set_num_threads(1)
    x = torch.randn(batch, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    models = {name: build_model(name, 6, 19).eval() for name in NETWORKS}
    seconds, gmac = dict.fromkeys(NETWORKS, float("inf")), {}
    with torch.inference_mode():
        for name, model in models.items():
            with FlopCounterMode(display=False) as counter:
                model(x)
            gmac[name] = counter.get_total_flops() / 2e9 / batch
        for _ in range(rounds):
            for name, model in models.items():
                start = time.process_time()
                model(x)
                seconds[name] = min(seconds[name], (time.process_time() - start) / batch)
    lines = [
        "| network | parameters, M | GMAC a patch | patches a CPU second | times CellViT-256 |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, model in models.items():
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        times = seconds["cellvit-256"] / seconds[name]
        lines.append(f"| {name} | {millions:.2f} | {gmac[name]:.1f} | {1 / seconds[name]:.2f} | {times:.1f} |")
    return lines


def learn(shared: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    """Table of scores on unseen tiles after the same number of steps, and the CPU seconds they took."""
    sources, unseen = pannuke_like(shared, folder).sources, list(held_out(shared, folder).values())
    head = [name.replace("_", " ") for name in SCORES]
    lines = [f"| network | crops | CPU seconds | {' | '.join(head)} |", "|---|--:|--:|" + "--:|" * len(SCORES)]
    for name, (architecture, times, teacher) in RUNS.items():
        settings = TrainSettings(
            architecture=architecture,
            teacher=None if teacher is None else str(folder / teacher / "checkpoint.pt"),
            epochs=options.epochs * times,
            samples_per_epoch=options.samples_per_epoch,
            batch_size=8,
            crop_px=options.crop_px,
            learning_rate=3e-3,
            schedule="cosine",
            warmup_steps=20,
            augmentation="flips",
            sampling="random",
            validation_patches=1,
            threads=1,
            workers=1,
            seed=options.seed,
            tensorboard=False,
        )
        spent = folder / name / "cpu_seconds.txt"
        if not spent.exists():
            if name not in options.runs:
                continue
            start = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                train(sources, unseen, folder / name, settings, taxonomy="pannuke", provenance={"benchmark": name})
            spent.write_text(f"{time.process_time() - start:.0f}")
        row = pd.read_csv(folder / name / "history.csv").iloc[-1]
        crops = options.epochs * times * options.samples_per_epoch
        scores = " | ".join(f"{row['val_' + key]:.3f}" for key in SCORES)
        lines.append(f"| {name} | {crops:,} | {spent.read_text()} | {scores} |")
        print(lines[-1], flush=True)
    return lines


def small() -> list[Ratio]:
    """CPU time of a forward pass of the small networks against CellViT-256's."""
    x = torch.randn(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    models = [build_model(name, 6, 19).eval() for name in NETWORKS]
    with torch.inference_mode():
        seconds = race(*(lambda model=model: model(x) for model in models), rounds=3)
    times = dict(zip(NETWORKS, seconds, strict=True))
    peer = times.pop("cellvit-256")
    return [Ratio(f"forward of {name}, cellvit-256", peer / spent) for name, spent in times.items()]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the real data; without it speed alone is measured")
    parser.add_argument("--folder", type=Path, help="keep the runs here, and take those that are there as they are")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS), help="train these alone")
    parser.add_argument("--rounds", type=int, default=5, help="of speed; 0: speed is not measured")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples-per-epoch", type=int, default=400)
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    lines = [f"One thread, torch {torch.__version__}; load of the machine {load:.1f} on {os.cpu_count()} cores.", ""]
    lines += speed(options.rounds) if options.rounds else []
    print("\n".join(lines), flush=True)
    if options.shared is None:
        lines += ["", "What the networks learn in the same steps was not measured in this run (`--shared`)."]
    else:
        with contextlib.ExitStack() as stack:
            folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            lines += ["", f"Crops of {options.crop_px} px, seed {options.seed}, one seed alone:", ""]
            lines += learn(options.shared, folder, options)
    if options.write:
        command = "python benchmarks/small_networks.py --write" + " --shared ../shared" * bool(options.shared)
        RESULT.write_text(f"# Networks for computers without a GPU\n\n`{command}`\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
