"""Raw folders of other platforms: the same cells, counts and outlines as spatialdata_io reads, on the H&E."""

import numpy as np
import pandas as pd
import pytest
import shapely
from platforms import (
    CENTRES,
    COSMX_UM,
    GENES,
    HE,
    TO_GLOBAL,
    apply,
    counts,
    make_cosmx,
    make_merscope,
    make_visium_hd,
    nuclear_counts,
)

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
    import spatialdata_io
    from spatialdata import get_centroids

    folder, order = make_cosmx(tmp_path / "run")
    sample = read_sample("cosmx", folder, sample="c", tissue="Breast")
    check(sample, order, 0.6)  # outlines are traced on pixels of 0.12 um
    expected = counts([*GENES, "a", "b"])[order]
    assert np.array_equal(sample.table.X.toarray(), expected[:, :4])
    assert sample.table.obs["control_counts"].tolist() == expected[:, 4:].sum(axis=1).tolist()
    assert {"1_1", "1_2"} <= set(sample.table.obs_names)
    theirs = spatialdata_io.cosmx(folder, transcripts=False)
    assert list(theirs["table"].obs_names) == list(sample.table.obs_names)
    assert np.array_equal(theirs["table"][:, list(GENES)].X.toarray(), sample.table.X.toarray())
    to_he, nuclei = np.linalg.inv(TO_GLOBAL), sample.nuclei.set_index("cell_id")
    for name, labels in theirs.labels.items():
        centre = get_centroids(labels, "global").compute().drop(index=0, errors="ignore")
        cells = [f"{cell}_{name.split('_')[0]}" for cell in centre.index]
        ours = shapely.get_coordinates(shapely.centroid(nuclei.loc[cells].geometry.to_numpy()))
        assert np.abs(apply(to_he, centre[["x", "y"]].to_numpy()) - ours).max() < 0.6
        px = np.bincount(np.asarray(labels).ravel())[centre.index.to_numpy()]
        assert np.abs(nuclei.loc[cells].area * (0.25 / COSMX_UM) ** 2 / px - 1).max() < 0.03
    assert len(nuclei) == sum(len(np.unique(labels)) - 1 for labels in theirs.labels.values())


def test_cosmx_without_areas_asks_for_the_pixel_size(tmp_path):
    folder, order = make_cosmx(tmp_path / "run", areas=False)
    with pytest.raises(UserError, match=r"^sample c: .*metadata_file has no Area.um2 .*he_um_per_px"):
        read_sample("cosmx", folder, sample="c")
    check(read_sample("cosmx", folder, sample="c", he_um_per_px=0.25), order, 0.6)


def test_visium_hd(tmp_path):
    import spatialdata_io

    folder = make_visium_hd(tmp_path / "run")
    sample = read_sample("visium_hd", folder, sample="v", tissue="Breast")
    check(sample, np.arange(len(CENTRES)), 1e-6)
    assert np.array_equal(sample.table.X.toarray(), counts())
    assert np.allclose(sample.nuclei.area, shapely.Point(0, 0).buffer(8.0).area)
    with pytest.raises(UserError, match="Visium HD nuclei are in H&E pixels already"):
        read_sample("visium_hd", folder, he_alignment="identity")
    options = {"load_segmentations_only": True, "load_nucleus_segmentations": True, "gex_only": True}
    theirs = spatialdata_io.visium_hd(folder, **options)
    cells, nuclei = theirs["cell_segmentations"], theirs["_nucleus_segmentations"]
    assert list(cells.obs_names) == list(sample.table.obs_names) == list(nuclei.index)
    assert np.array_equal(cells.X.toarray(), sample.table.X.toarray())
    assert shapely.equals_exact(nuclei.geometry.to_numpy(), sample.nuclei.geometry.to_numpy(), 1e-9).all()


def test_visium_hd_counts_of_nuclei_and_outlines_of_cells_are_chosen_by_column(tmp_path):
    folder = make_visium_hd(tmp_path / "run")
    nuclei, cells = "nucleus_segmentations", "cell_segmentations"
    sample = read_sample("visium_hd", folder, sample="v", table_element=nuclei)
    order = [int(name[7:16]) - 1 for name in sample.table.obs_names]
    assert sorted(order) == list(range(len(CENTRES)))
    assert np.array_equal(sample.table.X.toarray(), nuclear_counts()[order])
    grown = read_sample("visium_hd", folder, sample="v", nuclei_element=cells)
    assert np.allclose(grown.nuclei.area, shapely.Point(0, 0).buffer(14.0).area)
    assert np.array_equal(grown.table.X.toarray(), counts())
    with pytest.raises(UserError, match=r"has no 'spots' \(column table_element\); it has nucleus_seg.*, cell_seg"):
        read_sample("visium_hd", folder, table_element="spots")


@pytest.mark.parametrize("platform", ["cosmx", "merscope", "visium_hd"])
def test_columns_of_elements_that_do_not_apply_are_refused(tmp_path, platform):
    """CosMx and MERSCOPE have one element of each kind, and the H&E of a raw folder is a file."""
    columns = ["he_element"] if platform == "visium_hd" else ["he_element", "nuclei_element", "table_element"]
    for column in columns:
        with pytest.raises(UserError, match=rf"^sample s: option {column} belongs to platform spatialdata"):
            read_sample(platform, tmp_path, sample="s", **{column: "x"})


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
