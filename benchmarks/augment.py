"""Patches a second through the augmentation, one CPU thread or the GPU, and milliseconds a patch of every transform.

python benchmarks/augment.py --write
python benchmarks/augment.py --device cuda --batch 256
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from ratio import COST, Ratio, race  # noqa: E402
from stnuclei.augmentation.augmenter import Augmenter  # noqa: E402
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings  # noqa: E402

torch.set_num_threads(1)


def seconds(settings: AugmentSettings | str, batch: int, device: str, rounds: int) -> float:
    """Seconds a patch: the fastest fifth of rounds, when other work left the core alone."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, 256, 256), dtype=torch.uint8, generator=generator).to(device)
    instances = torch.randint(0, 50, (batch, 256, 256), generator=generator).to(device)
    augment, times = Augmenter(0, settings), []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        augment(images, instances)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.quantile(times[2:], 0.2)) / batch


def small() -> list[Ratio]:
    """CPU time of the official list of transforms, against flips alone."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 256, 256), dtype=torch.uint8, generator=generator)
    instances = torch.randint(0, 50, (8, 256, 256), generator=generator)
    official, flips = (Augmenter(0, name) for name in ("official", "flips"))
    slow, fast = race(lambda: official(images, instances), lambda: flips(images, instances), rounds=6)
    return [Ratio("official list, flips alone", slow / fast, COST)]


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cpu")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--write", action="store_true")
    options = options.parse_args()
    measure = (options.batch, options.device, options.rounds)
    lines = ["| list | patches a second |", "|---|--:|"]
    lines += [f"| {name} | {1 / seconds(name, *measure):,.0f} |" for name in ("none", "flips", "official")]
    lines += ["", "| transform | ms a patch it is applied to |", "|---|--:|"]
    base = seconds("none", *measure)
    for name in PROBABILITIES:
        alone = AugmentSettings(**{other: float(other == name) for other in PROBABILITIES})
        lines.append(f"| {name} | {(seconds(alone, *measure) - base) * 1e3:.2f} |")
    print("\n".join(lines))
    if options.write:
        head = f"# Augmentation of 256-px patches, batch {options.batch}, on {options.device}"
        path = ROOT / "benchmarks" / "results" / f"augment_{options.device}.md"
        path.write_text(f"{head}\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
