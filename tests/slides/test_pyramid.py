"""The pyramid: exact means, the same whatever the threads, read by zarr-python and from stores that it wrote."""

import hashlib

import numpy as np
import pytest
import tifffile
import zarr

from stnuclei.errors import UserError
from stnuclei.slides import open_slide, write_pyramid
from stnuclei.slides.ome_zarr import StoreSlide
from stnuclei.slides.pyramid import halve, level_shapes

RANDOM = np.random.default_rng(0)
CHUNK = 32


def slide_of(path, shape):
    tifffile.imwrite(path, RANDOM.integers(0, 256, (*shape, 3), dtype=np.uint8), photometric="rgb", tile=(64, 64))
    return open_slide(path)


@pytest.mark.parametrize("shape", [(2, 2), (1, 7), (64, 64), (33, 130), (513, 1027)])
def test_halving_rounds_halves_up(shape):
    pixels = RANDOM.integers(0, 256, (*shape, 3), dtype=np.uint8)
    height, width = shape[0] // 2, shape[1] // 2
    total = pixels[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).sum(axis=(1, 3), dtype=int)
    assert np.array_equal(halve(pixels), (total + 2) // 4)
    assert np.array_equal(halve(pixels[1:]), halve(pixels[1:].copy()))


def files(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("shape", [(700, 1100), (513, 513), (1027, 256), (1, 600), (40, 30)])
def test_every_pixel_comes_whatever_the_threads(tmp_path, shape):
    slide = slide_of(tmp_path / "x.tif", shape)
    names = [f"s{k}" for k in range(len(level_shapes(*shape)))]
    for threads in (1, 2, 5):
        write_pyramid(slide, tmp_path / str(threads), names, CHUNK, threads)
    assert files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "5")
    level = slide[:]
    for name in names:
        read = zarr.open_array(tmp_path / "2" / name, mode="r")[:]
        assert np.array_equal(read.transpose(1, 2, 0), level)
        level = halve(level)


def test_glass_is_written_too(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.full((600, 600, 3), 255, np.uint8), photometric="rgb", tile=(64, 64))
    write_pyramid(open_slide(tmp_path / "x.tif"), tmp_path / "out", ["s0", "s1"], CHUNK)
    assert len([name for name in files(tmp_path / "out") if "/c/" in name]) == 9 + 4


def test_a_damaged_tile_is_told_and_nothing_is_written_after(tmp_path):
    slide = slide_of(tmp_path / "x.tif", (700, 700))
    slide._read = lambda *_: (_ for _ in ()).throw(ValueError("corrupt tile"))
    with pytest.raises(UserError, match="corrupt tile"):
        write_pyramid(slide, tmp_path / "out", ["s0", "s1"], CHUNK, 2)
    assert not [name for name in files(tmp_path / "out") if "/c/" in name]


@pytest.mark.parametrize("version", [2, 3])
def test_stores_of_zarr_python_are_read(tmp_path, version):
    pixels = RANDOM.integers(0, 256, (4, 90, 70), dtype=np.uint8)
    group = zarr.create_group(tmp_path / "image", zarr_format=version)
    options = {"shards": (4, 64, 64)} if version == 3 else {}
    group.create_array("0", data=pixels, chunks=(4, 32, 32), **options)
    entry = {"multiscales": [{"datasets": [{"path": "0"}], "axes": []}]}
    group.attrs.update({"ome": entry} if version == 3 else entry)
    slide = StoreSlide(tmp_path / "image")
    assert np.array_equal(slide[:], pixels[:3].transpose(1, 2, 0))
    assert np.array_equal(slide.read(0, 60, 90, 5, 70), pixels[:3, 60:90, 5:70].transpose(1, 2, 0))
