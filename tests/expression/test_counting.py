"""Counts by patch: every cell and molecule once, where it lies."""

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from expression.slides import cut, slide_of_noise, table_of
from stnuclei.errors import UserError
from stnuclei.expression import count_cells, count_transcripts, read_table, write_table
from stnuclei.expression.patch_assignment import PatchAssignment
from stnuclei.expression.table import CONTROL, is_control, log_normalise


def by_hand(sample, store, to_patch=lambda xy: xy):
    """The rule in words: of the patches that hold a cell's centre, the one whose own centre is nearest."""
    total = np.zeros((len(store), sample.table.n_vars), int)
    centres = store.origin + store.patch_px / 2
    for row, xy in enumerate(to_patch(sample.table.obsm["spatial"])):
        holds = np.abs(centres - xy).max(axis=1) <= store.patch_px / 2
        if holds.any():
            away = np.where(holds, ((centres - xy) ** 2).sum(axis=1), np.inf)
            total[away.argmin()] += sample.table.X[row].toarray()[0]
    return total


def test_each_cell_counts_once_in_the_patch_that_holds_its_centre(tmp_path):
    sample = slide_of_noise()
    store = cut(sample, tmp_path / "p.zarr")
    counted = count_cells(sample, store)
    assert np.array_equal(counted.counts.toarray(), by_hand(sample, store))
    assert counted.counts.sum() == sample.table.X.sum()  # nothing was dropped, so nothing is lost
    assert counted.cells.sum() == sample.table.n_obs
    assert counted.info["cells_in_no_patch"] == 0


def test_overlapping_patches_share_no_cell(tmp_path):
    sample = slide_of_noise()
    store = cut(sample, tmp_path / "p.zarr", stride=32)
    counted = count_cells(sample, store)
    assert np.array_equal(counted.counts.toarray(), by_hand(sample, store))
    assert counted.counts.sum() == sample.table.X.sum()


def test_other_pixel_size_and_correction_are_followed(tmp_path):
    sample = slide_of_noise(um_per_px=0.5)
    correction = np.array([[1, 0, 9.0], [0, 1, -14.0], [0, 0, 1]])
    store = cut(sample, tmp_path / "p.zarr", correction=correction)
    counted = count_cells(sample, store)
    assert np.array_equal(counted.counts.toarray(), by_hand(sample, store, lambda xy: (xy + (9, -14)) * 2))
    assert counted.info["cells_in_no_patch"] > 0  # moved off the slide's upper edge


def test_dropped_patches_take_their_cells_along(tmp_path):
    sample = slide_of_noise(n=60)
    store = cut(sample, tmp_path / "p.zarr", min_nuclei=2)
    counted = count_cells(sample, store)
    assert 0 < counted.info["cells_in_no_patch"] < 60
    assert counted.cells.sum() + counted.info["cells_in_no_patch"] == 60


def test_patches_of_another_sample_or_alignment_are_refused(tmp_path):
    sample = slide_of_noise()
    store = cut(sample, tmp_path / "p.zarr")
    with pytest.raises(UserError, match="is of sample fake with 400 cells, the table of other"):
        count_cells(slide_of_noise(name="other"), store)
    moved = slide_of_noise()
    moved.table.obsm["spatial"] = moved.table.obsm["spatial"][::-1].copy()
    with pytest.raises(UserError, match="not of one alignment"):
        count_cells(moved, store)


def transcripts(path, sample, frame, seed=1, n=3000):
    """A run's table: genes, controls, poor reads, anywhere on the slide."""
    random = np.random.default_rng(seed)
    he = random.uniform((0, 0), (700, 500), (n, 2))
    names = np.array([*sample.table.var_names, "NegControlProbe_1", "OTHER"], dtype=object)
    gene = random.integers(len(names), size=n)
    qv = random.choice([10.0, 20.0, 35.0], n)
    columns = {"feature_name": [names[g].encode() for g in gene], "qv": pa.array(qv, pa.float32())}
    if frame == "he":
        columns |= {"he_x": he[:, 0], "he_y": he[:, 1]}
    else:
        um = (np.column_stack([he, np.ones(n)]) @ sample.he_to_morphology.T)[:, :2] * 0.2125
        columns |= {"x_location": um[:, 0], "y_location": um[:, 1]}
    pq.write_table(pa.table(columns), path)
    good = (qv >= 20) & (gene < sample.table.n_vars)
    return he[good], gene[good]


@pytest.mark.parametrize("frame", ["he", "um"])
def test_transcripts_are_binned_by_position_through_the_alignment(tmp_path, frame):
    sample = slide_of_noise()
    sample.he_to_morphology = np.array([[0.02, -1.3, 700.0], [1.3, 0.02, 40.0], [0, 0, 1]])
    sample.provenance = {"morphology_um_per_px": 0.2125}
    store = cut(sample, tmp_path / "p.zarr")
    he, gene = transcripts(tmp_path / "transcripts.parquet", sample, frame)
    counted = count_transcripts(sample, store, tmp_path, min_qv=20)
    expected = np.zeros((len(store), sample.table.n_vars), int)
    np.add.at(expected, (PatchAssignment(store).of(he), gene), 1)
    assert np.array_equal(counted.counts.toarray(), expected)
    assert counted.info["used"] == len(gene) and counted.info["read"] == 3000


def test_transcripts_without_alignment_or_genes_are_told(tmp_path):
    sample = slide_of_noise()
    store = cut(sample, tmp_path / "p.zarr")
    table = pa.table({"feature_name": ["X"], "qv": [30.0], "x_location": [1.0], "y_location": [1.0]})
    pq.write_table(table, tmp_path / "transcripts.parquet")
    with pytest.raises(UserError, match="has no alignment to its slide; count cells instead"):
        count_transcripts(sample, store, tmp_path)
    sample.he_to_morphology, sample.provenance = np.eye(3), {"morphology_um_per_px": 0.2125}
    with pytest.raises(UserError, match="none of 1 transcripts is a gene of fake in a patch"):
        count_transcripts(sample, store, tmp_path)


def test_normalisation_scales_rows_to_one_sum_and_takes_the_log():
    dense = np.random.default_rng(0).poisson(1.5, (40, 30))
    dense[3] = 0
    ours = log_normalise(sp.csr_matrix(dense), 1e4)
    totals = dense.sum(axis=1, keepdims=True)
    assert np.allclose(ours.toarray(), np.log1p(dense * 1e4 / np.maximum(totals, 1)), rtol=1e-6)
    assert np.allclose(np.expm1(ours.toarray()).sum(axis=1)[totals.ravel() > 0], 1e4, rtol=1e-5)
    assert ours[3].nnz == 0 and ours.dtype == np.float32


def test_table_holds_what_it_says_and_comes_back(tmp_path):
    sample = slide_of_noise()
    store = cut(sample, tmp_path / "p.zarr")
    table = table_of(sample, store, controls=4, seed=3)
    write_table(table, tmp_path / "e.h5ad")
    read = read_table(tmp_path / "e.h5ad")
    assert list(read.obs["n_cells"]) == list(count_cells(sample, store).cells)
    assert np.allclose(read.obsm["spatial"][0], (store.origin[0] + 32) * 0.25)
    assert read.obs["donor"].iloc[0] == "d1" and read.uns["stnuclei"]["stride_um"] == 16
    control = is_control(read.var_names)
    assert control.sum() == 4 and np.array_equal(read.obs["total_counts"], count_cells(sample, store).counts.sum(1).A1)
    for name in read.var_names[control]:
        own, gene = (np.sort(read[:, one].X.toarray().ravel()) for one in (name, name.removesuffix(CONTROL)))
        assert np.array_equal(own, gene)  # the same values ...
        dealt = read[:, name].X.toarray().ravel() != read[:, name.removesuffix(CONTROL)].X.toarray().ravel()
        assert dealt.mean() > 0.5  # ... in other patches


def test_broken_tables_are_told(tmp_path):
    with pytest.raises(UserError, match="no such file; write it with the rule patch_expression"):
        read_table(tmp_path / "none.h5ad")
    (tmp_path / "bad.h5ad").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="is damaged"):
        read_table(tmp_path / "bad.h5ad")
    ad.AnnData(np.ones((2, 2)), obs=pd.DataFrame(index=["a", "b"])).write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(UserError, match="is no table of patches"):
        read_table(tmp_path / "other.h5ad")
