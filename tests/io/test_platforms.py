"""Raw folders of other platforms: the same cells, counts and outlines as spatialdata_io reads, on the H&E."""

import numpy as np
import pandas as pd
import pytest
import shapely
from platforms import CENTRES, GENES, HE, counts, make_cosmx, make_merscope, make_visium_hd

from stnuclei.errors import UserError
from stnuclei.io import open_sample, read_sample, write_sample
from stnuclei.patches import cut_patches


def centroids(sample):
    """Mean centre of each cell's nuclei, he_px, in the table's order."""
    centre = sample.nuclei.geometry.centroid
    frame = pd.DataFrame({"x": centre.x, "y": centre.y}).groupby(sample.nuclei["cell_id"]).mean()
    return frame.loc[sample.table.obs_names].to_numpy()


def check(sample, order, tolerance):
    """Cells in the order of the folder, with their counts, lying on their nuclei."""
    assert sample.he.shape == (*HE, 3) and sample.um_per_px == pytest.approx(0.25, rel=1e-6)
    assert list(sample.table.var_names) == list(GENES) and sample.table.X.dtype == np.int32
    assert sample.table.n_obs == len(sample.nuclei) == len(CENTRES)
    assert np.abs(centroids(sample) - CENTRES[order]).max() < tolerance
    assert np.abs(sample.table.obsm["spatial"] - CENTRES[order]).max() < tolerance


def test_merscope(tmp_path):
    import spatialdata_io

    folder = make_merscope(tmp_path)
    sample = read_sample("merscope", folder, sample="m", tissue="Breast")
    check(sample, np.arange(len(CENTRES)), 1e-3)
    assert np.array_equal(sample.table.X.toarray(), counts([*GENES, "a", "b"])[:, :4])
    assert sample.table.obs["control_counts"].tolist() == counts([*GENES, "a", "b"])[:, 4:].sum(axis=1).tolist()
    theirs = spatialdata_io.merscope(folder, transcripts=False, mosaic_images=False)
    assert list(theirs["table"].obs_names.astype(str)) == list(sample.table.obs_names)
    assert np.array_equal(np.asarray(theirs["table"].X), sample.table.X.toarray())
    assert np.allclose(sample.nuclei.area * 0.25**2, next(iter(theirs.shapes.values())).area.to_numpy(), rtol=1e-6)
    assert sample.provenance["platform"] == "merscope" and not sample.provenance["warnings"]


def test_cosmx(tmp_path):
    folder, order = make_cosmx(tmp_path / "run")
    sample = read_sample("cosmx", folder, sample="c", tissue="Breast")
    check(sample, order, 0.6)  # outlines are traced on pixels of 0.12 um
    expected = counts([*GENES, "a", "b"])[order]
    assert np.array_equal(sample.table.X.toarray(), expected[:, :4])
    assert sample.table.obs["control_counts"].tolist() == expected[:, 4:].sum(axis=1).tolist()
    assert {"1_1", "1_2"} <= set(sample.table.obs_names)


def test_cosmx_without_areas_asks_for_the_pixel_size(tmp_path):
    folder, order = make_cosmx(tmp_path / "run", areas=False)
    with pytest.raises(UserError, match=r"^sample c: .*metadata_file has no Area.um2 .*he_um_per_px"):
        read_sample("cosmx", folder, sample="c")
    check(read_sample("cosmx", folder, sample="c", he_um_per_px=0.25), order, 0.6)


def test_visium_hd(tmp_path):
    folder = make_visium_hd(tmp_path / "run")
    sample = read_sample("visium_hd", folder, sample="v", tissue="Breast")
    check(sample, np.arange(len(CENTRES)), 1e-6)
    assert np.array_equal(sample.table.X.toarray(), counts())
    assert np.allclose(sample.nuclei.area, shapely.Point(0, 0).buffer(8.0).area)
    with pytest.raises(UserError, match="Visium HD nuclei are in H&E pixels already"):
        read_sample("visium_hd", folder, he_alignment="identity")


@pytest.mark.parametrize("platform", ["merscope", "cosmx", "visium_hd"])
def test_the_rest_of_the_way_is_the_same(tmp_path, platform):
    made = {"merscope": make_merscope, "cosmx": lambda path: make_cosmx(path)[0], "visium_hd": make_visium_hd}
    sample = read_sample(platform, made[platform](tmp_path / "run"), sample="s", tissue="Breast")
    write_sample(sample, tmp_path / "s.zarr")
    again = open_sample(tmp_path / "s.zarr")
    assert (again.table.X != sample.table.X).nnz == 0
    assert cut_patches(again, tmp_path / "patches.zarr")["nuclei_placed"] == len(CENTRES)


@pytest.mark.parametrize(
    ("platform", "lost", "says"),
    [
        ("merscope", "cell_by_gene.csv", "holds no cell_by_gene.csv; give the output folder of merscope"),
        ("merscope", "he_imagealignment.csv", "no H&E alignment"),
        ("cosmx", "Run_exprMat_file.csv", r"holds no \*_exprMat_file.csv"),
        ("visium_hd", "segmented_outputs/nucleus_segmentations.geojson", "holds no segmented_outputs/nucleus_seg"),
    ],
)
def test_what_is_missing_is_told(tmp_path, platform, lost, says):
    made = {"merscope": make_merscope, "cosmx": lambda path: make_cosmx(path)[0], "visium_hd": make_visium_hd}
    folder = made[platform](tmp_path / "run")
    (folder / lost).unlink()
    with pytest.raises(UserError, match=f"^sample s7: .*{says}"):
        read_sample(platform, folder, sample="s7")


def test_a_damaged_table_is_told(tmp_path):
    folder = make_merscope(tmp_path)
    (folder / "cell_by_gene.csv").write_text("")
    with pytest.raises(UserError, match=r"^sample s7: .*spatialdata_io.merscope cannot read it"):
        read_sample("merscope", folder, sample="s7")
