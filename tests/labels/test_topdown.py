"""TopDown against Tirosh's definition."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from paths import DATA
from stnuclei.labels.baselines.topdown import topdown_scores


def _table(counts, genes):
    counts = np.asarray(counts)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(genes)))


def test_worked_by_hand():
    # Totals are equal, so expression is log(1 + count). One bin: every gene outside the set is a control.
    table = _table([[7, 1, 0, 0], [0, 0, 7, 1]], "ABCD")
    scores = topdown_scores(table, {"first": ["A", "B"], "third": ["C"]}, n_bins=1)
    log2, log8 = np.log(2), np.log(8)
    assert scores.loc["c0", "first"] == pytest.approx((log8 + log2) / 2 - 0)
    assert scores.loc["c1", "first"] == pytest.approx(0 - (log8 + log2) / 2)
    assert scores.loc["c0", "third"] == pytest.approx(0 - (log8 + log2 + 0) / 3)
    assert scores.loc["c1", "third"] == pytest.approx(log8 - (0 + 0 + log2) / 3)


def test_controls_come_from_the_sets_own_bin():
    # Averages fall 100, 90 | 1, 1: with two bins the set of A is held against B alone, whatever C and D do.
    rng = np.random.default_rng(0)
    counts = np.column_stack([rng.poisson(mean, 500) for mean in (100, 90, 1, 1)])
    table = _table(counts, "ABCD")
    scores = topdown_scores(table, {"a": ["A"]}, n_bins=2)["a"]
    scale = np.median(counts.sum(1)) / counts.sum(1)
    expression = np.log1p(counts * scale[:, None])
    np.testing.assert_allclose(scores, expression[:, 0] - expression[:, 1], atol=1e-5)


def test_counts_are_left_alone_and_empty_sets_never_win():
    table = _table([[7, 1, 0, 0], [0, 0, 0, 0]], "ABCD")
    before = table.X.toarray().copy()
    scores = topdown_scores(table, {"some": ["A"], "absent": ["Z"], "all": list("ABCD")}, n_bins=1)
    assert np.array_equal(table.X.toarray(), before)
    assert np.isneginf(scores[["absent", "all"]].to_numpy()).all()
    assert np.isfinite(scores["some"]).all()


def test_agrees_with_scanpy_up_to_the_choice_of_bins():
    scanpy = pytest.importorskip("scanpy")
    table = anndata.read_h5ad(DATA / "janesick_breast" / "rep1_matched_3878cells_313genes.h5ad")
    genes = ["EPCAM", "KRT8", "KRT7", "CDH1", "ESR1"]
    ours = topdown_scores(table, {"epithelial": genes})["epithelial"]
    scanpy.pp.normalize_total(table)
    scanpy.pp.log1p(table)
    scanpy.tl.score_genes(table, genes, ctrl_size=100)
    assert np.corrcoef(ours, table.obs["score"])[0, 1] > 0.9
