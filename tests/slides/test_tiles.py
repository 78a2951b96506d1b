"""Tiles decoded directly: the pixels tifffile itself gives, from any thread, whatever is kept."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from stnuclei.slides import open_slide
from stnuclei.slides.tiles import TileCache, TiledLevel

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (300, 420, 3), dtype=np.uint8)


def regions(n):
    """Boxes y0, y1, x0, x1 inside the pixels."""
    corners, sizes = RANDOM.integers(0, (210, 330), (n, 2)).tolist(), RANDOM.integers(1, 90, (n, 2)).tolist()
    return [(y, y + h, x, x + w) for (y, x), (h, w) in zip(corners, sizes, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "jpeg", "compressionargs": {"level": 90}},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {},
    ],
    ids=["jpeg", "zlib", "lzw", "plain"],
)
def test_tiles_hold_what_tifffile_reads(tmp_path, options):
    tifffile.imwrite(tmp_path / "x.tif", PIXELS, photometric="rgb", tile=(64, 48), **options)
    slide, whole = open_slide(tmp_path / "x.tif"), tifffile.imread(tmp_path / "x.tif")
    assert isinstance(slide._levels[0], TiledLevel)
    for y0, y1, x0, x1 in regions(40):
        assert np.array_equal(slide.read(0, y0, y1, x0, x1), whole[y0:y1, x0:x1])


def test_of_four_samples_the_colours_are_taken(tmp_path):
    rgba = np.dstack([PIXELS, PIXELS[..., 0]])
    tifffile.imwrite(tmp_path / "x.tif", rgba, photometric="rgb", tile=(64, 64), extrasamples=["unassalpha"])
    assert np.array_equal(open_slide(tmp_path / "x.tif")[:], PIXELS)


def test_a_tile_that_is_not_there_is_black_as_in_tifffile(tmp_path):
    tiles = [PIXELS[y : y + 64, x : x + 64].copy() for y in (0, 64) for x in (0, 64)]
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        segments = (tile if k != 2 else None for k, tile in enumerate(tiles))
        file.write(segments, shape=(128, 128, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb", metadata=None)
    got = open_slide(tmp_path / "x.tif")[:]
    assert np.array_equal(got, tifffile.imread(tmp_path / "x.tif"))
    assert not got[64:, :64].any() and np.array_equal(got[:64], PIXELS[:64, :128])


def test_many_threads_read_the_same_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", PIXELS, photometric="rgb", tile=(32, 32), compression="zlib")
    slide = open_slide(tmp_path / "x.tif")
    boxes = regions(200)
    with ThreadPoolExecutor(8) as pool:
        for (y0, y1, x0, x1), pixels in zip(boxes, pool.map(lambda box: slide.read(0, *box), boxes), strict=True):
            assert np.array_equal(pixels, PIXELS[y0:y1, x0:x1])


def test_the_cache_forgets_what_was_not_used_for_longest():
    cache, tile = TileCache(most_bytes=1000), np.zeros(400, np.uint8)
    cache.put((0, 1), tile)
    cache.put((0, 2), tile)
    cache.put((0, 2), tile)
    assert cache.get((0, 1)) is tile
    cache.put((1, 1), tile)
    assert cache.get((0, 2)) is None and cache.get((0, 1)) is tile and cache.get((1, 1)) is tile
    cache.put((0, 9), np.zeros(5000, np.uint8))
    assert cache.get((0, 9)) is None
