"""A whole slide segmented: is every nucleus found once, how fast is each stage, how much memory does it take.

    python benchmarks/slides.py [--px 20000] [--threads 2] [--network cellvit-256] [--device auto] [--write]

The slide is generated: nuclei known, pixels that say what a perfect network would see (tests/prediction/oracle.py),
JPEG tiles of 512 px at quality 95. It is segmented by that perfect network in a process of its own, which reports its
peak memory; the nuclei are then compared with those drawn. A real network (random weights) is timed on a few tiles.
Post-processing is also measured alone, on tiles of generated patches and of a golden one: `--tiles-only` prints that.
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

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]

from prediction.oracle import Oracle, Scene, ious  # noqa: E402
from ratio import Ratio, race  # noqa: E402

UM, TILE, GLASS = 0.25, 512, 600
STAGES = ("reading", "network", "post-processing", "merging")


def make_scene(px: int) -> Scene:
    """Nuclei on all of the slide but its border of glass."""
    return Scene.random(px * UM, px * UM, margin_um=GLASS * UM + 10)


def slide_tiles(scene: Scene, px: int) -> Iterator[np.ndarray]:
    """Tiles of the slide, row by row."""
    glass = np.full((TILE, TILE, 3), 244, np.uint8)
    for y in range(0, px, TILE):
        for x in range(0, px, TILE):
            image, _ = scene.draw(UM, TILE, TILE, x, y)
            rows, columns = (np.arange(v, v + TILE) for v in (y, x))
            off = ((rows < GLASS) | (rows >= px - GLASS))[:, None] | ((columns < GLASS) | (columns >= px - GLASS))
            image[off] = glass[off]
            yield image


def write_slide(path: Path, scene: Scene, px: int) -> None:
    """JPEG-tiled BigTIFF that states its pixel size."""
    import tifffile

    size = {"resolution": (1e4 / UM, 1e4 / UM), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            slide_tiles(scene, px),
            shape=(px, px, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": 95},
            metadata=None,
            **size,
        )


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def segment_one(folder: Path, threads: int) -> None:
    """Child process: segment and print a line of JSON."""
    from stnuclei.prediction import segment_slide

    before = peak_mb()
    counts = segment_slide(None, folder / "slide.tif", folder / "out", predictor=Oracle(), threads=threads)
    print("RESULT " + json.dumps({**counts, "before": before, "peak": peak_mb()}))


def compare(folder: Path, scene: Scene, px: int) -> dict[str, float]:
    """Found against drawn nuclei, block by block: how many, best IoU of each, whether any is found twice."""
    import shapely

    from stnuclei.io import NucleiFile

    found = NucleiFile(folder / "out").read(["centroid_x"]).geometry.to_numpy()
    tree, iou, partner = shapely.STRtree(found), [], []
    for y in range(0, px, 2048):
        for x in range(0, px, 2048):
            x0, y0, side = x - 64, y - 64, 2048 + 128
            _, labels = scene.draw(UM, side, side, x0, y0)
            rows = np.sort(tree.query(shapely.box(x0, y0, x0 + side, y0 + side)))
            drawn = np.flatnonzero(np.bincount(labels.ravel()))
            drawn = drawn[drawn > 0]
            centre = scene.centre[drawn - 1] / UM
            mine = ((centre >= (x, y)) & (centre < (x + 2048, y + 2048))).all(1)
            best, which = ious(labels, shapely.transform(found[rows], lambda xy, at=(x0, y0): xy - at))
            iou.append(best[mine])
            partner.append(rows[which[mine]])
    iou, partner = np.concatenate(iou), np.concatenate(partner)
    return {
        "drawn": len(scene),
        "compared": len(iou),
        "found": len(found),
        "partners": len(np.unique(partner)),
        "lowest_iou": float(iou.min()),
        "mean_iou": float(iou.mean()),
        "below_095": int((iou <= 0.95).sum()),
    }


def time_network(name: str, device: str, threads: int, tiles: int) -> dict[str, object]:
    """Tiles a second of a real network."""
    import torch

    from stnuclei.cellvit import build_model, save_checkpoint
    from stnuclei.prediction import Predictor
    from stnuclei.prediction.inference import Inference

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save_checkpoint(path, build_model(name, 6, 0), taxonomy="pannuke")
        predictor = Predictor(path, device)
    batch = 8 if predictor.device.type == "cuda" else 1
    images = np.random.default_rng(0).integers(0, 256, (batch, 1024, 1024, 3), dtype=np.uint8)
    infer = Inference([predictor])
    if batch > 1:
        infer(images, 64)
    begin = time.monotonic()
    for _ in range(max(1, tiles // batch)):
        infer(images, 64)
    rate = max(1, tiles // batch) * batch / (time.monotonic() - begin)
    where = torch.cuda.get_device_name() if batch > 1 else f"CPU, {threads} threads"
    return {"name": name, "where": where, "dtype": str(predictor.dtype)[6:], "tiles_per_second": rate}


def measure(folder: Path, px: int, threads: int) -> dict:
    """Write a slide, segment it in a child process, compare."""
    scene = make_scene(px)
    write_slide(folder / "slide.tif", scene, px)
    command = [sys.executable, __file__, "--child", str(folder), str(threads)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    size = (folder / "slide.tif").stat().st_size
    parquet = (folder / "out" / "nuclei.parquet").stat().st_size
    return {"px": px, "slide": size, "parquet": parquet, **json.loads(line[7:]), **compare(folder, scene, px)}


def report(results: list[dict], network: dict | None, threads: int) -> str:
    """Markdown."""
    lines = [
        f"Threads: {threads}. Tiles of 1,024 px that overlap by 64 px on each side, JPEG slide at {UM} um/px. "
        f"{os.getloadavg()[0]:.0f} processes were running on {os.cpu_count()} cores when it ended.",
        "",
        "| slide px | slide | tiles | nuclei drawn | found | partners | lowest IoU | mean IoU | IoU <= 0.95 | seconds "
        "| memory before | peak | nuclei.parquet |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        lines.append(
            f"| {r['px']:,} | {r['slide'] / 1e9:.2f} GB | {r['tiles']:,} | {r['drawn']:,} | {r['found']:,} | "
            f"{r['partners']:,} | {r['lowest_iou']:.3f} | {r['mean_iou']:.4f} | {r['below_095']} | {r['seconds']:.0f} "
            f"| {r['before']:,.0f} MB | {r['peak']:,.0f} MB | {r['parquet'] / 1e6:.0f} MB |"
        )
    last = results[-1]["stages"]
    lines += ["", "| stage | seconds of work | tiles/s its workers can do | busy |", "|---|--:|--:|--:|"]
    for name in STAGES:
        what, did = "network (the perfect one)" if name == "network" else name, last[name]
        lines.append(f"| {what} | {did['seconds']:.1f} | {did['tiles_per_second']:.1f} | {did['busy']:.0%} |")
    lines += ["", f"Here **{results[-1]['binding']}** binds."]
    if network:
        rates = {name: last[name]["tiles_per_second"] for name in STAGES} | {"network": network["tiles_per_second"]}
        lines += [
            "",
            f"{network['name']} ({network['where']}, {network['dtype']}): {network['tiles_per_second']:.3f} tiles/s; "
            f"with it **{min(rates, key=rates.get)}** binds.",
        ]
    return "\n".join(lines)


class Everywhere:
    """Region that leaves nothing out."""

    def contains(self, points: np.ndarray) -> np.ndarray:
        """All of them."""
        return np.ones(len(points), bool)


def tile_neighbours(patches: list[tuple[np.ndarray, np.ndarray, np.ndarray]], core: int) -> dict:
    """A tile of 16 patches (instances, predicted HV maps and types of 256 px), surrounded by copies of itself."""
    from stnuclei.prediction.tiles import TileMaps

    def joined(k: int) -> np.ndarray:
        rows = [np.concatenate([p[k] for p in patches[4 * row : 4 * row + 4]], axis=-1) for row in range(4)]
        return np.ascontiguousarray(np.concatenate(rows, axis=-2)[..., :core, :core])

    types = np.stack([(joined(2) == c) * 0.9 + 0.02 for c in range(6)]).astype(np.float16)
    maps = TileMaps(joined(0) > 0, joined(1).astype(np.float32), types)
    return {(dy, dx): maps.lower() if dy < 0 else maps for dy in (-1, 0, 1) for dx in (-1, 0, 1)}


def time_tiles(neighbours: dict, core: int, threads: int, rounds: int = 12) -> tuple[int, float, float]:
    """Nuclei of a tile; its CPU seconds with `threads` threads at once, fastest and middle round."""
    from concurrent.futures import ThreadPoolExecutor

    from stnuclei.cellvit.postprocess import gradient_range
    from stnuclei.prediction.instances import SeparationSettings, separate_tile

    settings = SeparationSettings(UM, 1.0, 0.3, gradient_range(neighbours[0, 0].hv))

    def work(_: int) -> int:
        return len(separate_tile(neighbours, (0, 0), core, settings, Everywhere()))

    times = []
    with ThreadPoolExecutor(threads) as pool:
        nuclei = list(pool.map(work, range(2 * threads)))[0]
        for _ in range(rounds):
            start = time.process_time()
            list(pool.map(work, range(2 * threads)))
            times.append((time.process_time() - start) / (2 * threads))
    return nuclei, min(times), float(np.median(times))


def tile_rows(core: int = 896) -> list[str]:
    """CPU time of a tile's post-processing, one and two threads, and tiles a second of 16 cores at that cost."""
    from targets_postprocess import forty

    golden = np.load(ROOT / "tests" / "data" / "golden" / "official_cellvit.npz")
    dense = [(golden["2/instances"], golden["2/pred_hv"], golden["2/pred_types"])] * 16
    lines = [
        f"Post-processing of a tile alone (core of {core:,} px, window of {core + 256:,} px), CPU time of the process.",
        "",
        "| tile | nuclei | threads at once | CPU ms a tile, fastest round | middle round | tiles/s of 16 cores at the "
        "middle round, extrapolated |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, patches in (("patches of 40", [forty(seed) for seed in range(16)]), ("golden 2, dense", dense)):
        neighbours = tile_neighbours(patches, core)
        for threads in (1, 2):
            nuclei, best, middle = time_tiles(neighbours, core, threads)
            rate = f"{16 / middle:.0f}" if threads == 2 else ""
            lines.append(f"| {name} | {nuclei:,} | {threads} | {best * 1e3:.1f} | {middle * 1e3:.1f} | {rate} |")
    return lines


def small() -> list[Ratio]:
    """CPU time of post-processing a tile of 1,024 px, 640 nuclei, ours against the plain steps."""
    from plain_postprocess import separate_nuclei_plain

    from stnuclei.cellvit.postprocess import separate_nuclei
    from targets_postprocess import forty

    patches = [forty(seed) for seed in range(16)]
    foreground = np.block([[patches[4 * row + column][0] > 0 for column in range(4)] for row in range(4)])
    hv = np.block([[patches[4 * row + column][1] for column in range(4)] for row in range(4)]).astype(np.float32)
    plain, ours = race(lambda: separate_nuclei_plain(foreground, hv), lambda: separate_nuclei(foreground, hv), rounds=8)
    return [Ratio("nuclei of a tile, plain steps", plain / ours)]


def main() -> None:
    """Command line."""
    if sys.argv[1:2] == ["--child"]:
        segment_one(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, default=20000, help="side of the slide")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--network", default="cellvit-256", help="architecture to time, or none")
    parser.add_argument("--network-tiles", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/slides.md")
    parser.add_argument("--tiles-only", action="store_true", help="print the post-processing of tiles and no more")
    given = parser.parse_args()
    if given.tiles_only:
        print("\n".join(tile_rows()))
        return
    results = []
    for px in (given.px // 4, given.px):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder), px, given.threads))
    network = None
    if given.network != "none":
        network = time_network(given.network, given.device, given.threads, given.network_tiles)
    text = report(results, network, given.threads) + "\n\n" + "\n".join(tile_rows())
    print(text)
    if given.write:
        options = f"--px {given.px} --threads {given.threads} --network {given.network}"
        content = f"# Segmenting a slide\n\n`python benchmarks/slides.py {options} --write`\n\n{text}\n"
        (ROOT / "benchmarks" / "results" / "slides.md").write_text(content)


if __name__ == "__main__":
    main()
