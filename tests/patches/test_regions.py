"""Regions drawn on a slide restrict patches and labels, and are drawn for the report."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import shapely
import tifffile
from anndata import AnnData

from samples import make_sample
from stnuclei.errors import UserError
from stnuclei.io.regions import read_regions
from stnuclei.labels import Labels, cell_table, restrict_labels
from stnuclei.patches import PatchStore, cut_patches
from stnuclei.quality import draw_regions
from stnuclei.slides import open_slide

SIDE = 1024


def feature(x0, y0, x1, y1, name=None):
    properties = {} if name is None else {"classification": {"name": name}}
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(shapely.box(x0, y0, x1, y1)),
        "properties": properties,
    }


def write(path, *features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def sample():
    """One nucleus in the middle of each of 4 x 4 patches."""
    centres = np.array([(128 + 256 * c, 128 + 256 * r) for r in range(4) for c in range(4)], float)
    names = [f"c{k}" for k in range(16)]
    table = AnnData(np.ones((16, 1), np.float32), obs=pd.DataFrame({"cell_id": names}, index=names))
    outlines = [shapely.Point(xy).buffer(10) for xy in centres]
    return make_sample("s", np.full((SIDE, SIDE, 3), 200, np.uint8), table, outlines, names)


def kept(tmp_path, *features):
    regions = read_regions(write(tmp_path / "r.geojson", *features))
    counts = cut_patches(sample(), tmp_path / "p.zarr", regions=regions)
    return PatchStore(tmp_path / "p.zarr"), counts


def columns_rows(store):
    return {(x // 256, y // 256) for x, y in store.origin.tolist()}


def test_patches_lie_in_the_regions_and_losses_are_counted(tmp_path):
    store, counts = kept(tmp_path, feature(0, 0, 512, 1024, "Tumor"), feature(0, 0, 200, 200, "Ignore*"))
    assert columns_rows(store) == {(x, y) for x in (0, 1) for y in range(4)} - {(0, 0)}
    assert counts["dropped"] == {"outside the regions": 9} and counts["nuclei_lost"] == {"outside the regions": 9}
    assert store.attrs["settings"]["regions"] == ["Ignore*", "Tumor"]


def test_regions_to_leave_out_alone_keep_the_rest(tmp_path):
    store, counts = kept(tmp_path, feature(0, 0, 1024, 500, "exclude"))
    assert columns_rows(store) == {(x, y) for x in range(4) for y in (2, 3)}
    assert counts["patches"] == 8


def test_unclassified_regions_are_kept_to(tmp_path):
    store, _ = kept(tmp_path, feature(300, 300, 480, 480))
    assert columns_rows(store) == {(1, 1)}


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file of regions"):
        read_regions(tmp_path / "gone.geojson")
    with pytest.raises(UserError, match="holds no region"):
        read_regions(write(tmp_path / "empty.geojson"))
    regions = read_regions(write(tmp_path / "r.geojson", feature(5000, 5000, 5100, 5100)))
    with pytest.raises(UserError, match=r"sample s: none of its 16 patches is kept \(16 outside the regions\)"):
        cut_patches(sample(), tmp_path / "p.zarr", regions=regions)


def test_a_name_that_is_not_known_is_refused_with_the_known_ones(tmp_path):
    path = write(tmp_path / "r.geojson", feature(0, 0, 500, 500, "Tumur"))
    with pytest.raises(UserError, match=r"r\.geojson: region 'Tumur' is not known \(tumour, .*normal, .*exclude, .*\)"):
        read_regions(path)
    assert read_regions(path, ["tumur"]).names == ("Tumur",)


def test_labels_are_restricted_to_regions_and_normal_tissue_has_no_tumour(tmp_path):
    features = [
        feature(0, 0, 512, 1024, "Tumor"),
        feature(512, 0, 768, 1024, "Normal"),
        feature(0, 0, 200, 200, "Ignore*"),
    ]
    regions = read_regions(write(tmp_path / "r.geojson", *features))
    names = np.array(["Neoplastic", "Inflammatory", "Neoplastic", "Neoplastic"] * 4)
    alternatives = np.array(["", "", "Neoplastic|Epithelial|Connective", ""] * 4)
    cells = cell_table([f"c{k}" for k in range(16)], names, np.full(16, 0.9), np.arange(16) % 3, alternatives)
    xy = np.array([(128 + 256 * c, 128 + 256 * r) for r in range(4) for c in range(4)], float)
    out = restrict_labels(Labels(cells, pd.DataFrame(), {"warnings": ["w"]}), xy, regions)
    expected = [["Neoplastic", "Inflammatory", "Epithelial", "Unknown"] for _ in range(4)]
    expected[0][0] = "Unknown"
    assert out.cells["label"].tolist() == np.ravel(expected).tolist()
    assert out.cells["alternatives"].tolist() == ["", "", "Epithelial|Connective", ""] * 4
    assert (out.cells["confidence"] == 0).tolist() == (out.cells["label"] == "Unknown").tolist()
    assert out.cells["cluster"].tolist() == cells["cluster"].tolist() and cells["label"].tolist() == names.tolist()
    assert out.info["regions"] == {"outside": 5, "normal": 4}
    assert out.info["warnings"][1] == (
        "regions: 5 of 16 cells lie outside and are Unknown; 4 Neoplastic cells in normal tissue are Epithelial"
    )


def test_regions_are_drawn_on_the_slide(tmp_path):
    regions = read_regions(
        write(tmp_path / "r.geojson", feature(0, 0, 512, 1024, "Tumor"), feature(0, 0, 200, 200, "Ignore*"))
    )
    pixels = np.full((SIDE, SIDE, 3), 230, np.uint8)
    tifffile.imwrite(tmp_path / "he.tif", pixels, photometric="rgb", tile=(256, 256))
    draw_regions(open_slide(tmp_path / "he.tif"), 0.25, regions, tmp_path / "regions.png")
    pixels = cv2.imread(str(tmp_path / "regions.png"))[..., ::-1].astype(int)
    tumour = np.abs(pixels - (0xD5, 0x5E, 0x00)).sum(axis=2) < 30
    rows, columns = np.nonzero(tumour[: int(0.9 * len(pixels))])  # without the legend
    assert np.ptp(rows) > 1.6 * np.ptp(columns) > 200  # half of the slide, the upper left corner to the lower edge
    assert ((pixels < 60).all(axis=2)).sum() > 200  # the hatch of what is left out


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "Exclude"}},
        {"classification": "exclude"},
        {"classification": {"names": ["Ignore*"]}},
        {"class": "artifact"},
        {"name": "excluded"},
    ],
)
def test_a_region_to_leave_out_is_one_however_its_class_is_written(tmp_path, properties):
    left_out = {**feature(0, 0, 100, 100), "properties": properties}
    regions = read_regions(write(tmp_path / "r.geojson", feature(0, 0, 500, 500, "Tumor"), left_out))
    assert regions.contains(np.array([[50.0, 50.0], [300.0, 300.0]])).tolist() == [False, True]


def test_a_class_of_several_parts_that_is_not_known_is_refused(tmp_path):
    drawn = {**feature(0, 0, 100, 100), "properties": {"classification": {"names": ["Tumor", "Necrosis"]}}}
    with pytest.raises(UserError, match="region 'Tumor: Necrosis' is not known"):
        read_regions(write(tmp_path / "r.geojson", drawn))
