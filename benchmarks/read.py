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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import numpy as np  # noqa: E402

from made_bundle import GENES, make  # noqa: E402
from ratio import COST, Ratio, race  # noqa: E402

STAGES = ("read_sample", "write_sample", "write_sample_outside", "find_tissue", "check_alignment", "random_reads")
FLOORS = ("only_decode", "only_write")


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
