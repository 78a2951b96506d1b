"""Summary, overview, densities, zooms: numbers against the truth, colours where nuclei are."""

import cv2
import numpy as np
import pandas as pd
import pytest

from export import made_nuclei as made
from stnuclei.drawing.figure import round_length
from stnuclei.drawing.pixels import outline_polygons, stamp_points
from stnuclei.errors import UserError
from stnuclei.export import find_slide, summarise, write_exports
from stnuclei.export.density import density_maps
from stnuclei.export.zooms import choose_windows, nuclei_in
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.quality.tissue_map import TissueMap


def has_colour(picture, color, least):
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    near = np.abs(picture.astype(int) - [blue, green, red]).max(-1) < 12
    return near.sum() >= least


def test_summary_counts_and_divides_by_tissue(segmented):
    table = summarise(segmented).set_index("class")
    frame = NucleiFile(segmented).read()
    assert table.loc["all nuclei", "nuclei"] == 500
    mm2 = 900 * 1200 * 0.75 * 0.0625 / 1e6
    for name, group in frame.groupby("class"):
        row = table.loc[name]
        assert row["nuclei"] == len(group)
        assert row["fraction"] == pytest.approx(len(group) / 500)
        assert row["per_mm2"] == pytest.approx(len(group) / mm2)
        assert row["median_area_um2"] == pytest.approx(group["area_um2"].median(), rel=1e-6)
        assert row["mean_probability"] == pytest.approx(group["class_probability"].mean(), rel=1e-5)
    assert table.index.tolist() == [*made.TAXONOMY.names, "all nuclei"]


def test_all_exports_of_a_folder(segmented):
    made_files = write_exports(segmented, spatialdata=True)
    assert set(made_files) == {"summary", "geojson", "overview", "density", "zooms", "spatialdata"}
    assert all(path.exists() for path in made_files.values())
    table = pd.read_csv(made_files["summary"], sep="\t")
    assert table["nuclei"].iloc[-1] == table["nuclei"].iloc[:-1].sum() == 500
    for name in ("overview", "density", "zooms"):
        picture = cv2.imread(str(made_files[name]))
        assert 300 < max(picture.shape) <= 1600
        if name != "density":
            for color in ("#D55E00", "#009E73", "#0072B2"):
                assert has_colour(picture, color, 100), (name, color)


def test_nothing_of_a_slide_that_is_gone_or_another(segmented, tmp_path):
    (tmp_path / "slide.tif").rename(tmp_path / "moved.tif")
    with pytest.raises(UserError, match="is gone; say where it is now"):
        write_exports(segmented)
    assert "overview" in write_exports(segmented, slide=tmp_path / "moved.tif", geojson=False)
    cv2.imwrite(str(tmp_path / "other.tif"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UserError, match="is another one"):
        write_exports(segmented, slide=tmp_path / "other.tif")


def test_density_is_count_over_tissue_and_empty_outside(segmented):
    nuclei = NucleiFile(segmented)
    maps, side = density_maps(nuclei, TissueMap.load(segmented / "tissue.tif"), bin_um=25.0)
    assert maps.shape == (6, 9, 12)
    assert np.isnan(maps[:, :, 9:]).all()
    assert np.isfinite(maps[:, :, :9]).all()
    frame = nuclei.read()
    counted = ((frame["centroid_x"] // 100 == 3) & (frame["centroid_y"] // 100 == 2)).sum()
    assert maps[0, 2, 3] == pytest.approx(counted / (side**2 / 1e6))
    np.testing.assert_allclose(np.nan_to_num(maps[1:]).sum(0), np.nan_to_num(maps[0]))
    inside = (frame["centroid_x"] < 900).sum()
    assert np.nansum(maps[0]) * side**2 / 1e6 == pytest.approx(inside)


def test_tissue_of_a_bin_is_exact_where_the_map_does_not_fit_the_bins(segmented):
    nuclei = NucleiFile(segmented)
    everywhere = TissueMap(np.ones((113, 150), np.uint8), 2.0, 8.0)
    maps, side = density_maps(nuclei, everywhere, bin_um=17.0)
    plain, _ = density_maps(nuclei, None, bin_um=17.0)
    np.testing.assert_allclose(maps[:, :-1, :-1], plain[:, :-1, :-1], rtol=1e-9)
    smooth, _ = density_maps(nuclei, None, bin_um=10.0, smooth_um=30.0)
    raw, _ = density_maps(nuclei, None, bin_um=10.0)
    inner = np.s_[2:-2, 2:20]  # nuclei stand on a regular grid on the left
    assert np.std(smooth[0][inner]) < 0.5 * np.std(raw[0][inner])
    assert np.nanmean(smooth[0]) == pytest.approx(np.nanmean(raw[0]), rel=0.1)


def test_density_of_a_region_is_by_its_own_area(segmented, tmp_path):
    region = {"settings": {"region": [200.0, 100.0, 500.0, 400.0]}}
    shapes = made.outlines(made.grid(400, 16.0, 20) + [190, 90])
    path = made.write(tmp_path / "r.parquet", shapes, np.ones(400, int), size=(900, 1200), **region)
    maps, _ = density_maps(NucleiFile(path), None, bin_um=25.0)
    assert np.isfinite(maps[0, 1:4, 2:5]).all()
    assert np.isnan(maps[0]).sum() == maps[0].size - 9


def test_a_folder_of_pictures_has_counts_and_geojson_only(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    about = {"width": None, "height": None, "tissue_mm2": None, "source": "pictures"}
    names = ["a.png"] * 6 + ["b.png"] * 4
    made.write(out / "nuclei.parquet", made.outlines(made.grid(10)), np.ones(10, int), image=names, **about)
    files = write_exports(out)
    assert set(files) == {"summary", "geojson"}
    table = summarise(out).set_index("class")
    assert table.loc["Neoplastic", "nuclei"] == 10
    assert np.isnan(table.loc["Neoplastic", "per_mm2"])
    with pytest.raises(UserError, match="no common plane"):
        density_maps(NucleiFile(out))


def test_windows_show_many_classes_and_their_nuclei(segmented):
    nuclei = NucleiFile(segmented)
    boxes = choose_windows(nuclei, 2, 75.0)
    assert len(boxes) == 2
    assert all(box[2] - box[0] == box[3] - box[1] == 300 for box in boxes)
    shapes, class_id = nuclei_in(nuclei, boxes[:1])[0]
    assert len(set(class_id)) >= 2
    assert len(shapes) == len(class_id) >= 64


def test_outlines_and_points_lie_where_they_should():
    pixels = np.full((80, 80, 3), 255, np.uint8)
    (shape,) = made.outlines(np.array([[20.0, 20.0]]), 8)
    outline_polygons(pixels, np.array([shape]), np.array([[213, 94, 0]], np.uint8), 2.0)
    assert (pixels[38:42, 38:42] == 255).all()
    assert (pixels[60:, 60:] == 255).all()
    assert (np.abs(pixels.astype(int) - [213, 94, 0]).max(-1) < 12).sum() > 20
    pixels[:] = 255
    stamp_points(pixels, np.array([[10.5, 70.2], [200.0, 3.0]]), np.array([[1, 2, 3]] * 2, np.uint8), 3)
    assert (pixels[69:72, 9:12] == [1, 2, 3]).all()
    assert (pixels == [1, 2, 3]).all(-1).sum() == 9


@pytest.mark.parametrize(("um", "expected"), [(0.9, 0.5), (10, 10), (99, 50), (340, 300), (2100, 2000)])
def test_round_lengths(um, expected):
    assert round_length(um) == pytest.approx(expected)


def test_no_nuclei_at_all(segmented, tmp_path):
    made.write(
        segmented / "nuclei.parquet",
        made.outlines(made.grid(0)),
        np.zeros(0, int),
        size=(900, 1200),
        slide_path=str(tmp_path / "slide.tif"),
    )
    files = write_exports(segmented)
    assert {"overview", "zooms", "density"} <= set(files)
    assert summarise(segmented)["nuclei"].sum() == 0
    assert find_slide(NucleiFile(segmented)).shape == (900, 1200, 3)
