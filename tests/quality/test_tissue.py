"""Tissue, blur and ink on real H&E, and on what was done to it."""

import cv2
import numpy as np
import pytest
import shapely
from PIL import Image

from paths import DATA
from quality.changed_samples import tissue_of, with_pixels
from stnuclei.errors import UserError
from stnuclei.quality import TissueMap, channel_problem, draw_tissue
from stnuclei.quality.stain import blue_varies_more
from stnuclei.quality.tissue_map import BACKGROUND, BLURRED, PEN, TISSUE
from stnuclei.slides import open_slide


def cells(tissue, x0, y0, x1, y1, rim=0):
    """Map pixels of a rectangle of he_px."""
    f = tissue.he_px_per_px
    return np.s_[int(y0 / f) + rim : int(y1 / f) - rim, int(x0 / f) + rim : int(x1 / f) - rim]


def share(tissue, what, *box, rim=1):
    return float((tissue.classes[cells(tissue, *box, rim=rim)] == what).mean())


def test_nuclei_lie_on_tissue_and_gaps_do_not(breast, breast_tissue, hest, hest_tissue):
    for sample, tissue in ((breast, breast_tissue), (hest, hest_tissue)):
        centre = shapely.get_coordinates(shapely.centroid(sample.nuclei.geometry.to_numpy()))
        classes = tissue.at(centre)
        assert (classes == TISSUE).mean() > 0.93
        assert (classes == BLURRED).mean() < 0.005
        assert tissue.he_px_per_px == pytest.approx(32) and tissue.um_per_px == 8.0
    assert share(breast_tissue, BACKGROUND, 0, 0, 4360, 64, rim=0) > 0.95  # the mosaic's rim is glass


def test_the_map_covers_the_slide_exactly(breast, breast_tissue):
    height, width = breast.he.shape[:2]
    assert breast_tissue.classes.shape == (-(-height // 32), -(-width // 32))
    assert breast_tissue.at(np.array([[-1.0, 5.0], [5.0, height + 500.0]])).tolist() == [0, 0]
    rows, columns = height // 32, width // 32
    mean = breast.he[: rows * 32, : columns * 32].reshape(rows, 32, columns, 32, 3).mean(axis=(1, 3))
    assert np.abs(breast_tissue.overview[:rows, :columns] - mean).mean() < 2.0  # seen through a coarser level


def test_ink_of_the_real_slides_is_found(shared, breast_tissue, hest_tissue):
    """CoNSeP has a blue tattoo in tile 12 and black dye in tile 2."""
    assert share(breast_tissue, PEN, 2300, 1180, 2600, 1400) > 0.8
    assert share(hest_tissue, PEN, 500, 110, 700, 450) > 0.8
    assert breast_tissue.fraction(PEN) < 0.03 and hest_tissue.fraction(PEN) < 0.07


@pytest.mark.parametrize(
    "colour", [(20, 120, 40), (25, 40, 160), (25, 25, 28), (205, 30, 45)], ids=["green", "blue", "black", "red"]
)
def test_pen_strokes_are_excluded(breast, breast_tissue, colour):
    pixels = breast.he[:].copy()
    stroke = pixels[500:2900, 1150:1750].astype(np.float32)
    pixels[500:2900, 1150:1750] = (stroke / 255 * (0.15 * 255) + 0.85 * np.array(colour)).astype(np.uint8)
    tissue = tissue_of(with_pixels(breast, pixels))
    assert share(tissue, PEN, 1150, 500, 1750, 2900) > 0.9
    outside = tissue.classes.copy()
    outside[cells(tissue, 1150, 500, 1750, 2900, rim=-4)] = 0
    assert (outside == PEN).mean() <= breast_tissue.fraction(PEN) + 0.003


def test_a_blurred_region_is_excluded_and_no_other(shared, breast):
    sharp = breast.he[:]
    boxes = [(90, 90, 1090, 1090), (2210, 2210, 3210, 3210)]
    for sigma_um in (0.75, 1.0, 2.0):
        pixels = sharp.copy()
        for x0, y0, x1, y1 in boxes:
            pixels[y0:y1, x0:x1] = cv2.GaussianBlur(pixels[y0:y1, x0:x1], (0, 0), sigma_um / 0.25)
        tissue = tissue_of(with_pixels(breast, pixels))
        for box in boxes:
            assert share(tissue, BLURRED, *box, rim=3) > 0.9, sigma_um
        for box in ((1150, 90, 2150, 1090), (90, 1150, 1090, 2150), (3270, 1150, 4270, 2150)):
            assert share(tissue, BLURRED, *box, rim=4) < 0.05, sigma_um


def test_sharp_slides_have_no_blur(breast_tissue, hest_tissue):
    assert breast_tissue.fraction(BLURRED) < 0.01 and hest_tissue.fraction(BLURRED) < 0.01


def test_black_that_the_scanner_did_not_see_is_background(breast):
    pixels = breast.he[:].copy()
    height, width = pixels.shape[:2]
    edge = 3 * width // 4
    pixels[:, edge:] = 0
    tissue = tissue_of(with_pixels(breast, pixels))
    assert share(tissue, BACKGROUND, edge + 100, 100, width - 60, height - 100, rim=2) == 1.0


def test_pale_tissue_and_grey_glass(breast, breast_tissue):
    pixels = breast.he[:].astype(np.float32)
    pale = (242 - (242 - pixels) * 0.5).clip(0, 255).astype(np.uint8)
    grey = (pixels * 0.87).astype(np.uint8)
    for changed in (pale, grey):
        tissue = tissue_of(with_pixels(breast, changed))
        both = ((tissue.classes > 0) & (breast_tissue.classes > 0)).sum() / (breast_tissue.classes > 0).sum()
        assert both > 0.85 and abs(tissue.fraction(BACKGROUND) - breast_tissue.fraction(BACKGROUND)) < 0.12


@pytest.mark.parametrize("um_per_px", [4.0, 6.5, 16.0])
def test_other_map_sizes(hest, hest_tissue, um_per_px):
    tissue = tissue_of(hest, um_per_px)
    assert tissue.he_px_per_px == pytest.approx(um_per_px / 0.25)
    assert tissue.classes.shape == tuple(int(np.ceil(side * 0.25 / um_per_px)) for side in hest.he.shape[:2])
    assert abs(tissue.fraction(TISSUE) - hest_tissue.fraction(TISSUE)) < 0.08


def test_saving_and_loading(hest_tissue, tmp_path):
    hest_tissue.save(tmp_path / "t.tif")
    back = TissueMap.load(tmp_path / "t.tif")
    assert np.array_equal(back.classes, hest_tissue.classes) and np.array_equal(back.overview, hest_tissue.overview)
    assert (back.um_per_px, back.he_px_per_px, back.info) == (8.0, 32.0, hest_tissue.info)
    for content in (b"", b"II*\0 no tiff at all"):
        (tmp_path / "bad.tif").write_bytes(content)
        with pytest.raises(UserError, match="bad.tif: is no tissue map"):
            TissueMap.load(tmp_path / "bad.tif")


def test_figure(shared, hest_tissue, tmp_path):
    draw_tissue(hest_tissue, tmp_path / "t.png")
    picture = np.asarray(Image.open(tmp_path / "t.png").convert("RGB")).astype(int)
    assert 500 < picture.shape[0] < 1600 and picture.shape[1] < 1600
    for colour in ((44, 160, 44), (214, 39, 40)):  # tissue's and ink's outlines
        assert (np.abs(picture - colour).sum(axis=2) < 40).sum() > 300


def test_an_empty_slide_is_told(breast):
    glass = np.full((1200, 1500, 3), 243, np.uint8) - np.random.default_rng(0).integers(0, 4, (1200, 1500, 3), np.uint8)
    with pytest.raises(UserError, match=r"^sample a: .*shows no tissue"):
        tissue_of(with_pixels(breast, glass))
    with pytest.raises(UserError, match="tissue.um_per_px 0.3 is finer"):
        tissue_of(breast, um_per_px=0.3)


def test_exchanged_channels_are_named_and_real_slides_pass(breast, breast_tissue):
    assert channel_problem(breast.he, breast.um_per_px, breast_tissue) == ""
    swapped = np.ascontiguousarray(breast.he[:][..., ::-1])
    problem = channel_problem(swapped, breast.um_per_px, breast_tissue)
    assert "red and blue seem to be exchanged (BGR)" in problem and "write the slide as RGB" in problem
    grey = np.repeat(breast.he[:].mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert channel_problem(grey, breast.um_per_px, breast_tissue) == ""


def test_every_real_patch_and_slide_of_the_tests_is_rgb(tmp_path):
    """15 patches of NuCLS and OpenSlide's sample slide: red varies more than blue in each."""
    patches = [cv2.imread(str(path))[..., ::-1] for path in sorted((DATA / "nucls").glob("*_?*.png"))
               if "instances" not in path.name]  # fmt: skip
    slide = open_slide(next((DATA / "openslide").glob("*.svs")))
    for pixels, um in ((np.concatenate(patches, axis=1), 0.25), (slide[:], 0.5)):
        height, width = (int(side * um / 8) for side in pixels.shape[:2])
        small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        tissue = TissueMap((small.mean(axis=2) < 215).astype(np.uint8), 8.0, 8 / um)
        blue, said = blue_varies_more(pixels, um, tissue)
        other, _ = blue_varies_more(np.ascontiguousarray(pixels[..., ::-1]), um, tissue)
        assert blue <= 0.1 * said and other >= 0.9 * said and said > 40
