"""What goes wrong with a slide ends in one sentence, or completes on restart."""

import errno
import os

import numpy as np
import pytest
import shapely
import tifffile

from prediction.conftest import write_slide
from prediction.oracle import Oracle
from stnuclei.errors import UserError
from stnuclei.io import NucleiFile
from stnuclei.io.slide_input import open_slide_input
from stnuclei.prediction import partial_results as keeping
from stnuclei.prediction import segment_slide


def run(slide, out, predictor=None, **options):
    options = {"tile": 384, "overlap": 32, "tissue": "whole", **options}
    return segment_slide(None, slide, out, predictor=predictor or Oracle(), **options)


def test_pixel_size_is_asked_for(small, tmp_path):
    slide = write_slide(tmp_path / "slide.tif", small[1], um=None)
    with pytest.raises(UserError, match=r"slide.tif: does not say how large its pixels are; give um_per_px"):
        run(slide, tmp_path / "out")
    counts = run(slide, tmp_path / "out", um_per_px=0.25)
    assert counts["nuclei"] == small[2].max()


def test_pixel_sizes_that_disagree(small):
    with pytest.raises(UserError, match=r"not sure: 0.2500 by TIFF XResolution, 0.5000 by um_per_px um"):
        open_slide_input(small[0], 0.5)
    assert open_slide_input(small[0], 0.252).um_per_px == pytest.approx(0.25)
    assert open_slide_input(small[0], 0.5, override=True).um_per_px == 0.5
    with pytest.raises(UserError, match="is no pixel size of an H&E slide"):
        open_slide_input(small[0], 25, override=True)


def test_slide_far_too_coarse(small, tmp_path):
    with pytest.raises(UserError, match=r"enlarged 6\.0 times; give the full-resolution slide"):
        run(small[0], tmp_path / "out", um_per_px=1.5, override_um_per_px=True)


def damaged_slide(path, image):
    """A JPEG-tiled slide one of whose tiles holds rubbish; where it lies, x, y."""
    tifffile.imwrite(
        path,
        image,
        tile=(128, 128),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 98},
        resolution=(40000, 40000),
        resolutionunit="CENTIMETER",
    )
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        place = 3 * (-(-image.shape[1] // 128)) + 2  # third row, second column
        offset, length = page.dataoffsets[place], page.databytecounts[place]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(np.random.default_rng(0).bytes(length))
    return 2 * 128, 3 * 128


def test_damaged_tile(small, tmp_path, capsys):
    x, y = damaged_slide(tmp_path / "slide.tif", small[1])
    with pytest.raises(UserError, match=r"slide.tif: pixels at x \d+-\d+, y \d+-\d+ .* or leave such tiles out"):
        run(tmp_path / "slide.tif", tmp_path / "out")
    counts = run(tmp_path / "slide.tif", tmp_path / "out", damaged="skip", tissue=None)
    assert 1 <= counts["tiles_damaged"] <= 4 and "left out: " in capsys.readouterr().out
    nuclei = NucleiFile(tmp_path / "out").read()
    assert not nuclei.contains(shapely.Point(x + 64, y + 64)).any()
    assert 0.4 * small[2].max() < len(nuclei) < small[2].max()


def test_no_tissue(tmp_path):
    white = write_slide(tmp_path / "slide.tif", np.full((1024, 1024, 3), 245, np.uint8))
    with pytest.raises(UserError, match=r"slide\.tif shows no tissue"):
        run(white, tmp_path / "out", tissue=None)


def test_no_nuclei(tmp_path):
    pink = write_slide(tmp_path / "slide.tif", np.full((1024, 1024, 3), (200, 150, 180), np.uint8))
    counts = run(pink, tmp_path / "out")
    assert counts["nuclei"] == 0 and len(NucleiFile(tmp_path / "out").read()) == 0


def test_full_disk_is_told_and_what_was_done_is_kept(small, tmp_path, monkeypatch):
    write, written = keeping.pq.write_table, []

    def full(table, path, **options):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(table, path, **options)

    monkeypatch.setattr(keeping.pq, "write_table", full)
    with pytest.raises(UserError, match=r"out: cannot be written, the disk is full .* are kept"):
        run(small[0], tmp_path / "out")
    monkeypatch.setattr(keeping.pq, "write_table", write)
    assert len(list((tmp_path / "out.partial").glob("part-*.parquet"))) == 2
    counts = run(small[0], tmp_path / "out")
    assert counts["nuclei"] == small[2].max() and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 1000}, "segmentation.tile: 1000 is not a multiple of 16"),
        ({"tile": 256, "overlap": 96}, "wider than two overlaps"),
        ({"batch_size": 0}, "must be at least 1"),
        ({"damaged": "ignore"}, "segmentation.damaged: 'ignore' is none of stop, skip"),
        ({"region": (1, 2, 3)}, r"segmentation.region\[3\]: is missing"),
        ({"simplify_px": 9}, "segmentation.simplify_px: must be below 4, not 9"),
    ],
)
def test_settings_that_cannot_be(small, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        run(small[0], tmp_path / "out", **options)


def test_what_is_no_slide(tmp_path):
    with pytest.raises(UserError, match="no such slide, store or folder"):
        open_slide_input(tmp_path / "absent.svs", 0.25)
    with pytest.raises(UserError, match="neither a zarr store nor"):
        open_slide_input(tmp_path, 0.25)
    (tmp_path / "nuclei.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"is no nuclei\.parquet"):
        NucleiFile(tmp_path)


def test_outputs_that_cannot_be_written_are_told_first(small, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(UserError, match="is a file, not a folder"):
            segment_slide(None, small[0], out, predictor=Oracle())
    monkeypatch.setattr(os, "access", lambda *words: False)
    with pytest.raises(UserError, match="is not writable for this user"):
        segment_slide(None, small[0], tmp_path / "new" / "out", predictor=Oracle())


def test_nuclei_of_impossible_size_and_none_are_warned_of(small, tmp_path, capsys):
    options = {"tile": 384, "tissue": "whole", "override_um_per_px": True}
    segment_slide(None, small[0], tmp_path / "right", predictor=Oracle(), **options)
    assert "warning" not in capsys.readouterr().out
    segment_slide(None, small[0], tmp_path / "wrong", predictor=Oracle(), um_per_px=0.6, **options)
    assert "is the slide's um_per_px right?" in capsys.readouterr().out

    class Blind(Oracle):
        def tensors(self, images):
            foreground, hv, types = super().tensors(images)
            return foreground * 0, hv, types

    segment_slide(None, small[0], tmp_path / "none", predictor=Blind(), **options)
    assert "no nucleus was found; is the model trained" in capsys.readouterr().out
