"""Seconds and memory of scoring a patch store; what the paper's Seg.-Eval (73,091 patches, 3.7 M nuclei) would take.

    python benchmarks/scoring.py --write              # 4,000 generated patches of about 51 nuclei, extrapolated
    python benchmarks/scoring.py --patches 73091      # all of it

Truth and predictions lie on disk as patches.zarr, as in a run; the predictions are the truth moved by a pixel, with a
tenth of the nuclei left out and others invented. Memory is what scoring adds to a process that has scored 32 patches.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import numpy as np  # noqa: E402

from ratio import Ratio, race  # noqa: E402
from stnuclei.evaluation import score_classification, score_segmentation, table2, table3  # noqa: E402
from stnuclei.patches import PatchBlock, PatchStore, write_patches  # noqa: E402

PAPER_PATCHES, PAPER_NUCLEI, SIZE = 73_091, 3_704_652, 256


def draw(rng: np.random.Generator) -> np.ndarray:
    """A label map with the paper's mean of 50.7 nuclei: discs, later ones on top."""
    instances = np.zeros((SIZE, SIZE), np.uint16)
    y, x = np.mgrid[-14:15, -14:15]
    for k in range(1, max(1, rng.poisson(1.04 * PAPER_NUCLEI / PAPER_PATCHES)) + 1):
        disc = (x / rng.uniform(6, 13)) ** 2 + (y / rng.uniform(6, 13)) ** 2 < 1
        cx, cy = rng.integers(0, SIZE, 2)
        rows, columns = np.clip(y + cy, 0, SIZE - 1), np.clip(x + cx, 0, SIZE - 1)
        instances[rows[disc], columns[disc]] = k
    return renumber(instances)


def renumber(instances: np.ndarray) -> np.ndarray:
    """Ids 1..n."""
    ids, dense = np.unique(instances, return_inverse=True)
    return (dense.reshape(instances.shape) + int(ids[0] != 0)).astype(np.uint16)


def disturb(instances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move by a pixel, drop a tenth, add a few."""
    moved = np.roll(instances, (1, 1), (0, 1))
    moved[np.isin(moved, np.flatnonzero(rng.random(int(moved.max()) + 1) < 0.1))] = 0
    for k in range(4):
        cx, cy = rng.integers(0, SIZE - 12, 2)
        free = moved[cy : cy + 12, cx : cx + 12]
        free[free == 0] = 60_000 + k
    return renumber(moved)


def write(path: Path, distinct: list[np.ndarray], n: int) -> None:
    """A patch store of `n` patches that repeats the distinct maps; the pixels of the picture are left black."""

    def blocks() -> Iterator[PatchBlock]:
        for start in range(0, n, 256):
            maps = np.stack([distinct[i % len(distinct)] for i in range(start, min(start + 256, n))])
            counts = maps.reshape(len(maps), -1).max(1).astype(np.int64)
            total = int(counts.sum())
            yield PatchBlock(
                image=np.zeros((*maps.shape, 3), np.uint8),
                instances=maps,
                origin=np.zeros((len(maps), 2), np.int32),
                tissue=np.zeros(len(maps), np.uint8),
                count=counts,
                cell_index=np.arange(total, dtype=np.int32) % 1000,
                nucleus_index=np.arange(total, dtype=np.int32),
                centroid=np.zeros((total, 2), np.float32),
            )

    attrs = {"sample": "generated", "tissues": ["Bone"], "um_per_px": 0.25, "settings": {}}
    write_patches(path, blocks(), attrs, size=SIZE, compress_image=True)


class Predicted:
    """A patch store read as predictions: every nucleus has a class and a probability."""

    def __init__(self, path: Path, n: int | None = None) -> None:
        self.store = PatchStore(path)
        self.instances, self.n = self.store.instances, n or len(self.store)
        self.classes = (np.arange(self.store.offset[-1]) % 5 + 1).astype(np.int8)

    def __len__(self) -> int:
        return self.n

    def nuclei(self, i: int) -> np.ndarray:
        """Class and probability of the nuclei of patch i."""
        own = self.classes[self.store.offset[i] : self.store.offset[i + 1]]
        rows = np.zeros(len(own), [("class", "i1"), ("class_probability", "f4")])
        rows["class"] = own
        return rows


class Part(PatchStore):
    """The first `n` patches of a store."""

    def __init__(self, path: Path, n: int) -> None:
        super().__init__(path)
        self.offset = self.offset[: n + 1]
        self.tissue = self.tissue[:n]
        self.cell_index = self.cell_index[: self.offset[-1]]


def peak_mb() -> float:
    """Largest memory of this process so far."""
    # getrusage would also count what the process was before it started this program
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def prepare(folder: Path, n: int) -> None:
    """Write truth and predictions."""
    rng = np.random.default_rng(0)
    distinct = [draw(rng) for _ in range(min(n, 500))]
    write(folder / "truth.zarr", distinct, n)
    write(folder / "pred.zarr", [disturb(one, rng) for one in distinct], n)


def stores(folder: Path, n: int) -> tuple[Part, Predicted, np.ndarray]:
    """The first `n` patches, their predictions, and class ids of the true nuclei."""
    truth = Part(folder / "truth.zarr", n)
    return truth, Predicted(folder / "pred.zarr", n), (np.arange(truth.offset[-1]) % 6 - 1).astype(np.int8)


def score(folder: Path, n: int, threads: int) -> list[dict[str, object]]:
    """Score `n` patches by both policies in this process; seconds, and megabytes over those after 32 patches."""
    truth, pred, labels = stores(folder, 32)
    for policy in ("official", "corrected"):  # compiles and imports
        seg = score_segmentation(truth, pred, policy, labels=labels, threads=threads)
        cls = score_classification(truth, labels, pred, policy=policy, threads=threads)
    base, rows = peak_mb(), []
    truth, pred, labels = stores(folder, n)
    for policy in ("official", "corrected"):
        start, work = time.perf_counter(), time.process_time()
        seg = score_segmentation(truth, pred, policy, labels=labels, threads=threads)
        middle = time.perf_counter()
        cls = score_classification(truth, labels, pred, policy=policy, threads=threads)
        end = time.perf_counter()
        row = {"patches": n, "nuclei": int(truth.offset[-1]), "what": policy, "segmentation s": middle - start}
        row |= {"classification s": end - middle, "CPU s": time.process_time() - work}
        rows.append(row | {"added MB": peak_mb() - base})
    start = time.perf_counter()
    marks = {"model": "m", "sample": "s", "policy": policy}
    table2(seg.assign(**marks))
    table3(cls.assign(**marks))
    rows.append({"patches": n, "nuclei": "", "what": "tables 2 and 3, 1,000 resamples, s"})
    rows[-1]["segmentation s"] = time.perf_counter() - start
    return rows


def measure(folder: Path, n: int, threads: int) -> list[dict[str, object]]:
    """A quarter of the patches, then all, each in a fresh process: memory must not grow with them."""
    prepare(folder, n)
    rows = []
    for part in (n // 4, n):
        command = [sys.executable, __file__, "--score", str(folder), "--patches", str(part), "--threads", str(threads)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows += json.loads(out)
    return rows


def report(rows: list[dict[str, object]], n: int, threads: int) -> str:
    """Markdown."""
    lines = [
        "| patches | nuclei | what | segmentation s | classification s | CPU s of both | memory added MB |",
        "|--:|--:|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        numbers = [row[k] for k in ("segmentation s", "classification s", "CPU s", "added MB") if k in row]
        cells = [f"{v:.1f}" for v in numbers] + [""] * (4 - len(numbers))
        lines.append(f"| {row['patches']:,} | {row['nuclei']} | {row['what']} | " + " | ".join(cells) + " |")
    scored = [row for row in rows if "classification s" in row and row["patches"] == n]
    seconds = sum(float(r["segmentation s"]) + float(r["classification s"]) for r in scored)
    whole = seconds * PAPER_PATCHES / n
    lines.append(
        f"\nAll four scorings (two policies, segmentation and classes) of the paper's {PAPER_PATCHES:,} patches and "
        f"{PAPER_NUCLEI:,} nuclei: {'measured' if n >= PAPER_PATCHES else f'extrapolated from {n:,} patches'}, "
        f"{whole / 60:.1f} minutes with {threads} threads on {os.cpu_count()} cores; the official segmentation scores "
        f"alone {float(scored[0]['segmentation s']) * PAPER_PATCHES / n / 60:.1f} minutes. Work of the processors: "
        f"{sum(float(r['CPU s']) for r in scored) * PAPER_PATCHES / n / 60:.1f} minutes of one core, whatever else ran."
    )
    return "\n".join(lines)


def small() -> list[Ratio]:
    """CPU time of the official segmentation scores of 96 patches against PQ of the same patches by masks."""
    from targets_postprocess import panoptic_plain

    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), 96)
        truth, pred, labels = stores(Path(name), 96)
        maps = [(truth.instances[i].astype(np.int32), pred.instances[i].astype(np.int32)) for i in range(24)]
        plain, ours = race(
            lambda: [panoptic_plain(*pair) for pair in maps],
            lambda: score_segmentation(truth, pred, "official", labels=labels, threads=1),
            rounds=3,
        )
    return [Ratio("all segmentation scores, PQ alone by masks", 4 * plain / ours)]


def main() -> None:
    """Generate, score, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--patches", type=int, default=4000)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--write", action="store_true", help="also write benchmarks/results/scoring.md")
    options = options.parse_args()
    if options.score:
        print(json.dumps(score(options.score, options.patches, options.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = report(measure(Path(folder), options.patches, options.threads), options.patches, options.threads)
    print(text)
    if options.write:
        (ROOT / "benchmarks" / "results" / "scoring.md").write_text(f"# Scoring patch stores\n\n{text}\n")


if __name__ == "__main__":
    main()
