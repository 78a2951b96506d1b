"""What the exports of a slide's nuclei cost: seconds, MB on disk, peak memory, for a million nuclei and a quarter.

    python benchmarks/exports.py [--nuclei 1000000] [--write]

The nuclei are made up: outlines of 18 corners, 4.5 um across, 40 per 100 um square, five classes. Each export runs in a
process of its own, which reports its peak memory; `reading` is the process that only reads the file, to compare with.
The slide itself is white paper: pictures and stores are written without an H&E.
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
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests" / "export")]

from ratio import Ratio, race  # noqa: E402

if TYPE_CHECKING:
    from stnuclei.io.nuclei_file import NucleiFile

EXPORTS = ("reading", "geojson zip", "geojson gz", "geojson plain", "summary", "overview", "density", "spatialdata",
           "agreement")  # fmt: skip
STEP_PX = 63.0


def make(path: Path, n: int) -> None:
    """Write a nuclei.parquet of n nuclei at 0.25 um/px, in pieces."""
    import made_nuclei as made

    from stnuclei.io.nuclei_file import NucleiWriter

    side = int(np.ceil(np.sqrt(n)))
    random = np.random.default_rng(0)
    writer = NucleiWriter(path, made.CLASSES)
    for begin in range(0, n, 50_000):
        rows = np.arange(begin, min(n, begin + 50_000))
        centers = np.stack([rows % side, rows // side], 1) * STEP_PX + 40 + random.uniform(-15, 15, (len(rows), 2))
        shapes = made.outlines(centers, 9.0, 18, seed=begin)
        classes = 1 + (np.sin(centers[:, 0] / 900) + np.cos(centers[:, 1] / 700) + 2).astype(int) % 5
        writer.write(made.table(shapes, classes))
    extent = int(side * STEP_PX + 80)
    writer.close(
        {
            "slide": "made_up", "slide_path": "", "source": "slide", "slide_um_per_px": 0.25, "width": extent,
            "height": extent, "taxonomy": made.TAXONOMY.to_dict(), "classes": made.CLASSES, "model": {}, "settings": {},
            "tissue_mm2": (extent * 0.25e-3) ** 2, "counts": {"nuclei": n}, "fingerprint": "benchmark",
        }
    )  # fmt: skip


def run(what: str, path: Path, out: Path) -> None:
    """Do one export."""
    from stnuclei import export
    from stnuclei.io.nuclei_file import NucleiFile

    nuclei = NucleiFile(path)
    if what == "reading":
        for _ in nuclei.arrow_batches():
            pass
    elif what.startswith("geojson"):
        export.write_geojson(nuclei, out, form=what.split()[1])
    elif what == "agreement":
        compare(nuclei, path.with_suffix(".run"))
    else:
        writers = {
            "summary": export.write_summary,
            "overview": export.draw_overview,
            "density": export.draw_density,
            "spatialdata": export.write_spatialdata,
        }
        writers[what](nuclei, out)


def make_run(path: Path, folder: Path) -> None:
    """Write a run with the same nuclei, moved by a pixel and in another order, and their labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    from stnuclei.io.boundaries import SCHEMA, from_wkb
    from stnuclei.io.nuclei_file import NucleiFile

    folder.mkdir(exist_ok=True)
    labels = pa.schema([("cell_id", pa.string()), ("label", pa.string()), ("confidence", pa.float32())])
    with (
        pq.ParquetWriter(folder / "boundaries.parquet", SCHEMA) as run,
        pq.ParquetWriter(folder / "labels.parquet", labels) as file,
    ):
        for batch in NucleiFile(path).arrow_batches(["nucleus_id", "class", "geometry"]):
            moved = shapely.transform(from_wkb(batch["geometry"]), lambda points: points + 1.0)[::-1]
            ids = pa.array([f"c{number:08d}-1" for number in batch["nucleus_id"].to_pylist()[::-1]])
            run.write_table(pa.table([ids, pa.array(shapely.to_wkb(moved), pa.binary())], schema=SCHEMA))
            names = batch["class"].take(pa.array(range(len(batch) - 1, -1, -1)))
            file.write_table(pa.table([ids, names, np.ones(len(batch), np.float32)], schema=labels))


def compare(nuclei: NucleiFile, run: Path) -> None:
    """Pair the nuclei with those of `make_run`."""
    from types import SimpleNamespace

    from stnuclei.evaluation import compare_slide
    from stnuclei.io.boundaries import NucleusBoundaries

    size = (nuclei.metadata["height"], nuclei.metadata["width"], 3)
    boundaries = NucleusBoundaries.of_file(run / "boundaries.parquet")
    sample = SimpleNamespace(name="run", boundaries=boundaries, he=SimpleNamespace(shape=size), um_per_px=0.25)
    agreement = compare_slide(nuclei, sample, run / "labels.parquet")
    assert agreement.scores().loc[0, "agreement"] > 0.999
    with tempfile.TemporaryDirectory() as folder:
        agreement.write(*(Path(folder) / name for name in ("confusion.tsv", "nuclei.parquet", "scores.tsv")))


def child(what: str, path: Path, out: Path) -> None:
    """Child process: do one export and print a line of JSON."""
    begin = time.monotonic()
    cpu = time.process_time()
    run(what, path, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"seconds": time.monotonic() - begin, "cpu": time.process_time() - cpu}
    print("RESULT " + json.dumps({**took, "peak": peak}))


def megabytes(path: Path) -> float:
    """Size of a file or folder, MB; 0 where there is none."""
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def measure(folder: Path, n: int) -> list[dict]:
    """Every export of n nuclei."""
    path = folder / f"{n}.parquet"
    # In a process of its own, too: children count the memory of the process they come from as theirs.
    subprocess.run([sys.executable, __file__, "--make", str(n), str(path)], check=True)
    rows = []
    for what in EXPORTS:
        # Pictures choose their format by the ending.
        out = folder / (f"{what}.png" if what in ("overview", "density") else what.replace(" ", "_"))
        command = [sys.executable, __file__, "--child", what, str(path), str(out)]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        result = json.loads(next(line for line in lines if line.startswith("RESULT "))[7:])
        size = megabytes(path if what == "reading" else out)
        rows.append({"nuclei": n, "export": what, **result, "size": size})
        print(rows[-1], flush=True)
    return rows


def as_table(rows: list[dict]) -> str:
    """Markdown table."""
    lines = ["| nuclei | export | seconds | CPU s | MB on disk | peak memory MB |", "|---:|---|---:|---:|---:|---:|"]
    lines += [
        f"| {row['nuclei']:,} | {row['export']} | {row['seconds']:.1f} | {row['cpu']:.1f} | {row['size']:,.0f} "
        f"| {row['peak']:,.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def small() -> list[Ratio]:
    """CPU time of the GeoJSON of 4,000 nuclei against GeoPandas' own."""
    from stnuclei import export
    from stnuclei.io.nuclei_file import NucleiFile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "nuclei.parquet", 4_000)
        nuclei = NucleiFile(folder / "nuclei.parquet")
        ours, peer = race(
            lambda: export.write_geojson(nuclei, folder / "nuclei.geojson", form="plain"),
            lambda: (folder / "peer.geojson").write_text(nuclei.read(["class"]).to_json()),
            rounds=3,
        )
    return [Ratio("QuPath GeoJSON, GeoPandas' to_json", peer / ours)]


def main() -> None:
    """Run as a program; see the module's docstring."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--nuclei", type=int, default=1_000_000)
    options.add_argument("--write", action="store_true")
    options.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.make:
        path = Path(chosen.make[1])
        make(path, int(chosen.make[0]))
        make_run(path, path.with_suffix(".run"))
        return
    if chosen.child:
        child(chosen.child[0], Path(chosen.child[1]), Path(chosen.child[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for n in (chosen.nuclei // 4, chosen.nuclei) for row in measure(Path(folder), n)]
    text = as_table(rows)
    print(text)
    if chosen.write:
        head = f"# Exports of a slide's nuclei\n\n`python benchmarks/exports.py --nuclei {chosen.nuclei} --write`\n\n"
        note = (
            f"One core, {platform.machine()}, other work beside it. `reading` only reads nuclei.parquet (its size on "
            "disk). GeoJSON is written in pieces of 16,384 nuclei that are then forgotten; "
            "SpatialData is, too, in row groups; agreement reads the run's nuclei row group by row group.\n\n"
        )
        (ROOT / "benchmarks" / "results" / "exports.md").write_text(head + note + text + "\n")


if __name__ == "__main__":
    main()
