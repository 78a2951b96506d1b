"""Files given as slides that can be seen to be none before the first job."""

import gzip
import zipfile

import cv2
import numpy as np
import pytest
import tifffile

from stnuclei.config import slide_problem
from stnuclei.errors import UserError
from stnuclei.slides import open_slide

PIXELS = np.full((64, 64, 3), 200, np.uint8)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
def test_every_kind_of_tiff_is_let_through_and_a_cut_one_is_named(tmp_path, options):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, PIXELS, **options)
    assert slide_problem(path) is None
    path.write_bytes(path.read_bytes()[:10])
    assert "is cut short (10 bytes" in slide_problem(path)


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("a.czi", b"ZISRAWFILE" + bytes(90)),
        ("a.svslide", b"SQLite format 3\0" + bytes(90)),
        ("a.vms", b"[Virtual Microscope Specimen]\nNoLayers=1\n"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(90)),
    ],
)
def test_formats_of_openslide_are_let_through(tmp_path, name, begin):
    (tmp_path / name).write_bytes(begin)
    assert slide_problem(tmp_path / name) is None


def test_a_mirax_slide_needs_its_folder(tmp_path):
    path = tmp_path / "slide.mrxs"
    cv2.imwrite(str(tmp_path / "slide.jpg"), PIXELS)
    (tmp_path / "slide.jpg").rename(path)
    assert slide_problem(path) == "needs its folder slide beside it; copy both"
    (tmp_path / "slide").mkdir()
    assert slide_problem(path) is None


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("slide.tif", b"II*\0" * 100)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.jpg", lambda path: cv2.imwrite(str(path), PIXELS), "is a JPEG picture"),
        ("a.png", lambda path: cv2.imwrite(str(path), PIXELS), "is a PNG picture"),
        ("a.ome.tif", zipped, "is a zip archive"),
        ("a.tif.gz", lambda path: path.write_bytes(gzip.compress(b"II*\0" * 100)), "is compressed with gzip"),
        ("a.svs", lambda path: path.write_text("<!DOCTYPE html><html>Sign in</html>"), "is a web page"),
        ("b.tif", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        ("c.tif", lambda path: path.write_bytes(bytes(5000)), "begins with zeros"),
        ("d.tif", lambda path: path.write_text("sample\tpath\n"), "neither tifffile nor openslide knows"),
        ("e.tif", lambda path: path.write_bytes(b""), "is empty"),
        ("e", lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_what_is_no_slide_is_named_by_the_check_and_when_it_is_opened(tmp_path, name, make, said):
    path = tmp_path / name
    assert slide_problem(path) == "is not there"
    make(path)
    assert said in slide_problem(path)
    with pytest.raises(UserError, match=said):
        open_slide(path)
