"""Slides of every kind, axes, pixel sizes, and reading by regions."""

import bundle
import numpy as np
import pytest
import tifffile

from paths import DATA
from stnuclei.errors import UserError
from stnuclei.slides import open_slide
from stnuclei.slides.ome_xml import ome_images, ome_pixel_size

PIXELS = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)


def written(path, pixels=PIXELS, **options):
    tifffile.imwrite(path, pixels, **options)
    return open_slide(path)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb"},
        {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"},
        {"photometric": "rgb", "bigtiff": True, "compression": "lzw"},
        {"photometric": "rgb", "rowsperstrip": 16, "compression": "deflate"},
        {"photometric": "rgb", "ome": True, "tile": (128, 128)},
        {"photometric": "rgb", "byteorder": ">", "tile": (128, 128)},
        {"photometric": "rgb", "planarconfig": "contig", "metadata": None},
    ],
)
def test_pixels_come_as_they_are(tmp_path, options):
    name = "x.ome.tif" if options.pop("ome", False) else "x.tif"
    slide = written(tmp_path / name, **options)
    assert slide.shape == PIXELS.shape and slide.dtype == np.uint8 and slide.ndim == 3
    assert np.array_equal(slide[:], PIXELS) and np.array_equal(np.asarray(slide), PIXELS)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (PIXELS.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
        (PIXELS.transpose(2, 0, 1), {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True}),
        (PIXELS.transpose(2, 0, 1), {"photometric": "minisblack", "metadata": None}),
        (
            PIXELS.transpose(2, 0, 1),
            {
                "photometric": "minisblack",
                "metadata": {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}},
                "ome": True,
            },
        ),
        (PIXELS[None], {"photometric": "rgb", "metadata": {"axes": "ZYXS"}, "ome": True}),
        (PIXELS[None], {"photometric": "rgb"}),
        (
            np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)]),
            {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        ),
    ],
    ids=["planar", "ome cyx", "three pages", "ome colours by name", "ome 1yx3", "1yx3", "rgba"],
)
def test_axes_in_any_order(tmp_path, pixels, options):
    name = "x.ome.tif" if options.pop("ome", False) else "x.tif"
    slide = written(tmp_path / name, pixels, **options)
    assert np.array_equal(slide[:], PIXELS)


def test_numpy_slicing(tmp_path):
    slide = written(tmp_path / "x.tif", photometric="rgb", tile=(64, 64))
    keys = [
        np.s_[10:200, 33:77],
        np.s_[5],
        np.s_[:, 7],
        np.s_[-30:, ::2],
        np.s_[::3, 400:100:-7],
        np.s_[3, 4],
        np.s_[..., 1],
        np.s_[250:900, 1:2, 0],
        np.s_[9:9],
        np.s_[2, :, 2],
    ]
    for key in keys:
        assert np.array_equal(slide[key], PIXELS[key]), key
    with pytest.raises(IndexError):
        slide[300]


def test_outside_is_filled(tmp_path):
    slide = written(tmp_path / "x.tif", photometric="rgb", tile=(64, 64))
    got = slide.read(0, -10, 20, 400, 440)
    assert got.shape == (30, 40, 3) and (got[:10] == 255).all() and (got[:, 20:] == 255).all()
    assert np.array_equal(got[10:, :20], PIXELS[:20, 400:])
    assert (slide.read(0, 1000, 1010, 0, 10) == 255).all()


def test_pyramids_in_subifds_and_in_pages(tmp_path):
    bundle.write_he(tmp_path / "sub.ome.tif", PIXELS)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for step in (1, 2, 4):
            file.write(
                PIXELS[::step, ::step], photometric="rgb", tile=(64, 64), subfiletype=int(step > 1), metadata=None
            )
    assert open_slide(tmp_path / "sub.ome.tif").levels == ((300, 420), (150, 210))
    slide = open_slide(tmp_path / "pages.tif")
    assert slide.levels == ((300, 420), (150, 210), (75, 105))
    assert np.array_equal(slide.read(1, 5, 50, 6, 60), PIXELS[::2, ::2][5:50, 6:60])
    assert [slide.downsample(k) for k in range(3)] == pytest.approx([1, 2, 4])
    assert [slide.level_for(d) for d in (1, 1.9, 2, 3, 100)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("options", "um"),
    [
        ({"metadata": {"axes": "YXS", "PhysicalSizeX": 0.2738, "PhysicalSizeXUnit": "µm"}, "ome": True}, 0.2738),
        ({"metadata": {"axes": "YXS", "PhysicalSizeX": 273.8, "PhysicalSizeXUnit": "nm"}, "ome": True}, 0.2738),
        ({"metadata": {"axes": "YXS", "PhysicalSizeX": 0.0002738, "PhysicalSizeXUnit": "mm"}, "ome": True}, 0.2738),
        ({"resolution": (36523.0, 36523.0), "resolutionunit": "CENTIMETER"}, 0.2738),
        ({"resolution": (101600.0, 101600.0), "resolutionunit": "INCH"}, 0.25),
        ({"resolution": (72.0, 72.0), "resolutionunit": "INCH"}, None),
        ({}, None),
    ],
)
def test_pixel_size_from_metadata(tmp_path, options, um):
    name = "x.ome.tif" if options.pop("ome", False) else "x.tif"
    stated = written(tmp_path / name, photometric="rgb", **options).stated_um
    assert list(stated.values()) == ([pytest.approx(um, rel=1e-4)] if um else [])


def test_a_real_svs_through_both_libraries():
    from stnuclei.slides.openslide_file import OpenslideSlide

    path = next((DATA / "openslide").glob("*.svs"))
    ours, theirs = open_slide(path), OpenslideSlide(path)
    assert ours.shape == theirs.shape == (2967, 2220, 3)
    assert ours.stated_um == {"Aperio MPP": pytest.approx(0.499)}
    assert theirs.stated_um == {"openslide.mpp-x": pytest.approx(0.499)}
    difference = ours[500:900, 600:1100].astype(int) - theirs[500:900, 600:1100]
    assert abs(difference).mean() < 1.0


def test_a_real_hest_crop_with_lzw(shared):
    slide = open_slide(shared / "data" / "composite_hest" / "extra" / "CID1_lzw_crop_384.tif")
    assert slide.levels == ((384, 384), (192, 192)) and slide.stated_um == {"TIFF XResolution": 0.25}
    assert np.abs(slide[::2, ::2].astype(int) - slide.read(1, 0, 192, 0, 192)).mean() < 12


@pytest.mark.parametrize(
    ("pixels", "options", "sentence"),
    [
        (PIXELS.astype(np.uint16), {"photometric": "rgb"}, "pixels are uint16"),
        (PIXELS[..., 0], {"photometric": "minisblack"}, "are no RGB image"),
        (np.zeros((5, 64, 64), np.uint8), {"photometric": "minisblack"}, "are no RGB image"),
        (
            np.zeros((3, 64, 64), np.uint8),
            {"photometric": "minisblack", "metadata": {"axes": "ZYX"}, "ome": 1},
            "no RGB",
        ),
        (
            np.zeros((3, 64, 64), np.uint8),
            {
                "photometric": "minisblack",
                "metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI", "ATP1A1/CD45", "18S"]}},
                "ome": 1,
            },
            "channels are of fluorescence .DAPI, ATP1A1/CD45, 18S.; give the H&E",
        ),
    ],
)
def test_what_is_no_he_is_refused(tmp_path, pixels, options, sentence):
    name = "x.ome.tif" if options.pop("ome", False) else "x.tif"
    with pytest.raises(UserError, match=sentence):
        written(tmp_path / name, pixels, **options)


def test_the_pixel_size_is_that_of_the_image_that_states_one():
    pixels = '<Image><Pixels SizeX="64" SizeY="32"{}/></Image>'
    stated = pixels.format(' PhysicalSizeX="250" PhysicalSizeXUnit="nm"')
    metadata = "<OME>" + pixels.format("") + stated + "</OME>"
    assert ome_pixel_size(ome_images(metadata, 64, 32)) == 0.25
    assert ome_pixel_size(ome_images(metadata, 32, 64)) is None and ome_images("<OME", 64, 32) == []
