"""AUCell against its published definition."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from stnuclei.labels.baselines.aucell import aucell_scores, panel_top_genes


def _table(counts, genes):
    counts = np.asarray(counts)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(genes)))


def test_worked_by_hand():
    # Ranking A B C D E F, top 4. Recovery of {A, C} at ranks 1, 2, 3: 1, 1, 2 -> 4; the most two genes can reach:
    # 1, 2, 2 -> 5. {B, E}: 0, 1, 1 -> 2 of 5. {F}: 0.
    table = _table([[60, 50, 40, 30, 20, 10]], "ABCDEF")
    scores = aucell_scores(table, {"ac": ["A", "C"], "be": ["B", "E"], "f": ["F"], "z": ["Z"]}, n_top=4)
    assert scores.loc["c0", "ac"] == pytest.approx(4 / 5)
    assert scores.loc["c0", "be"] == pytest.approx(2 / 5)
    assert scores.loc["c0", "f"] == scores.loc["c0", "z"] == 0


def test_ties_are_broken_at_random_not_by_column():
    # Nothing is expressed: each of 10 genes is in the top 4's first 3 ranks equally often, wherever its column is.
    table = _table(np.zeros((4000, 10), int), [f"g{i}" for i in range(10)])
    scores = aucell_scores(table, {"first": ["g0"], "last": ["g9"]}, n_top=4, seed=1)
    # One gene at rank r scores (4 - r) / 3: mean (3 + 2 + 1) / 3 / 10 = 0.2.
    assert scores["first"].mean() == pytest.approx(0.2, abs=0.02)
    assert scores["last"].mean() == pytest.approx(0.2, abs=0.02)


def test_seed_decides_and_blocks_do_not_repeat_it():
    table = _table(np.random.default_rng(0).poisson(0.5, (200, 30)), [f"g{i}" for i in range(30)])
    sets = {"a": [f"g{i}" for i in range(8)]}
    once, again, other = (aucell_scores(table, sets, seed=s).to_numpy() for s in (3, 3, 4))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_top_is_as_long_as_cells_express():
    counts = np.zeros((20, 100), int)
    counts[:, :12] = 1
    assert panel_top_genes(_table(counts, [f"g{i}" for i in range(100)])) == 12
    assert panel_top_genes(_table(counts[:, ::-1] * 0, [f"g{i}" for i in range(100)])) == 5
