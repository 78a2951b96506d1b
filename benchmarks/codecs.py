"""What pixels of H&E cost in each codec: kB a patch, time to write and to read it, and what is lost.

    python benchmarks/codecs.py [--write]

Patches of 256 px of real slides that the tests ship with (a region of a 20x slide of Aperio, breast at 40x of NuCLS;
both CC0), and of `../shared` where it is there (colon at 40x, CoNSeP). CPU time of one thread, fastest of three rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numcodecs.blosc import Blosc, set_nthreads

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
PX, MOST, ROUNDS = 256, 48, 3
RAW_KB = PX * PX * 3 / 1e3
SVS = ROOT / "tests" / "data" / "openslide" / "CMU-1-Small-Region.svs"


@dataclass(frozen=True)
class Codec:
    """A codec, and who reads it: any zarr v3 reader (`zarr`), or only software that knows it."""

    name: str
    encode: Callable[[np.ndarray], Any]
    decode: Callable[[Any], np.ndarray]
    zarr: bool = False


def blosc(name: str, compressor: str, shuffle: int) -> Codec:
    """A codec of zarr's, on the three colours one after another, as in sample.zarr."""
    codec = Blosc(cname=compressor, clevel=1, shuffle=shuffle)
    return Codec(
        name,
        lambda pixels: codec.encode(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
        lambda data: np.frombuffer(codec.decode(data), np.uint8).reshape(3, PX, PX).transpose(1, 2, 0),
        zarr=True,
    )


def zstd(level: int) -> Codec:
    """Plain zstd on pixels, as patches.zarr has it with `compress_image`."""
    return Codec(
        f"zstd {level}",
        lambda pixels: imagecodecs.zstd_encode(pixels, level=level),
        lambda data: as_pixels(imagecodecs.zstd_decode(data)),
        zarr=True,
    )


def jpeg_xl(name: str, **options: Any) -> Codec:
    """JPEG XL, lossless or at a distance."""
    return Codec(name, lambda p: imagecodecs.jpegxl_encode(p, numthreads=1, **options), imagecodecs.jpegxl_decode)


def jpeg(level: int) -> Codec:
    """JPEG without subsampling of colours."""
    return Codec(
        f"JPEG {level}, 4:4:4",
        lambda pixels: imagecodecs.jpeg8_encode(pixels, level=level, subsampling="444"),
        imagecodecs.jpeg8_decode,
    )


def codecs() -> list[Codec]:
    """All of them: lossless first, then those that lose."""
    webp = {"lossless": True, "level": 0, "method": 0}
    return [
        Codec("none (patches.zarr)", np.ndarray.tobytes, as_pixels, zarr=True),
        zstd(3),
        blosc("blosc zstd 1, bits shuffled (sample.zarr)", "zstd", Blosc.BITSHUFFLE),
        blosc("blosc zstd 1, not shuffled", "zstd", Blosc.NOSHUFFLE),
        blosc("blosc lz4, bits shuffled", "lz4", Blosc.BITSHUFFLE),
        Codec("PNG 1", lambda p: imagecodecs.png_encode(p, level=1), imagecodecs.png_decode),
        Codec("QOI", imagecodecs.qoi_encode, imagecodecs.qoi_decode),
        Codec("WebP lossless", lambda p: imagecodecs.webp_encode(p, **webp), imagecodecs.webp_decode),
        Codec("JPEG-LS", imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        jpeg_xl("JPEG XL lossless, effort 1", lossless=True, effort=1),
        jpeg_xl("JPEG XL lossless, effort 3", lossless=True, effort=3),
        Codec("JPEG-LS, off by 2 at most", lambda p: imagecodecs.jpegls_encode(p, level=2), imagecodecs.jpegls_decode),
        jpeg_xl("JPEG XL, distance 0.5", distance=0.5, effort=3),
        jpeg(98),
        jpeg(95),
    ]


def as_pixels(data: bytes) -> np.ndarray:
    """Bytes as a patch (256, 256, 3)."""
    return np.frombuffer(data, np.uint8).reshape(PX, PX, 3)


def squares(pixels: np.ndarray) -> list[np.ndarray]:
    """Patches of a picture that are mostly tissue, at most `MOST` of them, evenly drawn."""
    height, width = pixels.shape[:2]
    all_of = [
        pixels[y : y + PX, x : x + PX] for y in range(0, height - PX + 1, PX) for x in range(0, width - PX + 1, PX)
    ]
    tissue = [np.ascontiguousarray(patch) for patch in all_of if (patch.min(axis=2) > 235).mean() < 0.5]
    return tissue[:: -(-len(tissue) // MOST)]


def sets() -> dict[str, list[np.ndarray]]:
    """Name -> patches (256, 256, 3) uint8."""
    nucls = sorted(
        path for path in (ROOT / "tests" / "data" / "nucls").glob("t*_*.png") if "instances" not in path.name
    )
    pictures = [imagecodecs.imread(path)[..., :3] for path in nucls]
    given = {
        "20x, Aperio": squares(tifffile.imread(SVS)),
        "40x breast, NuCLS": [np.ascontiguousarray(p[:PX, :PX]) for p in pictures if min(p.shape[:2]) >= PX],
    }
    shared = ROOT.parent / "shared" / "data" / "composite_a" / "composite_a_he_image.ome.tif"
    if shared.is_file():
        given["40x colon, CoNSeP"] = squares(tifffile.imread(shared))
    return given


def timed(function: Callable[[Any], Any], items: list[Any]) -> tuple[float, list[Any]]:
    """CPU milliseconds an item, fastest of some rounds, and the results."""
    best, out = float("inf"), []
    for _ in range(ROUNDS):
        start = time.process_time()
        out = [function(item) for item in items]
        best = min(best, time.process_time() - start)
    return 1e3 * best / len(items), out


def measured(codec: Codec, patches: list[np.ndarray]) -> str:
    """Four cells of the table: kB, ms to encode and to decode, and the largest and the mean error in grey values."""
    encode, data = timed(codec.encode, patches)
    decode, back = timed(codec.decode, data)
    error = np.abs(np.stack(back).astype(int) - np.stack(patches))
    lost = f"{error.max()} ({error.mean():.2f})" if error.any() else "-"
    return f"{np.mean([len(one) for one in data]) / 1e3:.1f} | {encode:.2f} | {decode:.2f} | {lost}"


def own_tiles() -> str:
    """The slide's own JPEG tiles, and these as JPEG XL without loss: kB a patch's area, ms to decode it at random."""
    from stnuclei.slides import open_slide
    from stnuclei.slides.tiles import TileCache

    with tifffile.TiffFile(SVS) as file:
        page = file.series[0].keyframe
        tables, area = page.jpegtables, page.imagewidth * page.imagelength / PX**2
        tiles = [data for data, _ in file.filehandle.read_segments(page.dataoffsets, page.databytecounts)]
    recoded = [imagecodecs.jpegxl_encode_jpeg(tables[:-2] + tile[2:], numthreads=1) for tile in tiles]
    corners = np.random.default_rng(0).integers(0, (page.imagelength - PX, page.imagewidth - PX), (MOST, 2)).tolist()
    slide: Any = open_slide(SVS)
    slide._levels[0]._cache = TileCache(most_bytes=0)
    reading, _ = timed(lambda corner: slide.read(0, corner[0], corner[0] + PX, corner[1], corner[1] + PX), corners)
    sizes = [sum(map(len, stored)) / area / 1e3 for stored in (tiles, recoded)]
    return (
        f"References to the slide's own tiles ({page.tilewidth} px, JPEG, 20x, all of the region): {sizes[0]:.1f} kB "
        f"a patch on the slide, none in the store; {reading:.2f} ms to decode a patch at random (four to nine tiles), "
        f"before it is resampled. The tiles as JPEG XL, which gives back the JPEG to the bit: {sizes[1]:.1f} kB."
    )


CONCLUSION = """What we do with it:

- `patches.zarr` stays plain. The loader's bar is 4,000 patches a second a core, 0.25 ms for everything: no codec that
  halves the store decodes in that, and those that do save little (`patches.compress_image` is there for them).
- `sample.zarr` stays blosc-zstd with shuffled bits, the smallest or nearly so of what every zarr reader reads
  (spatialdata, napari, tensorstore). JPEG XL without loss is smaller still and takes six times as long to read.
- Who has no room sets `slides.copy_image: false`: the store then refers to the slide, whose own tiles are far
  smaller than any lossless copy.
- Nothing lossy by default: a slide that is JPEG already would lose twice, and pixels would differ from the slide's."""


def table() -> str:
    """Markdown."""
    given, all_codecs = sets(), codecs()
    columns = f"kB | of {RAW_KB:.0f} kB | encode ms | decode ms | largest (mean) error | any zarr reader"
    lines = [f"| set | codec | {columns} |", "|---|---|---:|---:|---:|---:|---:|---|"]
    for name, patches in given.items():
        for codec in all_codecs:
            size, *rest = measured(codec, patches).split(" | ")
            cells = [name, codec.name, size, f"{float(size) / RAW_KB:.2f}", *rest, "yes" if codec.zarr else "no"]
            lines.append(f"| {' | '.join(cells)} |")
    counts = ", ".join(f"{name} {len(patches)}" for name, patches in given.items())
    load = f"Load of the machine: {os.getloadavg()[0]:.1f}."
    return "\n".join([f"Patches: {counts}. {load}", "", *lines, "", own_tiles(), "", CONCLUSION])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/codecs.md")
    given = parser.parse_args()
    set_nthreads(1)
    text = table()
    print(text)
    if given.write:
        head = "# Codecs for H&E pixels\n\n`python benchmarks/codecs.py --write`\n\n"
        head += "One thread, CPU milliseconds a patch of 256 px. "
        (ROOT / "benchmarks" / "results" / "codecs.md").write_text(head + text + "\n")


if __name__ == "__main__":
    main()
