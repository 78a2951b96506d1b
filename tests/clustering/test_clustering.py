import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
from scipy import sparse
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from stnuclei.clustering import cluster_cells, components, neighbours, ranking
from stnuclei.clustering.components import principal_components
from stnuclei.clustering.counts import log_normalised
from stnuclei.clustering.graph import connectivities
from stnuclei.clustering.leiden import by_size, leiden, merge_small
from stnuclei.clustering.neighbours import nearest_neighbours
from stnuclei.clustering.ranking import rank_genes
from stnuclei.config.labels import ClusteringBlock
from stnuclei.errors import UserError
from stnuclei.io.stored import Stored


def without_counts(counts, row):
    keep = np.ones(counts.shape[0], counts.dtype)
    keep[row] = 0
    return (sparse.diags(keep) @ counts).tocsr()


def test_normalisation_is_scanpys_to_the_last_bit(janesick):
    theirs = janesick.copy()
    scanpy.pp.normalize_total(theirs)
    scanpy.pp.log1p(theirs)
    assert np.array_equal(log_normalised(janesick).data, theirs.X.data)


def test_neighbours_are_those_of_every_pair():
    points = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    found = nearest_neighbours(points, 6)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert np.array_equal(found.indices, np.argsort(distances, axis=1)[:, :6])
    assert np.array_equal(found.indices[:, 0], np.arange(200)) and not found.distances[:, 0].any()
    assert np.allclose(found.distances, np.sort(distances, axis=1)[:, :6], atol=1e-3)


def test_points_that_coincide_still_have_themselves_first():
    found = nearest_neighbours(np.zeros((40, 3), np.float32), 5)
    assert np.array_equal(found.indices[:, 0], np.arange(40))
    assert connectivities(found).shape == (40, 40)


@pytest.mark.parametrize("many_cells", [components.MANY_CELLS, 4000], ids=["lanczos", "covariance"])
def test_components_are_the_same_to_the_last_bit_on_any_number_of_threads(many_cells, monkeypatch):
    monkeypatch.setattr(components, "MANY_CELLS", many_cells)
    random = np.random.default_rng(0)
    means = random.gamma(0.3, 2, (1, 300)) * random.gamma(1, 1, (4000, 1))
    counts = sparse.csr_matrix(np.log1p(random.poisson(means)).astype(np.float32))
    with threadpool_limits(1):
        one = principal_components(counts, 50)
    with threadpool_limits(2):
        two = principal_components(counts, 50)
    assert np.array_equal(one, two)


def test_components_of_the_covariance_are_those_of_lanczos(janesick, monkeypatch):
    expression = log_normalised(janesick)
    lanczos = principal_components(expression, 20)
    monkeypatch.setattr(components, "MANY_CELLS", 1_000)
    monkeypatch.setattr(components, "BLOCK", 1_000)  # four blocks, the last one smaller
    covariance = principal_components(expression, 20)
    assert np.allclose(np.abs(covariance), np.abs(lanczos), atol=2e-3)
    assert np.allclose(covariance.T @ covariance, lanczos.T @ lanczos * np.eye(20), atol=0.5)  # of 3,878 cells


def test_search_by_lists_reaches_its_recall_and_repeats(monkeypatch):
    random = np.random.default_rng(1)
    centres = random.normal(0, 3, (12, 20))
    points = (centres[random.integers(0, 12, 12_000)] + random.normal(size=(12_000, 20))).astype(np.float32)
    exact = nearest_neighbours(points, 15)
    monkeypatch.setattr(neighbours, "EXACT_CELLS", 1_000)
    found = nearest_neighbours(points, 15)
    shared = np.mean([len(np.intersect1d(a, b)) / 15 for a, b in zip(found.indices, exact.indices, strict=True)])
    assert found.method == "lists" and found.recall >= 0.95 and shared == pytest.approx(found.recall, abs=0.02)
    again = nearest_neighbours(points, 15, threads=2)
    assert np.array_equal(found.indices, again.indices)


def test_clusters_of_a_large_sample_are_those_of_a_small_one(table, monkeypatch):
    """Groups as far apart as these are found whichever way components and neighbours are computed."""
    few = cluster_cells(table, settings=ClusteringBlock(resolution=1.0))
    monkeypatch.setattr(components, "MANY_CELLS", 1)
    monkeypatch.setattr(neighbours, "EXACT_CELLS", 1)
    many = cluster_cells(table, threads=2, settings=ClusteringBlock(resolution=1.0))
    assert (few.info["neighbours"], many.info["neighbours"]) == ("exact", "lists")
    assert adjusted_rand_score(few.cells["cluster"], many.cells["cluster"]) > 0.99
    alone = cluster_cells(table, threads=1, settings=ClusteringBlock(resolution=1.0))
    pd.testing.assert_frame_equal(many.cells, alone.cells)
    pd.testing.assert_frame_equal(many.ranked_genes, alone.ranked_genes)


def test_graph_is_umaps_by_its_formula(janesick):
    """The same numbers as umap-learn's own function to 1.2e-7 (not run here: it compiles for half a minute)."""
    near = nearest_neighbours(principal_components(log_normalised(janesick)[:300]))
    weights = np.zeros((300, 300))
    for i in range(300):
        beyond = np.maximum(near.distances[i, 1:] - near.distances[i, 1], 0).astype(float)
        sigma = brentq(lambda s, b=beyond: np.exp(-b / s).sum() - np.log2(15), 1e-6, 1e6)
        weights[i, near.indices[i, 1:]] = np.exp(-beyond / sigma)
    expected = weights + weights.T - weights * weights.T
    ours = connectivities(near)
    assert abs(ours.todense() - np.triu(expected, 1)).max() < 1e-4
    assert sparse.tril(ours).nnz == 0  # each edge once, none from a cell to itself


def test_ranked_genes_are_scanpys(janesick):
    found = cluster_cells(janesick, settings=ClusteringBlock(n_ranked=30))
    work = anndata.AnnData(log_normalised(janesick), var=janesick.var[[]])
    work.obs["cluster"] = pd.Categorical(found.cells["cluster"].astype(str).to_numpy())
    scanpy.tl.rank_genes_groups(work, "cluster", method="wilcoxon")
    theirs = scanpy.get.rank_genes_groups_df(work, None).set_index(["group", "names"])
    ours = found.ranked_genes.set_index([found.ranked_genes["cluster"].astype(str), "gene"])
    theirs = theirs.loc[ours.index]
    assert np.allclose(ours["score"], theirs["scores"], atol=1e-5)
    assert np.allclose(ours["pvalue"], theirs["pvals"], rtol=1e-6, atol=0)
    assert np.allclose(ours["logfoldchange"], theirs["logfoldchanges"], atol=1e-3)
    top = scanpy.get.rank_genes_groups_df(work, "0")["scores"].head(30)
    assert np.allclose(np.sort(top)[::-1], ours.loc["0", "score"], atol=1e-5)


def test_genes_ranked_in_blocks_are_those_ranked_at_once(janesick, monkeypatch):
    expression, genes = log_normalised(janesick), janesick.var_names.to_numpy()
    clusters = np.arange(janesick.n_obs) % 5 - 1  # one of five cells in no cluster
    whole = rank_genes(expression, genes, clusters, n_ranked=400)
    monkeypatch.setattr(ranking, "BLOCK_VALUES", expression.nnz // 7)
    pd.testing.assert_frame_equal(rank_genes(expression, genes, clusters, n_ranked=400, threads=2), whole)


def test_rank_test_by_hand_against_scipy():
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 2)) + [[1.0, 0.0]] * 60  # no ties: the corrections agree
    values = np.abs(values)
    clusters = np.array([0] * 20 + [1] * 40)
    table = rank_genes(sparse.csr_matrix(values.astype(np.float32)), np.array(["a", "b"]), clusters)
    row = table[(table["cluster"] == 0) & (table["gene"] == "a")].iloc[0]
    test = mannwhitneyu(
        values[:20, 0].astype(np.float32), values[20:, 0].astype(np.float32), use_continuity=False, method="asymptotic"
    )
    assert row.pvalue == pytest.approx(test.pvalue, rel=1e-6)


def test_clusters_are_found_and_repeat(table, clustering):
    again = cluster_cells(table, settings=ClusteringBlock(resolution=1.0))
    pd.testing.assert_frame_equal(clustering.cells, again.cells)
    pd.testing.assert_frame_equal(clustering.ranked_genes, again.ranked_genes)
    purity = table.obs.groupby(clustering.cells["cluster"].to_numpy())["truth"].agg(lambda t: t.value_counts().iloc[0])
    assert purity.sum() == table.n_obs
    assert clustering.cells.dtypes.astype(str).to_dict() == {"cell_id": "object", "cluster": "int32"}
    assert list(clustering.ranked_genes) == ["cluster", "rank", "gene", "score", "pvalue", "logfoldchange"]
    assert clustering.cells["cluster"].value_counts().sort_index().is_monotonic_decreasing


def test_the_table_is_left_as_it_was(table):
    before = table.X.copy()
    cluster_cells(table, settings=ClusteringBlock(resolution=1.0))
    assert (before != table.X).nnz == 0 and "X_pca" not in table.obsm


def test_cells_without_counts_are_in_no_cluster(table):
    holed = table.copy()
    holed.X = without_counts(table.X, 5)
    found = cluster_cells(holed, settings=ClusteringBlock(resolution=1.0))
    assert found.cells["cluster"][5] == -1 and found.info["cells_without_counts"] == 1


def test_small_clusters_go_to_their_neighbours():
    graph = sparse.lil_matrix((9, 9))
    for i, j, w in [(0, 1, 1), (1, 2, 1), (3, 4, 1), (4, 5, 1), (6, 3, 0.5), (6, 0, 0.1), (7, 8, 1)]:
        graph[min(i, j), max(i, j)] = w
    clusters, merged, aside = merge_small(np.array([0, 0, 0, 1, 1, 1, 2, 3, 3]), graph.tocsr(), 3)
    assert clusters.tolist() == [1, 1, 1, 0, 0, 0, 0, -1, -1] and (merged, aside) == (1, 2)


def test_leiden_finds_two_cliques_and_numbers_by_size():
    graph = np.zeros((9, 9))
    graph[:4, :4] = graph[4:, 4:] = 1
    assert leiden(sparse.csr_matrix(np.triu(graph, 1)), 1.0).tolist() == [1] * 4 + [0] * 5
    assert by_size(np.array([7, 7, -1, 3])).tolist() == [0, 0, -1, 1]
    assert by_size(np.array([-1, -1])).tolist() == [-1, -1]


@pytest.mark.parametrize("n_cells", [1, 2, 5, 30])
def test_few_cells_do_not_break(table, n_cells):
    found = cluster_cells(table[:n_cells].copy())
    assert len(found.cells) == n_cells and list(found.ranked_genes) == list(cluster_cells(table).ranked_genes)


def test_what_is_not_counts_is_refused(table):
    logged = table.copy()
    logged.X = log_normalised(table)
    with pytest.raises(UserError, match="raw counts"):
        cluster_cells(logged)
    doubled = table.copy()
    doubled.var_names = ["EPCAM", "EPCAM", *doubled.var_names[2:]]
    with pytest.raises(UserError, match="EPCAM"):
        cluster_cells(doubled)
    with pytest.raises(UserError, match="nothing to label"):
        cluster_cells(table[:0].copy())
    empty = table.copy()
    empty.X = empty.X * 0
    with pytest.raises(UserError, match="without counts"):
        cluster_cells(empty)


def test_leidenalg_finds_the_same_blocks_and_its_seed_decides():
    from stnuclei.clustering.leiden import PARTITIONS

    blocks = np.kron(np.eye(3), np.ones((30, 30))) + 0.02
    graph = sparse.csr_matrix(blocks - np.diag(np.diag(blocks)))
    plain = PARTITIONS["igraph"](graph, 1.0)
    other = PARTITIONS["leidenalg"](graph, 1.0, n_iterations=-1, seed=3)
    assert np.array_equal(np.bincount(other), [30, 30, 30]) and np.array_equal(plain, other)
    assert np.array_equal(other, PARTITIONS["leidenalg"](graph, 1.0, n_iterations=-1, seed=3))


def test_clusters_by_leidenalg_without_merging(table):
    settings = ClusteringBlock(resolution=1.0, leiden="leidenalg", n_iterations=-1, min_cluster_cells=1)
    clustering = cluster_cells(table, settings=settings)
    assert clustering.info["leiden"] == "leidenalg" and clustering.info["small_clusters_merged"] == 0


class Held(Stored):
    """A table as a store gives it: read when it is needed, and counted."""

    def __init__(self, table):
        self.table, self.reads = table, 0

    def read(self):
        self.reads += 1
        return self.table.copy()


def test_a_table_on_disk_has_the_clusters_of_one_in_memory(table, clustering):
    held = Held(table)
    found = cluster_cells(held, settings=ClusteringBlock(resolution=1.0))
    pd.testing.assert_frame_equal(found.cells, clustering.cells)
    pd.testing.assert_frame_equal(found.ranked_genes, clustering.ranked_genes)
    assert held.reads == 2  # and not kept between components and ranking
