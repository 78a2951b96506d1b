"""Targets, post-processing and metrics against plain transcriptions of the published steps, one thread.

    python benchmarks/targets_postprocess.py --write

Inputs are the golden patches of ../shared (256 px, 65 to 118 nuclei) and ones of 40 nuclei made from real CoNSeP-like
sizes; plain and ours take turns and the tenth percentile of rounds counts, so that a busy machine hits both alike.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests" / "cellvit")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from plain_postprocess import nuclei_plain, separate_nuclei_plain  # noqa: E402
from scipy import ndimage  # noqa: E402

from ratio import Ratio  # noqa: E402
from ratio import race as cpu_race  # noqa: E402
from stnuclei.cellvit.nuclei import nuclei_table  # noqa: E402
from stnuclei.cellvit.outlines import contours  # noqa: E402
from stnuclei.cellvit.postprocess import separate_nuclei  # noqa: E402
from stnuclei.cellvit.targets import hv_maps  # noqa: E402
from stnuclei.evaluation.segmentation import panoptic_quality  # noqa: E402

cv2.setNumThreads(1)
torch.set_num_threads(1)


def hv_plain(instances: np.ndarray) -> np.ndarray:
    """One nucleus after another, each over the whole patch's box, as published."""
    maps = np.zeros((2, *instances.shape), np.float32)
    for k in np.unique(instances)[1:]:
        mask = (instances == k).astype(np.uint8)
        rows, columns = np.where(mask.any(1))[0][[0, -1]], np.where(mask.any(0))[0][[0, -1]]
        box = slice(rows[0], rows[1] + 1), slice(columns[0], columns[1] + 1)
        crop = mask[box]
        centre = ndimage.center_of_mass(crop)
        y, x = np.meshgrid(*(np.arange(1, n + 1) for n in crop.shape), indexing="ij")
        for channel, (index, mean) in enumerate(((x, centre[1]), (y, centre[0]))):
            value = np.where(crop > 0, index - int(mean + 0.5), 0).astype(np.float32)
            if value.min() < 0:
                value[value < 0] /= -value.min()
            if value.max() > 0:
                value[value > 0] /= value.max()
            maps[channel][box][crop > 0] = value[crop > 0]
    return maps


def panoptic_plain(true: np.ndarray, pred: np.ndarray) -> float:
    """Masks of all nuclei, IoU of each pair that meets."""
    true_masks = [(true == k) for k in np.unique(true)[1:]]
    pred_masks = {k: (pred == k) for k in np.unique(pred)[1:]}
    ious = []
    for mask in true_masks:
        for k in np.unique(pred[mask]):
            if k:
                iou = (mask & pred_masks[k]).sum() / (mask | pred_masks[k]).sum()
                ious += [iou] if iou > 0.5 else []
    dq = len(ious) / (0.5 * (len(true_masks) + len(pred_masks)) + 1e-6)
    return dq * sum(ious) / (len(ious) + 1e-6)


def forty(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A patch of 40 ellipses of real sizes (mean 400 px), predicted distance map, predicted types."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((256, 256), np.int32)
    for k in range(1, 41):
        centre, axes = rng.integers(0, 256, 2).tolist(), rng.integers(7, 15, 2).tolist()
        cv2.ellipse(instances, centre, axes, float(rng.uniform(0, 180)), 0, 360, k, -1)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (256, 256, 2)).astype(np.float32), (5, 5), 0).transpose(2, 0, 1)
    hv = hv_maps(instances[None])[0].numpy() + 0.1 * noise
    return instances, hv, np.where(instances > 0, instances % 5 + 1, 0)


def race(plain: Callable[[], object], fast: Callable[[], object], rounds: int = 60) -> tuple[float, float]:
    """Milliseconds of both, taking turns: the fastest tenth of rounds, when other work left the core alone."""
    times: tuple[list[float], list[float]] = ([], [])
    for function in (plain, fast):
        function()
    for _ in range(rounds):
        for function, kept in zip((plain, fast), times, strict=True):
            start = time.perf_counter()
            function()
            kept.append(time.perf_counter() - start)
    return float(np.quantile(times[0], 0.1) * 1e3), float(np.quantile(times[1], 0.1) * 1e3)


def steps(
    instances: np.ndarray, hv: np.ndarray, types: np.ndarray
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Every step, plain and ours."""
    foreground = instances > 0
    found = separate_nuclei(foreground, hv)
    batch = instances[None]

    def table_and_contours(maps: np.ndarray) -> None:
        list(contours(maps, nuclei_table(maps, types, 6)))

    def all_plain() -> None:
        nuclei_plain(separate_nuclei_plain(foreground, hv), types)

    def all_fast() -> None:
        table_and_contours(separate_nuclei(foreground, hv))

    return {
        "HV maps": (lambda: hv_plain(instances), lambda: hv_maps(batch)),
        "separate nuclei": (lambda: separate_nuclei_plain(foreground, hv), lambda: separate_nuclei(foreground, hv)),
        "table and contours": (lambda: nuclei_plain(found, types), lambda: table_and_contours(found)),
        "post-processing, both": (all_plain, all_fast),
        "panoptic quality": (lambda: panoptic_plain(instances, found), lambda: panoptic_quality(instances, found)),
    }


def measure(name: str, instances: np.ndarray, hv: np.ndarray, types: np.ndarray) -> list[tuple[str, str, float, float]]:
    """Milliseconds of every step, plain and ours."""
    return [(name, step, *race(*functions)) for step, functions in steps(instances, hv, types).items()]


def small() -> list[Ratio]:
    """CPU time of every step on a patch of 40 nuclei, ours against the plain steps."""
    pairs = steps(*forty(0))
    times = {step: cpu_race(*functions, rounds=15) for step, functions in pairs.items()}
    return [Ratio(f"{step}, plain steps", plain / fast) for step, (plain, fast) in times.items()]


def main() -> None:
    """Race, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options.add_argument("--write", action="store_true")
    options = options.parse_args()
    rows = measure("40 nuclei", *forty(0))
    golden = options.shared / "golden" / "official_cellvit.npz"
    if golden.is_file():
        arrays = np.load(golden)
        for seed in (1, 2):
            instances = arrays[f"{seed}/instances"].astype(np.int32)
            case = instances, arrays[f"{seed}/pred_hv"], arrays[f"{seed}/pred_types"]
            rows += measure(f"golden {seed}, {instances.max()} nuclei", *case)
    lines = ["| patch of 256 px | step | plain ms | ours ms | times faster |", "|---|---|--:|--:|--:|"]
    lines += [
        f"| {name} | {step} | {plain:.2f} | {fast:.3f} | {plain / fast:.1f} |" for name, step, plain, fast in rows
    ]
    print("\n".join(lines))
    if options.write:
        load = f"{os.getloadavg()[0]:.0f} processes were running on {os.cpu_count()} cores when it ended."
        lines = ["# Targets, post-processing, metrics: plain steps against ours, one thread", "", load, "", *lines]
        text = "\n".join(lines) + "\n"
        (ROOT / "benchmarks" / "results" / "targets_postprocess.md").write_text(text)


if __name__ == "__main__":
    main()
