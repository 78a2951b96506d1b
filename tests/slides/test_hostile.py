"""Slides, pictures, archives and stores made to exhaust memory, to run code, or to write elsewhere."""

import json
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tifffile

from stnuclei.errors import UserError
from stnuclei.io.alignment import read_alignment
from stnuclei.io.slide_input import open_slide_input, read_picture
from stnuclei.patches import PatchStore
from stnuclei.reporting.pictures import shrink
from stnuclei.slides import open_slide


def bomb(path, side):
    """A TIFF of a few kB whose only tile has `side` pixels a side."""
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(64, 64), compression="zlib", photometric="rgb")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
            tag = file.pages[0].tags[name]
            size = {3: 2, 4: 4}[int(tag.dtype)]
            content[tag.valueoffset : tag.valueoffset + size] = side.to_bytes(size, "little")
    path.write_bytes(content)
    return path


def test_a_tile_larger_than_memory_is_refused(tmp_path):
    with pytest.raises(UserError, match="one tile of 60000 x 60000 px would take 10.8 GB"):
        open_slide(bomb(tmp_path / "bomb.tif", 60_000))


def test_memory_that_is_short_is_a_sentence(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 3), np.uint8), tile=(64, 64), photometric="rgb")
    slide = open_slide(tmp_path / "a.tif")
    monkeypatch.setattr(type(slide), "_read", lambda *words: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(UserError, match="cannot be decoded \\(MemoryError\\)"):
        slide.read(0, 0, 1, 0, 1)


def picture_bomb(path):
    """A PNG of 60,000 x 60,000 px in half a kB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 180_001 * 2)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def test_a_picture_larger_than_memory_is_refused(tmp_path):
    path = picture_bomb(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="is no picture for the report .*exceeds limit"):
        shrink(path)
    with pytest.raises(UserError, match="is too large for a picture"):
        read_picture(path)


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.system, (f"touch {self.mark}",))


def test_a_store_with_a_pickle_codec_runs_nothing(tmp_path):
    store, mark = tmp_path / "evil.zarr", tmp_path / "ran"
    group = store / "images" / "he"
    (group / "0").mkdir(parents=True)
    for folder in (store, store / "images", group):
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (group / ".zattrs").write_text(json.dumps({"multiscales": [{"datasets": [{"path": "0"}], "axes": []}]}))
    array = {"zarr_format": 2, "shape": [3, 16, 16], "chunks": [3, 16, 16], "dtype": "|u1", "fill_value": 0}
    array |= {"order": "C", "filters": None, "compressor": {"id": "pickle"}}
    (group / "0" / ".zarray").write_text(json.dumps(array))
    (group / "0" / "0.0.0").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(UserError, match=r"evil\.zarr"):
        open_slide_input(store, 0.25)
    assert not mark.exists()


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_truncated_slide_is_one_sentence_and_no_messages(tmp_path, part, caplog, capfd):
    path = tmp_path / "a.ome.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="zlib")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match="cut short|cannot be opened"):
        open_slide(path)
    assert not caplog.records and not "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["../../matrix.csv", "/matrix.csv", "a/../../b/matrix.csv"])
def test_an_archive_writes_nothing_elsewhere(tmp_path, name):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "alignment.zip", "w") as archive:
        archive.writestr(name, "1,0,0\n0,1,0\n0,0,1\n")
    before = sorted(tmp_path.rglob("*"))
    assert np.array_equal(read_alignment(folder / "alignment.zip", 0.2125).matrix, np.eye(3))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "alignment.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("matrix.csv", bytes(32 << 20))
    assert (tmp_path / "alignment.zip").stat().st_size < 1 << 20
    with pytest.raises(UserError, match="its matrix.csv is too large for an alignment"):
        read_alignment(tmp_path / "alignment.zip", 0.2125)


def test_a_patch_store_with_a_foreign_codec_runs_nothing(tmp_path):
    from training.conftest import write_source

    write_source(tmp_path, "a", 4, "Breast", 0)
    metadata = tmp_path / "a.zarr" / "image" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    metadata.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a\.zarr"):
        PatchStore(tmp_path / "a.zarr").image[:]
