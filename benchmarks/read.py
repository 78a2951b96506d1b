"""What reading a large Xenium sample costs: makes a slide and a bundle of a given size, measures every stage alone.

    python benchmarks/read.py --px 20000 --cells 125000 --write

Each stage runs in a process of its own, whose peak memory (resident, with libraries), time and CPU time are reported.
The last two are what no program can do without: decoding the slide's tiles, and writing as many bytes as the store has.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import numpy as np  # noqa: E402

from ratio import COST, Ratio, race  # noqa: E402

if TYPE_CHECKING:
    import h5py
    import pyarrow as pa

UM, MORPHOLOGY_UM, TILE = 0.25, 0.2125, 512
GENES, GENES_A_CELL = 400, 45
BLOCK = 1 << 17  # cells made at once
PAINTED = 1_000_000  # nuclei that the slide shows, at most
STAGES = ("read_sample", "write_sample", "write_sample_outside", "find_tissue", "check_alignment", "random_reads")
FLOORS = ("only_decode", "only_write")


# --- what is read ---------------------------------------------------------------------------------------------------


def centres(px: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Jittered grid of nuclei over the slide, he_px (n, 2)."""
    side = int(np.ceil(np.sqrt(cells)))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:cells]
    step = (px - 100) / side
    return 50 + (grid + 0.5) * step + rng.uniform(-0.2, 0.2, (cells, 2)) * step


def slide_tiles(px: int, level: int, points: np.ndarray) -> Iterator[np.ndarray]:
    """JPEG-able tiles of a level: eosin-coloured texture with a dark disk at every nucleus."""
    import cv2

    rng = np.random.default_rng(1)
    texture = np.clip(rng.normal((225, 170, 200), 12, (TILE, TILE, 3)), 0, 255).astype(np.uint8)
    scale = 2**level
    order = np.argsort(points[:, 1])
    points = points[order]
    radius = max(round(12 / scale), 1)
    for y in range(0, px // scale, TILE):
        low, high = np.searchsorted(points[:, 1], [(y - 20) * scale, (y + TILE + 20) * scale])
        row = points[low:high]
        for x in range(0, px // scale, TILE):
            tile = np.ascontiguousarray(np.roll(texture, (x // 7 % TILE, y // 5 % TILE), axis=(0, 1)))
            near = row[(row[:, 0] > (x - 20) * scale) & (row[:, 0] < (x + TILE + 20) * scale)]
            for cx, cy in np.rint(near / scale - (x, y)).astype(int):
                cv2.circle(tile, (int(cx), int(cy)), radius, (95, 65, 140), -1)
            yield tile


def write_slide(path: Path, px: int, points: np.ndarray) -> None:
    """Pyramidal JPEG OME-TIFF with SubIFDs, as Xenium downloads have it."""
    import tifffile

    levels = 5
    common = {
        "tile": (TILE, TILE),
        "compression": "jpeg",
        "compressionargs": {"level": 85},
        "photometric": "rgb",
        "dtype": np.uint8,
    }
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": UM,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        for level in range(levels):
            side = px >> level
            more = {"subifds": levels - 1, "metadata": metadata} if level == 0 else {"subfiletype": 1}
            file.write(slide_tiles(px, level, points), shape=(side, side, 3), **common, **more)


def write_tables(folder: Path, points: np.ndarray, rng: np.random.Generator) -> None:
    """experiment.xenium, alignment, cells, nucleus boundaries, matrix; the tables in blocks of cells."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    scale = UM / MORPHOLOGY_UM
    matrix = np.array([[0, -scale, points.max() * scale + 100], [scale, 0, 0], [0, 0, 1.0]])
    np.savetxt(folder / "bench_he_imagealignment.csv", matrix, delimiter=",")
    experiment = {"pixel_size": MORPHOLOGY_UM, "analysis_sw_version": "xenium-3.0.0.15", "images": {}}
    (folder / "experiment.xenium").write_text(json.dumps(experiment))
    text, real, small = pa.string(), pa.float64(), pa.float32()
    cells = pa.schema([("cell_id", text), ("x_centroid", real), ("y_centroid", real)])
    vertices = pa.schema([("cell_id", text), ("vertex_x", small), ("vertex_y", small), ("label_id", pa.uint32())])
    with (
        pq.ParquetWriter(folder / "cells.parquet", cells) as cell_file,
        pq.ParquetWriter(folder / "nucleus_boundaries.parquet", vertices) as vertex_file,
        h5py.File(folder / "cell_feature_matrix.h5", "w") as file,
    ):
        group = create_matrix(file, len(points))
        for begin in range(0, len(points), BLOCK):
            number = np.arange(begin, min(begin + BLOCK, len(points)))
            um = (points[number] @ matrix[:2, :2].T + matrix[:2, 2]) * MORPHOLOGY_UM
            ids = pa.array([cell_id(k) for k in number])
            cell_file.write_table(pa.table([ids, um[:, 0], um[:, 1]], schema=cells))
            vertex_file.write_table(outlines(ids, um, number).cast(vertices))
            write_counts(group, ids, begin, rng)


def cell_id(number: int) -> str:
    """An id as the instrument writes them."""
    return f"{number:08x}".translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop")) + "-1"


def outlines(ids: pa.Array, um: np.ndarray, number: np.ndarray) -> pa.Table:
    """Vertices of circles of 13 vertices around centres (n, 2) um."""
    import pyarrow as pa

    angle = 2 * np.pi * np.arange(13) / 12
    ring = (um[:, None] + 3.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)).astype(np.float32)
    row = np.repeat(np.arange(len(um)), 13)
    names = ["cell_id", "vertex_x", "vertex_y", "label_id"]
    columns = [ids.take(pa.array(row)), ring[..., 0].ravel(), ring[..., 1].ravel(), (number[row] + 1).astype(np.uint32)]
    return pa.table(columns, names=names)


def create_matrix(file: h5py.File, n: int) -> h5py.Group:
    """Matrix of n cells whose counts are still to be written."""
    group = file.create_group("matrix")
    group.create_dataset("data", (n * GENES_A_CELL,), np.int32)
    group.create_dataset("indices", (n * GENES_A_CELL,), np.int64)
    group.create_dataset("barcodes", (n,), "S10")
    group["indptr"], group["shape"] = np.arange(n + 1) * GENES_A_CELL, np.array([GENES, n])
    names = np.array([f"GENE{k}" for k in range(GENES)], "S")
    features = group.create_group("features")
    features["id"], features["name"] = names, names
    features["feature_type"] = np.array(["Gene Expression"] * GENES, "S")
    return group


def write_counts(group: h5py.Group, ids: pa.Array, begin: int, rng: np.random.Generator) -> None:
    """Counts of the cells from `begin` on."""
    step = GENES // GENES_A_CELL
    indices = rng.integers(0, step, (len(ids), GENES_A_CELL)) + np.arange(GENES_A_CELL) * step
    entries = slice(begin * GENES_A_CELL, (begin + len(ids)) * GENES_A_CELL)
    group["data"][entries] = rng.integers(1, 6, indices.size).astype(np.int32)
    group["indices"][entries] = indices.ravel()
    group["barcodes"][begin : begin + len(ids)] = np.array(ids.to_pylist(), "S10")


def make(folder: Path, px: int, cells: int) -> None:
    """Write the whole bundle."""
    rng = np.random.default_rng(0)
    points = centres(px, cells, rng)
    folder.mkdir()
    write_slide(folder / "bench_he_image.ome.tif", px, points[:PAINTED])
    write_tables(folder, points, rng)


# --- stages -------------------------------------------------------------------------------------------------------


def run(stage: str, folder: Path, threads: int) -> dict[str, float]:
    """Run one stage in this process; its time, and this process's peak memory."""
    from stnuclei.io import open_sample, read_sample, write_sample
    from stnuclei.quality import TissueMap, check_alignment, draw_alignment, find_tissue

    store, tissue = folder.parent / "sample.zarr", folder.parent / "tissue.tif"
    start, cpu = time.perf_counter(), time.process_time()
    extra: dict[str, float] = {}
    if stage in FLOORS:
        (decode_tiles if stage == "only_decode" else write_bytes)(folder)
    elif stage in ("read_sample", "write_sample", "write_sample_outside"):
        sample = read_sample("xenium", folder, sample="bench")
        if stage == "write_sample":
            write_sample(sample, store, threads=threads)
        elif stage == "write_sample_outside":
            write_sample(sample, folder.parent / "outside.zarr", copy_image=False, threads=threads)
    elif stage == "find_tissue":
        sample = open_sample(store)
        find_tissue(sample.he, sample.um_per_px, name=sample.name).save(tissue)
    elif stage == "check_alignment":
        sample, found = open_sample(store), TissueMap.load(tissue)
        report = check_alignment(sample, found)
        draw_alignment(report, sample, found, folder.parent / "alignment.png")
        extra["shift_px"] = float(np.hypot(*report.shift_px))
    else:
        extra["reads_per_s"] = random_reads(open_sample(store).he)
    took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    return {**took, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, **extra}


def decode_tiles(folder: Path) -> None:
    """Decode every tile of the slide's full resolution, one after another."""
    import tifffile

    with tifffile.TiffFile(folder / "bench_he_image.ome.tif") as file:
        page, handle = file.pages[0], file.filehandle
        for data, index in handle.read_segments(page.dataoffsets, page.databytecounts):
            page.decode(data, index, jpegtables=page.jpegtables)


def write_bytes(folder: Path) -> None:
    """Write as many bytes as the store has into one file and wait for the disk."""
    size, piece = round(files_and_gb(folder.parent / "sample.zarr")[1] * 1e9), bytes(1 << 24)
    with open(folder.parent / "bytes", "wb") as file:
        for begin in range(0, size, len(piece)):
            file.write(piece[: size - begin])
        file.flush()
        os.fsync(file.fileno())
    (folder.parent / "bytes").unlink()


def random_reads(slide, n: int = 400, side: int = 256) -> float:  # noqa: ANN001
    """Regions of 256 px a second at random places."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, slide.shape[0] - side, (n, 2))
    start = time.perf_counter()
    for y, x in corners:
        slide.read(0, y, y + side, x, x + side)
    return n / (time.perf_counter() - start)


def files_and_gb(path: Path) -> tuple[int, float]:
    """Number of files in a store, and their size."""
    sizes = [one.stat().st_size for one in path.rglob("*") if one.is_file()]
    return len(sizes), sum(sizes) / 1e9


#: What every stage reports.
_MEASURED = ("seconds", "cpu", "peak_gb")


def measure(px: int, cells: int, threads: int) -> str:
    """Make the sample, run the stages, return the table in Markdown."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        make(folder, px, cells)
        slide_gb = (folder / "bench_he_image.ome.tif").stat().st_size / 1e9
        size = f"{px:,} x {px:,} px ({slide_gb:.2f} GB JPEG), {cells:,} cells x {GENES} genes"
        load = f"load of the machine at the beginning {os.getloadavg()[0]:.1f}"
        lines = [f"Slide {size}; {threads} threads on {os.cpu_count()} cores; {load}", ""]
        lines += ["| stage | seconds | CPU s | peak memory (GB) | |", "|---|---:|---:|---:|---|"]
        for stage in STAGES + FLOORS:
            command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder), "--threads", str(threads)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = json.loads(out.splitlines()[-1])
            note = ", ".join(f"{key} {value:.2f}" for key, value in result.items() if key not in _MEASURED)
            if stage.startswith("write_sample"):
                n, size = files_and_gb(Path(temporary) / ("sample.zarr" if stage == "write_sample" else "outside.zarr"))
                note = f"store {size:.2f} GB in {n:,} files"
            measured = f"{result['seconds']:.1f} | {result['cpu']:.1f} | {result['peak_gb']:.2f}"
            lines.append(f"| {stage} | {measured} | {note} |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def small() -> list[Ratio]:
    """CPU time of reading a bundle (3,072 px, 3,000 cells) into a store against decoding its slide's tiles."""
    import tifffile

    from stnuclei.io import read_sample, write_sample

    with tempfile.TemporaryDirectory() as name:
        folder, stores = Path(name) / "bundle", iter(range(9))
        make(folder, 3072, 3_000)
        ours, peer = race(
            lambda: write_sample(read_sample("xenium", folder, sample="b"), f"{name}/{next(stores)}.zarr", threads=1),
            lambda: tifffile.imread(folder / "bench_he_image.ome.tif", maxworkers=1),
            rounds=3,
        )
    return [Ratio("reading a bundle into a store, decoding its slide", ours / peer, COST)]


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=20_000, help="side of the slide")
    parser.add_argument("--cells", type=int, default=125_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="append to benchmarks/results/read.md")
    parser.add_argument("--stage", choices=STAGES + FLOORS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(run(arguments.stage, arguments.folder, arguments.threads)))
        return
    table = measure(arguments.px, arguments.cells, arguments.threads)
    print(table)
    if arguments.write:
        path = Path(__file__).parent / "results" / "read.md"
        path.parent.mkdir(exist_ok=True)
        with open(path, "a") as file:
            file.write(table + "\n")


if __name__ == "__main__":
    main()
