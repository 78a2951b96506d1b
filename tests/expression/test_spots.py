"""Spots of HEST-1k: patches round them in the same store, and their counts."""

import json

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import tifffile

from paths import DATA
from real_pixels import PATCHES, mosaic
from stnuclei.errors import UserError
from stnuclei.expression import cut_spots, patch_table, read_spots, spatial_genes, spot_counts
from stnuclei.patches import PatchStore
from stnuclei.slides import open_slide


@pytest.fixture(scope="module")
def spot_table():
    """54 spots 100 um apart, each the sum of 70 real cells; neighbours in a row have cells of like type."""
    cells = ad.read_h5ad(DATA / "janesick_breast" / "rep1_matched_3878cells_313genes.h5ad")
    alike = np.argsort(cells.obs["cell_type"].to_numpy().astype(str), kind="stable")[: 54 * 70]
    member = sp.csr_matrix((np.ones(54 * 70), (np.repeat(np.arange(54), 70), alike)), (54, cells.n_obs))
    controls = sp.csr_matrix(np.tile([3.0, 1.0], (54, 1)))
    table = ad.AnnData(sp.hstack([member @ sp.csr_matrix(cells.X), controls]).tocsr().astype(np.float32))
    table.var_names = [*cells.var_names, "UnassignedCodeword_0178", "NegControlProbe_00042"]
    table.obs["in_tissue"] = 1
    table.obsm["spatial"] = 200.0 + 400.0 * np.column_stack([np.arange(54) % 9, np.arange(54) // 9])
    table.uns["spatial"] = {"ST": {"scalefactors": {"spot_diameter_fullres": 400.0}}}
    return table


@pytest.fixture
def hest(spot_table, tmp_path):
    """A sample of spots as HEST-1k has them: real pixels, real counts."""
    folder = tmp_path / "hest"
    for part in ("st", "metadata", "wsis"):
        (folder / part).mkdir(parents=True)
    spot_table.write_h5ad(folder / "st" / "CID1.h5ad")
    metadata = {"id": "CID1", "pixel_size_um_estimated": 0.25, "spot_diameter": 100.0, "inter_spot_dist": 100.0}
    (folder / "metadata" / "CID1.json").write_text(json.dumps(metadata))
    pixels = np.tile(mosaic(PATCHES["nucls_held_out"])[0], (2, 2, 1))[:2400, :3600]
    tifffile.imwrite(folder / "wsis" / "CID1.tif", pixels, photometric="rgb", tile=(256, 256), compression="lzw")
    return folder


def test_spots_are_read_without_controls(hest):
    spots = read_spots(hest, "CID1", "liver_1")
    assert spots.counts.shape[0] == len(spots.xy) == 54
    assert len(spots.genes) == 313 and "EPCAM" in spots.genes
    assert (spots.um_per_px, spots.diameter_um, spots.distance_um) == (0.25, 100.0, 100.0)
    table = ad.read_h5ad(hest / "st" / "CID1.h5ad")
    gene = list(spots.genes).index("EPCAM")
    assert np.array_equal(spots.counts[:, gene].toarray().ravel(), np.asarray(table[:, "EPCAM"].X.todense()).ravel())


def test_each_patch_is_centred_on_its_spot(hest, tmp_path):
    spots = read_spots(hest, "CID1")
    cut_spots(spots, tmp_path / "patches.zarr", tissue="Colon", um_per_px=0.5, size=224)
    store = PatchStore(tmp_path / "patches.zarr")
    assert (len(store), store.patch_px, store.um_per_px, store.tissues) == (54, 224, 0.5, ["Colon"])
    assert np.allclose((store.origin + 112) * 0.5, spots.xy * 0.25, atol=0.5)
    assert not store.instances[0].any() and store.offset[-1] == 0
    # 2 x 2 slide pixels to one: the middle of the patch is the mean of the slide round the spot
    x, y = spots.xy[20].astype(int)
    slide = open_slide(hest / "wsis" / "CID1.tif")[y - 40 : y + 40, x - 40 : x + 40].astype(float)
    small = slide.reshape(40, 2, 40, 2, 3).mean((1, 3))
    assert np.abs(store.image[20][92:132, 92:132] - small).max() <= 1


def test_the_table_of_spots_has_their_neighbours(hest, tmp_path):
    spots = read_spots(hest, "CID1")
    cut_spots(spots, tmp_path / "patches.zarr", tissue="Colon")
    table = patch_table(PatchStore(tmp_path / "patches.zarr"), spot_counts(spots), spots.genes, donor="d", controls=2)
    assert table.shape == (54, 315) and (table.obs["n_cells"] == -1).all()
    assert table.obs["total_counts"].sum() == spots.counts.sum()
    index = spatial_genes(table)["moran_i"].dropna()  # a gene no spot holds has none
    assert len(index) > 300 and index.between(-1, 1).all() and index.mean() > 0


def test_broken_spots_are_told(hest, tmp_path):
    with pytest.raises(UserError, match="patches of 56 um do not hold a spot of 100 um"):
        cut_spots(read_spots(hest, "CID1"), tmp_path / "p.zarr", tissue="Colon", size=112)
    with pytest.raises(UserError, match="ID9.h5ad is not there; download st of sample ID9"):
        read_spots(hest, "ID9")
    path = hest / "metadata" / "CID1.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "pixel_size_um_estimated": float("nan")}))
    with pytest.raises(UserError, match="pixel_size_um_estimated is not said"):
        read_spots(hest, "CID1")
    path.write_text(json.dumps({**metadata, "spot_diameter": None}))
    assert read_spots(hest, "CID1").diameter_um == 100.0  # spot_diameter_fullres of the table
    table = ad.read_h5ad(hest / "st" / "CID1.h5ad")
    table.obsm["spatial"] = table.obsm["spatial"] + 2500
    table.write_h5ad(hest / "st" / "CID1.h5ad")
    with pytest.raises(UserError, match="spots lie off the slide"):
        read_spots(hest, "CID1")
