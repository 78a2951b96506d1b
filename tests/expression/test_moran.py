"""Moran's I, held against esda on libpysal's own weights."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from esda.moran import Moran
from libpysal.weights import KNN, W, lat2W

from stnuclei.errors import UserError
from stnuclei.expression import morans_i, patch_graph
from stnuclei.expression.moran import spatial_genes

ROWS, COLUMNS = 9, 13


def grid(rows=ROWS, columns=COLUMNS, stride=64.0):
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.column_stack([x, y]) * stride


def genes(n, k=25, seed=0):
    random = np.random.default_rng(seed)
    smooth = np.cumsum(random.normal(size=(n, k)), axis=0)
    return np.where(np.arange(k) % 2, smooth, random.poisson(1.0, (n, k)))


def esda_of(values, weights):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [Moran(column, weights, transformation="r", permutations=0) for column in values.T]


@pytest.mark.parametrize("kind", ["queen", "rook"])
def test_index_z_and_p_equal_esdas_on_contiguity(kind):
    values, xy = genes(ROWS * COLUMNS), grid()
    ours = morans_i(values, patch_graph(xy, kind, stride=64))
    theirs = esda_of(values, lat2W(ROWS, COLUMNS, rook=kind == "rook"))
    assert np.allclose(ours["moran_i"], [one.I for one in theirs], rtol=0, atol=1e-12)
    assert np.allclose(ours["z"], [one.z_norm for one in theirs], atol=1e-9)
    assert np.allclose(ours["p"], [one.p_norm for one in theirs], atol=1e-9)


def test_index_equals_esdas_on_nearest_neighbours():
    xy = np.random.default_rng(1).uniform(0, 1000, (150, 2))
    values = genes(150, seed=2)
    ours = morans_i(sp.csr_matrix(values), patch_graph(xy, "knn", k=6))
    theirs = esda_of(values, KNN.from_array(xy, k=6))
    assert np.allclose(ours["moran_i"], [one.I for one in theirs], rtol=0, atol=1e-12)
    assert np.allclose(ours["z"], [one.z_norm for one in theirs], atol=1e-9)


def test_index_equals_esdas_on_tissue_with_holes_and_lone_patches():
    xy = grid()
    kept = np.random.default_rng(3).uniform(size=len(xy)) < 0.45
    kept[[0, 1, COLUMNS, COLUMNS + 1, 2, COLUMNS + 2]] = [True, False, False, False, False, False]
    xy, values = xy[kept], genes(int(kept.sum()), seed=4)
    graph = patch_graph(xy, "rook", stride=64)
    assert (np.diff(graph.indptr) == 0).any()  # the lone one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = W({i: graph[i].indices.tolist() for i in range(len(xy))})
    assert np.allclose(morans_i(values, graph)["moran_i"], [one.I for one in esda_of(values, weights)], atol=1e-12)


def test_known_patterns():
    xy = grid(8, 8)
    board = ((xy / 64).sum(axis=1) % 2)[:, None]
    half = (xy[:, :1] < 4 * 64).astype(float)
    rook = patch_graph(xy, "rook", stride=64)
    index = morans_i(np.hstack([board, half, np.ones_like(half)]), rook)["moran_i"]
    assert index[0] == pytest.approx(-1)
    assert index[1] > 0.8
    assert np.isnan(index[2])


def test_graphs_are_what_their_names_say():
    queen, rook = (patch_graph(grid(), kind, stride=64) for kind in ("queen", "rook"))
    middle = 4 * COLUMNS + 5
    assert queen[middle].nnz == 8 and rook[middle].nnz == 4 and queen[0].nnz == 3 and rook[0].nnz == 2
    assert (abs(queen - queen.T)).nnz == 0 and queen.diagonal().sum() == 0
    spots = patch_graph(np.random.default_rng(0).uniform(0, 9, (30, 2)), "queen", stride=0)
    assert set(np.diff(spots.indptr)) == {6}
    with pytest.raises(UserError, match="'bishop' is none of queen, rook, knn"):
        patch_graph(grid(), "bishop")
    with pytest.raises(UserError, match="no patch has a neighbour; choose graph knn"):
        morans_i(genes(4), patch_graph(grid(2, 2), "rook", stride=1))


def test_structured_genes_stand_apart_from_random_ones(tmp_path):
    from expression.slides import visible_slide
    from stnuclei.expression import read_table

    table = spatial_genes(read_table(visible_slide(tmp_path, "a", "d").expression)).set_index("gene")
    assert table.loc[[f"S{k}" for k in range(6)], "moran_i"].min() > 0.3
    assert table.loc[[f"R{k}" for k in range(6)], "moran_i"].abs().max() < 0.15
    control = table.index.str.endswith("|control")
    assert control.sum() == 3 and table.loc[control, "moran_i"].abs().max() < 0.15
    with pytest.raises(UserError, match="0 patches hold 99999 counts or more"):
        spatial_genes(read_table(tmp_path / "a" / "expression.h5ad"), min_counts=99999)
