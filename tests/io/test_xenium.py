"""Xenium bundles of every layout end in the same sample; real tables read."""

import json

import bundle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import shapely

from paths import DATA
from stnuclei.errors import UserError
from stnuclei.io import matrix as matrix_module
from stnuclei.io import read_sample, xenium
from stnuclei.io.cells import read_cells
from stnuclei.io.experiment import find_morphology, parse_version, read_experiment
from stnuclei.io.matrix import read_matrix, take_columns
from stnuclei.io.tables import batches, read_columns, texts

TRUE_COUNTS = bundle.counts()[:, : bundle.N_GENES]


@pytest.mark.parametrize("version", bundle.LAYOUTS)
@pytest.mark.parametrize(("tables", "matrix"), [("parquet", "h5"), ("csv", "mex")])
def test_every_layout_reads_the_same(tmp_path, version, tables, matrix):
    layout = bundle.LAYOUTS[version]
    sample = read_sample("xenium", bundle.make_bundle(tmp_path / "run", version, tables, matrix), tissue="Colon")
    ids = bundle.as_text(bundle.cell_ids(layout["ids"]))
    assert list(sample.table.obs_names) == list(sample.table.obs["cell_id"]) == ids
    assert all(isinstance(one, str) for one in sample.table.obs["cell_id"])
    assert np.array_equal(sample.table.X.toarray(), TRUE_COUNTS) and sample.table.X.dtype == np.int32
    assert list(sample.table.var_names) == [f"GENE{k}" for k in range(bundle.N_GENES)]
    assert np.allclose(sample.table.obsm["spatial"], bundle.he_centres())
    owners = bundle.owners(layout["labels"])
    assert list(sample.nuclei["cell_id"]) == [ids[row] for row in owners]
    own = shapely.points(bundle.he_centres()[owners])
    assert shapely.contains(sample.nuclei.geometry.to_numpy(), own)[1:].all()
    assert sample.nuclei.geom_type.eq("Polygon").all()
    assert sample.um_per_px == pytest.approx(bundle.HE_UM, rel=1e-6)
    assert sample.provenance["software"] == layout.get("ranger", layout["software"])
    assert sample.provenance["morphology"]["shape"] == (900, 760)


def test_a_cell_may_own_several_nuclei_and_none(tmp_path):
    sample = read_sample("xenium", bundle.make_bundle(tmp_path / "run"))
    n = sample.nuclei["cell_id"].value_counts().reindex(sample.table.obs_names).fillna(0).astype(int)
    assert list(n) == list(sample.table.obs["nucleus_count"])
    assert (n.iloc[0], n.iloc[-1]) == (2, 0)


def test_two_nuclei_of_a_cell_without_label_id_are_taken_apart(tmp_path):
    """The first builds of XOA 2.0 wrote no label_id."""
    folder = bundle.make_bundle(tmp_path / "run")
    path = folder / "nucleus_boundaries.parquet"
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(path).drop_columns(["label_id"]), path)
    sample = read_sample("xenium", folder)
    first = sample.nuclei[sample.nuclei["cell_id"] == sample.table.obs_names[0]]
    assert len(first) == 2
    assert first.geometry.is_valid.all()


def test_proteins_are_kept_apart_and_scaled(tmp_path):
    sample = read_sample("xenium", bundle.make_bundle(tmp_path / "run", "4.0", proteins=True))
    assert sample.table.n_vars == bundle.N_GENES
    protein = sample.table.obsm["protein"]
    assert list(protein.columns) == ["CD8"]
    assert np.allclose(protein["CD8"], bundle.counts()[:, bundle.N_GENES + 5] / 10)


def test_controls_are_counted_but_no_genes(tmp_path):
    for version, n in (("1.0", 3), ("3.0", 5)):
        sample = read_sample("xenium", bundle.make_bundle(tmp_path / version, version))
        expected = bundle.counts()[:, bundle.N_GENES : bundle.N_GENES + n].sum(axis=1)
        assert np.array_equal(sample.table.obs["control_counts"], expected)


def test_the_matrix_is_put_into_the_cells_order_by_id(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run", matrix="mex")
    import gzip

    import scipy.io
    import scipy.sparse as sp

    path = folder / "cell_feature_matrix"
    names = gzip.open(path / "barcodes.tsv.gz", "rt").read().split()
    order = np.random.default_rng(0).permutation(len(names))
    with gzip.open(path / "barcodes.tsv.gz", "wt") as file:
        file.writelines(f"{names[k]}\n" for k in order)
    with gzip.open(path / "matrix.mtx.gz", "rb") as file:
        matrix = scipy.io.mmread(file)
    with gzip.open(path / "matrix.mtx.gz", "wb") as file:
        scipy.io.mmwrite(file, sp.csc_matrix(matrix)[:, order])
    assert np.array_equal(read_sample("xenium", folder).table.X.toarray(), TRUE_COUNTS)


def test_unassigned_outlines_belong_to_no_cell(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run", "1.0")
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "nucleus_boundaries.parquet"
    table = pq.read_table(path)
    ids = np.where(table["cell_id"].to_numpy() == 5, -1, table["cell_id"].to_numpy()).astype(np.int32)
    pq.write_table(table.set_column(0, "cell_id", pa.array(ids)), path)
    sample = read_sample("xenium", folder)
    assert list(sample.nuclei["cell_id"].isna()) == [k == 4 for k in range(len(sample.nuclei))]


def test_pieces_change_no_nucleus(tmp_path, monkeypatch):
    folder = bundle.make_bundle(tmp_path / "outs")
    whole = read_sample("xenium", folder, checksums=False).nuclei
    monkeypatch.setattr(xenium, "ROW_GROUP", 3)
    path = folder / "nucleus_boundaries.parquet"
    table = pq.read_table(path)
    interleaved = np.argsort(table.to_pandas().groupby("label_id").cumcount().to_numpy(), kind="stable")
    for order in (np.arange(len(table)), interleaved):
        pq.write_table(table.take(pa.array(order)), path, row_group_size=40)
        again = read_sample("xenium", folder, checksums=False).nuclei
        assert list(again["cell_id"]) == list(whole["cell_id"])
        assert again.geometry.geom_equals_exact(whole.geometry, 0).all()


@pytest.mark.parametrize("rows", [2, 1 << 16])
def test_columns_are_taken_in_place(monkeypatch, rows):
    monkeypatch.setattr(matrix_module, "_ROWS", rows)
    random = np.random.default_rng(0)
    counts = sp.random(9, 7, 0.5, format="csr", random_state=random, data_rvs=lambda n: random.integers(0, 4, n))
    kept = np.array([True, False, True, True, False, True, False])
    expected = counts.toarray()[:, kept]
    taken = take_columns(counts, kept)
    assert np.array_equal(taken.toarray(), expected)
    assert (taken.data != 0).all() and taken.has_canonical_format


def test_he_is_found_beside_the_folder_and_never_guessed_between_two(tmp_path):
    folder = bundle.make_bundle(tmp_path / "outs")
    for name in ("test_he_image.ome.tif", "test_he_imagealignment.csv"):
        (folder / name).rename(tmp_path / name)
    assert read_sample("xenium", folder).provenance["sources"]["test_he_image.ome.tif"]["bytes"] > 0
    (tmp_path / "other_he_image.ome.tif").write_bytes((tmp_path / "test_he_image.ome.tif").read_bytes())
    with pytest.raises(UserError, match="could mean 2 files by H&E image"):
        read_sample("xenium", folder)


def test_every_source_has_its_checksum(good_bundle):
    sources = read_sample("xenium", good_bundle).provenance["sources"]
    assert {"experiment.xenium", "cells.parquet", "nucleus_boundaries.parquet", "cell_feature_matrix.h5"} < set(sources)
    assert all(len(one["sha256"]) == 64 for one in sources.values())
    json.dumps(sources)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("Xenium-1.0.1", (1, 0, 1)), ("xenium-3.0.0.15", (3, 0, 0, 15)), ("xenium-4.0.1.2", (4, 0, 1, 2)),
     ("XENIUM-1.7", (1, 7)), ("R&D", None), ("N/A", None), ("", None)],
)  # fmt: skip
def test_versions_as_they_are_written(text, numbers):
    assert parse_version(text) == numbers


# --- real bytes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def real():
    return DATA / "xenium_tables"


@pytest.mark.parametrize(
    ("name", "cells", "first"),
    [("multiqc_sample1", 10_000, None), ("multiqc_sample2", 10_000, None), ("multiqc_sample3", 10_000, None),
     ("speio_breast_rep1_6cells", 6, None)],
)  # fmt: skip
def test_real_cells_tables(real, name, cells, first):
    table = read_cells(real / name)
    assert len(table.ids) == cells and np.isfinite(table.centroids_um).all()
    assert all(isinstance(one, str) for one in table.ids[:50])
    assert first is None or table.ids[0] == first
    if "nucleus_count" in table.obs:
        assert (table.obs["nucleus_area"].isna() == (table.obs["nucleus_count"] == 0)).all()


def test_a_whole_real_cells_table_of_xoa_1(shared):
    table = read_cells(shared / "data" / "xenium_real_tables" / "mouse_brain_ctx_hp_xoa102")
    assert len(table.ids) == 36_602 and np.isfinite(table.centroids_um).all()
    assert table.ids[0] == "1" and all(isinstance(one, str) for one in table.ids[:50])


@pytest.mark.parametrize(
    ("name", "version"),
    [("multiqc_sample1", (3, 1, 0, 5)), ("multiqc_sample2", (3, 0, 0, 15)), ("multiqc_sample3", (3, 0, 0, 15)),
     ("nfcore_tiny_ileum_36cells", (3, 0, 0, 15)), ("speio_breast_rep1_6cells", (1, 0, 1))],
)  # fmt: skip
def test_real_experiments(real, name, version):
    experiment = read_experiment(real / name)
    assert experiment.version == version and experiment.pixel_size == 0.2125
    assert find_morphology(real / name, experiment) is None


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_real_transcripts(real, number):
    from stnuclei.io.features import GENE_CATEGORIES, is_control_name

    path = real / f"multiqc_sample{number}" / "transcripts.parquet"
    batch = next(batches(path, ["feature_name", "codeword_category", "is_gene", "qv"]))
    names = texts(path, "feature_name", batch["feature_name"]).to_numpy()
    kinds = texts(path, "codeword_category", batch["codeword_category"]).to_numpy()
    gene = batch["is_gene"].to_numpy(zero_copy_only=False)
    assert (np.isin(kinds, GENE_CATEGORIES) == gene).all()
    # What XOA 1 and 2 are told by agrees with what XOA 3 says, but for deprecated probes that bear a gene's name.
    disagree = set(kinds[is_control_name(names) == gene])
    assert disagree <= {"deprecated_codeword"}


def test_real_breast_of_xoa_1_reads_but_for_its_slide(real):
    folder = real / "speio_breast_rep1_6cells"
    matrix = read_matrix(folder)
    cells = read_cells(folder)
    assert list(matrix.barcodes) == list(cells.ids)
    assert matrix.counts.shape == (6, 4)
    with pytest.raises(UserError, match=r"speio_breast_rep1_6cells: no H&E alignment"):
        read_sample("xenium", folder, sample="breast")


def test_real_breast_of_xoa_1_with_a_slide(real, tmp_path):
    """Real tables whole way; only the slide under them is made up."""
    import tifffile

    tifffile.imwrite(tmp_path / "he.tif", np.full((30_000 // 8, 60_000 // 8, 3), 230, np.uint8), photometric="rgb")
    folder = real / "speio_breast_rep1_6cells"
    (tmp_path / "m.csv").write_text("8,0,0\n0,8,0\n0,0,1\n")
    sample = read_sample("xenium", folder, tmp_path / "he.tif", tmp_path / "m.csv", sample="breast")
    assert (sample.table.n_obs, sample.table.n_vars, len(sample.nuclei)) == (6, 4, 6)
    assert sample.um_per_px == pytest.approx(1.7)
    columns = read_columns(folder / "cells.parquet", ["nucleus_area"])
    area = sample.nuclei.area.to_numpy() * 1.7**2
    assert np.allclose(area, columns["nucleus_area"].to_numpy(), rtol=0.16)  # 13 vertices cut corners


def test_reconstructed_ileum(shared, tmp_path):
    folder = shared / "data" / "xenium_ileum_tiny_reconstructed" / "outs"
    with pytest.raises(UserError, match=r"sample ileum: .*no H&E alignment"):
        read_sample("xenium", folder, sample="ileum")
    import tifffile

    morphology = find_morphology(folder, read_experiment(folder))
    assert morphology.shape == (3522, 5789)
    tifffile.imwrite(tmp_path / "he.tif", np.full((*morphology.shape, 3), 230, np.uint8), photometric="rgb")
    sample = read_sample("xenium", folder, tmp_path / "he.tif", "identity", sample="ileum")
    assert sample.table.n_obs == 23 and sample.table.X.sum() == sample.table.obs["transcript_counts"].sum()
    assert sample.um_per_px == 0.2125 and sample.provenance["alignment"]["kind"] == "identity"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [(["zarr.json"], "is a zarr store .* not a Xenium output folder"),
     ([".zgroup", ".zattrs"], "is a zarr store .* not a Xenium output folder"),
     (["cells.parquet"], "holds no experiment.xenium; give"),
     (["outs/experiment.xenium"], "holds no experiment.xenium, but .*outs does"),
     (["wsis/CID1.tif"], "looks like HEST-1k")],
)  # fmt: skip
def test_what_is_no_bundle_is_refused_in_a_sentence(tmp_path, files, sentence):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=rf"^sample x: .*{sentence}"):
        read_sample("xenium", tmp_path, sample="x")


def test_a_bundle_without_alignment_is_refused_in_a_sentence(real):
    with pytest.raises(UserError, match="^sample x: .*no H&E alignment"):
        read_sample("xenium", real / "multiqc_sample1", sample="x")
