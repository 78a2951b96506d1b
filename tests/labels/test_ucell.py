"""UCell against its published formula."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from stnuclei.labels.baselines.ucell import panel_max_rank, ucell_scores


def _table(counts, genes):
    counts = np.asarray(counts)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(genes)))


def test_worked_by_hand():
    # Ranks of the cell: A 1, B and C 2.5 each (tied), D 4, E and F without a count: max_rank = 5.
    table = _table([[9, 4, 4, 1, 0, 0]], "ABCDEF")
    scores = ucell_scores(table, {"ab": ["A", "B"], "de": ["D", "E"], "f": ["F"], "z": ["Z"]}, max_rank=5)
    # n = 2: smallest sum 3, largest 10. U = 1 - (sum - 3) / (10 - 3).
    assert scores.loc["c0", "ab"] == pytest.approx(1 - (3.5 - 3) / 7)
    assert scores.loc["c0", "de"] == pytest.approx(1 - (9 - 3) / 7)
    assert scores.loc["c0", "f"] == pytest.approx(0)
    assert scores.loc["c0", "z"] == 0


def test_max_rank_is_lowered_to_the_panel():
    table = _table([[1] * 6 + [0] * 94, [1] * 10 + [0] * 90], [f"g{i}" for i in range(100)])
    assert panel_max_rank(table, longest_set=3) == 8  # the median cell expresses 8 genes
    assert panel_max_rank(table, longest_set=40) == 40  # a longer set needs room
    assert panel_max_rank(table, longest_set=1000) == 100  # never beyond the panel


@pytest.mark.parametrize("seed", range(3))
def test_scores_stay_between_zero_and_one(seed):
    rng = np.random.default_rng(seed)
    table = _table(rng.poisson(0.3, (40, 60)), [f"g{i}" for i in range(60)])
    sets = {"long": [f"g{i}" for i in range(50)], "short": ["g55"]}
    scores = ucell_scores(table, sets).to_numpy()
    assert scores.min() >= 0 and scores.max() <= 1
