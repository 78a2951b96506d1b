"""HEST-1k samples: counts from molecules, nuclei from WKB, the metadata table."""

import json

import bundle
import hest_bundle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from stnuclei.errors import UserError
from stnuclei.io import read_sample, select_hest
from stnuclei.io.hest_counts import count_transcripts

TRUE_COUNTS = bundle.counts()[:, : bundle.N_GENES]


@pytest.mark.parametrize("ids", ["integer", "bytes", "text"])
@pytest.mark.parametrize(("tells", "bytes_names"), [("is_gene", False), ("codeword_category", False), ("names", True)])
def test_every_version_counts_the_same(tmp_path, ids, tells, bytes_names):
    folder = hest_bundle.make_hest(tmp_path, "TENX1", ids, tells, bytes_names)
    sample = read_sample("hest", folder, tissue="Colon")
    named = bundle.as_text(bundle.cell_ids(ids))
    assert list(sample.table.obs_names) == (named if ids == "integer" else sorted(named))
    table = sample.table[named].to_df()
    assert np.array_equal(table[[f"GENE{k}" for k in range(bundle.N_GENES)]], TRUE_COUNTS)
    assert list(sample.nuclei["cell_id"]) == named[:-2]
    assert np.allclose(sample.table[named].obsm["spatial"][:-2], bundle.he_centres()[:-2], atol=1.0)
    # Cells without a nucleus lie where their molecules are.
    assert np.allclose(sample.table[named].obsm["spatial"][-2:], bundle.he_centres()[-2:], atol=6.0)
    assert sample.um_per_px == bundle.HE_UM and sample.table.X.dtype == np.int32
    counted = sample.provenance["transcripts"]
    assert (counted["low_quality"], counted["control"], counted["unassigned"]) == (30, 30, 30)
    assert np.allclose(sample.he_to_morphology, bundle.MATRIX, atol=1e-6)


def test_batches_do_not_matter(good_hest, monkeypatch):
    import stnuclei.io.hest_counts as module

    path = good_hest / "transcripts" / "TENX1_transcripts.parquet"
    whole = count_transcripts(path)
    small = module.batches
    monkeypatch.setattr(module, "batches", lambda p, columns: small(p, columns, rows=37))
    monkeypatch.setattr(module, "_PENDING", 50)
    parts = count_transcripts(path)
    assert list(parts.cells) == list(whole.cells) and (parts.counts != whole.counts).nnz == 0
    assert np.allclose(parts.centres, whole.centres)


def test_quality_limit(good_hest):
    path = good_hest / "transcripts" / "TENX1_transcripts.parquet"
    assert count_transcripts(path, 20).counts.sum() == TRUE_COUNTS.sum()
    assert count_transcripts(path, 0).counts.sum() == TRUE_COUNTS.sum() + 30
    with pytest.raises(UserError, match="none of its .* is a gene in a cell with qv >= 99"):
        count_transcripts(path, 99)


def test_a_cell_with_a_nucleus_and_no_molecule_counts_zero(tmp_path):
    folder = hest_bundle.make_hest(tmp_path)
    path = folder / "transcripts" / "TENX1_transcripts.parquet"
    table = pq.read_table(path)
    lost = bundle.as_text(bundle.cell_ids("text"))[10]
    pq.write_table(table.filter(pa.compute.not_equal(table["cell_id"], lost)), path)
    sample = read_sample("hest", folder)
    assert sample.table.n_obs == bundle.N_CELLS and sample.table[lost].X.sum() == 0
    assert "1 cells have a nucleus but not one transcript" in sample.provenance["warnings"][0]


def test_two_nuclei_in_one_broken_outline_become_two(tmp_path):
    folder = hest_bundle.make_hest(tmp_path)
    path = folder / "xenium_seg" / "TENX1_xenium_nucleus_seg.parquet"
    import pandas as pd

    frame = pd.read_parquet(path)
    rings = [shapely.get_coordinates(shapely.from_wkb(frame["geometry"].iloc[k])) for k in (0, 1)]
    frame.loc[frame.index[0], "geometry"] = shapely.to_wkb(shapely.Polygon(np.vstack(rings)))
    frame.to_parquet(path)
    sample = read_sample("hest", folder)
    assert (sample.nuclei["cell_id"] == frame.index[0]).sum() == 2 and sample.nuclei.is_valid.all()


def test_which_sample_of_the_folder(tmp_path):
    for key in ("TENX1", "NCBI2"):
        hest_bundle.make_hest(tmp_path, key)
    assert read_sample("hest", tmp_path, id="NCBI2").provenance["id"] == "NCBI2"
    assert read_sample("hest", tmp_path, sample="TENX1").provenance["id"] == "TENX1"
    with pytest.raises(UserError, match="several samples are in it and none is called so; name one of NCBI2, TENX1"):
        read_sample("hest", tmp_path, sample="liver")
    with pytest.raises(UserError, match="id TENX9 is not in it"):
        read_sample("hest", tmp_path, sample="TENX1", id="TENX9")


def test_pixel_size_is_the_estimated_one(tmp_path):
    folder = hest_bundle.make_hest(tmp_path)
    path = folder / "metadata" / "TENX1.json"
    metadata = json.loads(path.read_text())
    record = read_sample("hest", folder).provenance["pixel_size"]
    assert record["derived_from"].endswith("pixel_size_um_estimated") and len(record["stated"]) == 2
    path.write_text(json.dumps(metadata | {"pixel_size_um_estimated": 0.2738}))
    with pytest.raises(UserError, match=r"0.2738 by TENX1.json pixel_size_um_estimated, 0.2500 by TENX1_transcripts"):
        read_sample("hest", folder)
    # Without it, the two frames of the transcripts say it.
    path.write_text(json.dumps(metadata | {"pixel_size_um_estimated": float("nan")}))
    assert read_sample("hest", folder).um_per_px == pytest.approx(0.25)


def test_a_warped_sample_keeps_its_nuclei(tmp_path):
    """HEST-1k warps some samples: no affine joins the frames, the nuclei are in H&E pixels already."""
    folder = hest_bundle.make_hest(tmp_path)
    path = folder / "transcripts" / "TENX1_transcripts.parquet"
    table = pq.read_table(path)
    x = table["he_x"].to_numpy()
    bent = table.set_column(table.column_names.index("he_x"), "he_x", pa.array(x + 4 * np.sin(x / 60)))
    pq.write_table(bent, path)
    sample = read_sample("hest", folder)
    assert sample.provenance["alignment"]["affine_residual_um"] > 0.3
    assert np.allclose(
        sample.nuclei.total_bounds, read_sample("hest", hest_bundle.make_hest(tmp_path / "b")).nuclei.total_bounds
    )


# --- which samples -------------------------------------------------------------------------------------------------


def test_the_real_table_has_65_xenium_samples(shared):
    table = shared / "data" / "hest_metadata_v1_1_0" / "HEST_v1_1_0.csv"
    rows = select_hest(table)
    assert len(rows) == 65 and set(rows["st_technology"]) == {"Xenium"}
    assert rows.loc[rows["id"] == "TENX117", "pixel_size_um_estimated"].item() == pytest.approx(0.136853, rel=1e-4)
    assert len(select_hest(table, organs=["breast"])) > 3 and len(select_hest(table, technology="Visium HD")) > 0


#: Rows in the form of HEST-1k's table.
TABLE = """\
id,organ,st_technology,species,pixel_size_um_estimated
TENX117,Skin,Xenium,Homo sapiens,0.1369
TENX95,Breast,Xenium,Homo sapiens,0.2125
NCBI784,Breast,Xenium,Homo sapiens,0.3638
MEND139,Prostate,Visium,Homo sapiens,0.5
TENX62,Brain,Xenium,Mus musculus,0.2125
TENX131,Lung,Visium HD,Homo sapiens,0.27
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "HEST.csv").write_text(TABLE)
    return tmp_path / "HEST.csv"


def test_by_organ_id_and_species(table):
    assert list(select_hest(table, organs=["breast"])["id"]) == ["TENX95", "NCBI784"]
    assert list(select_hest(table, ids=["TENX117", "tenx95"])["id"]) == ["TENX117", "TENX95"]
    assert list(select_hest(table, species="Mus musculus")["id"]) == ["TENX62"]
    assert list(select_hest(table, technology="Visium HD")["id"]) == ["TENX131"]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"ids": ["TENX9999"]}, "column id: TENX9999 is not among"),
        ({"organs": ["Breats"]}, "column organ: Breats is not in it; known: .*Breast"),
        ({"ids": ["MEND139"]}, "MEND139 is (Visium|Spatial Transcriptomics), not Xenium"),
        ({"organs": ["Breast"], "species": "Danio rerio"}, "no Xenium sample fits"),
    ],
)
def test_a_choice_that_cannot_be_is_told(table, choice, sentence):
    with pytest.raises(UserError, match=sentence):
        select_hest(table, **choice)


def test_another_table_is_told(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no column id, organ, st_technology"):
        select_hest(tmp_path / "x.csv")
    with pytest.raises(UserError, match="cannot be read"):
        select_hest(tmp_path / "none.csv")
