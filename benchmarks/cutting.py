"""How long cutting takes: a million nuclei and 20,000 patches from a JPEG-tiled slide, and whether memory stays flat.

    python benchmarks/cutting.py [--side 142] [--nuclei 1000000] [--threads 2] [--um 0.2125] [--write]

The slide is generated: tiles of smooth random tissue, JPEG 4:2:0 at quality 85, 512 px, in a BigTIFF. Each size is cut
in a process of its own, which reports its peak memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
from ratio import COST, Ratio, race  # noqa: E402

TILE = 512


def tissue_tiles(n: int, seed: int = 0) -> list[bytes]:
    """JPEG tiles of pink ground with dark blobs and fine noise."""
    import cv2
    import imagecodecs

    random = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        blobs = cv2.GaussianBlur(random.normal(size=(TILE, TILE)), (0, 0), 6)
        dark = np.clip(blobs / blobs.std() - 0.8, 0, 1)[..., None]
        ground = np.array([225, 170, 200]) + 20 * cv2.GaussianBlur(random.normal(size=(TILE, TILE, 3)), (0, 0), 2)
        pixels = ground * (1 - dark) + np.array([90, 60, 140]) * dark + random.normal(0, 4, (TILE, TILE, 3))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        out.append(imagecodecs.jpeg_encode(pixels, level=85, subsampling="420"))
    return out


def write_slide(path: Path, side: int) -> None:
    """A square slide of `side` px."""
    import tifffile

    tiles, along = tissue_tiles(16), -(-side // TILE)
    random = np.random.default_rng(1)
    segments = (tiles[k] for k in random.integers(0, len(tiles), along**2))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            segments,
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="ycbcr",
            subsampling=(2, 2),
            compression="jpeg",
            metadata=None,
        )


def outlines(n: int, side: int, um: float, random: np.random.Generator) -> np.ndarray:
    """Nuclei of 13 vertices anywhere on a slide, polygons (n,)."""
    import shapely

    angle = np.linspace(0, 2 * np.pi, 13)[None]
    axes, turn = random.uniform(2.0, 4.5, (2, n, 1)) / um, random.uniform(0, np.pi, (n, 1))
    x, y = axes[0] * np.cos(angle), axes[1] * np.sin(angle)
    centre = random.uniform(20, side - 20, (2, n, 1))
    points = np.stack(
        [x * np.cos(turn) - y * np.sin(turn) + centre[0], x * np.sin(turn) + y * np.cos(turn) + centre[1]], -1
    )
    points[:, -1] = points[:, 0]
    return shapely.polygons(points)


def write_nuclei(path: Path, side: int, n: int, um: float) -> None:
    """Nuclei in the order of nothing: each row group has them from all over the slide."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    from stnuclei.io.boundaries import ROW_GROUP, SCHEMA

    random = np.random.default_rng(2)
    with pq.ParquetWriter(path, SCHEMA) as file:
        for begin in range(0, n, ROW_GROUP):
            count = min(ROW_GROUP, n - begin)
            ids = pa.array([f"cell{i}" for i in range(begin, begin + count)])
            wkb = pa.array(shapely.to_wkb(outlines(count, side, um, random)), pa.binary())
            file.write_table(pa.table([ids, wkb], schema=SCHEMA))


def open_run(slide: Path, um: float) -> SimpleNamespace:
    """The slide with the nuclei beside it, as a sample that was opened."""
    from stnuclei.io.boundaries import NucleusBoundaries
    from stnuclei.slides import open_slide

    nuclei = NucleusBoundaries.of_file(slide.with_suffix(".parquet"))
    return SimpleNamespace(
        name="generated", cell_ids=nuclei.cell_ids().combine_chunks(), boundaries=nuclei, he=open_slide(slide),
        um_per_px=um, tissue="Breast",
    )  # fmt: skip


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cut_one(folder: Path, side: int, um: float, threads: int) -> None:
    """Child process: cut and print a line of JSON."""
    from stnuclei.patches import cut_patches

    sample = open_run(folder / f"{side}.tif", um)
    before = peak_mb()
    begin, cpu = time.monotonic(), time.process_time()
    counts = cut_patches(sample, folder / "patches.zarr", threads=threads, um_per_px=max(um, 0.25))
    took = {"seconds": time.monotonic() - begin, "cpu": time.process_time() - cpu}
    print("RESULT " + json.dumps({**counts, **took, "before": before, "peak": peak_mb()}))


def measure(folder: Path, patches: int, n: int, um: float, threads: int) -> dict:
    """Write a slide of patches x patches and cut it."""
    side = int(patches * 256 * max(um, 0.25) / um)
    path = folder / f"{side}.tif"
    for what in ("--make", "--child"):  # apart: a process counts the memory of what it made as its own
        command = [sys.executable, __file__, what, str(folder), str(side), str(n), str(um), str(threads)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    size = path.stat().st_size
    path.unlink()
    path.with_suffix(".parquet").unlink()
    return {"side": side, "slide_bytes": size, "nuclei_asked": n, **json.loads(line[7:])}


def table(results: list[dict], um: float, threads: int) -> str:
    """Markdown."""
    lines = [
        f"{threads} threads, {platform.processor() or platform.machine()}, slide at {um} um/px resampled to 0.25, JPEG "
        f"4:2:0 tiles of {TILE} px.",
        "",
        "| patches | nuclei | placed | slide px | slide | seconds | CPU s | patches/s | store | memory before | peak |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        lines.append(
            f"| {r['patches']:,} | {r['nuclei_in']:,} | {r['nuclei_placed']:,} | {r['side']:,} | "
            f"{r['slide_bytes'] / 1e9:.2f} GB | {r['seconds']:.0f} | {r['cpu']:.0f} | "
            f"{r['patches'] / r['seconds']:,.0f} | "
            f"{r['bytes'] / 1e9:.2f} GB | {r['before']:,.0f} MB | {r['peak']:,.0f} MB |"
        )
    return "\n".join(lines)


def small() -> list[Ratio]:
    """CPU time of cutting a slide of 3,072 px with 5,000 nuclei against decoding its tiles."""
    import tifffile

    from stnuclei.patches import cut_patches

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_slide(folder / "3072.tif", 3072)
        write_nuclei(folder / "3072.parquet", 3072, 5_000, 0.2125)
        sample, stores = open_run(folder / "3072.tif", 0.2125), iter(range(9))
        ours, peer = race(
            lambda: cut_patches(sample, folder / f"{next(stores)}.zarr", threads=1),
            lambda: tifffile.imread(folder / "3072.tif", maxworkers=1),
            rounds=3,
        )
    return [Ratio("cutting a slide, decoding its tiles", ours / peer, COST)]


def main() -> None:
    """Command line."""
    if sys.argv[1:2] in (["--make"], ["--child"]):
        folder, side, n, um, threads = sys.argv[2:7]
        if sys.argv[1] == "--make":
            write_slide(Path(folder, f"{side}.tif"), int(side))
            write_nuclei(Path(folder, f"{side}.parquet"), int(side), int(n), float(um))
        else:
            cut_one(Path(folder), int(side), float(um), int(threads))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=142, help="patches along the slide")
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--um", type=float, default=0.2125)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/cutting.md")
    given = parser.parse_args()
    half = given.side // 2
    with tempfile.TemporaryDirectory() as folder:
        results = [
            measure(Path(folder), side, n, given.um, given.threads)
            for side, n in ((half, given.nuclei // 4), (given.side, given.nuclei))
        ]
    text = table(results, given.um, given.threads)
    print(text)
    if given.write:
        options = f"--side {given.side} --nuclei {given.nuclei} --threads {given.threads} --um {given.um}"
        content = f"# Cutting a slide\n\n`python benchmarks/cutting.py {options} --write`\n\n{text}\n"
        (ROOT / "benchmarks" / "results" / "cutting.md").write_text(content)


if __name__ == "__main__":
    main()
