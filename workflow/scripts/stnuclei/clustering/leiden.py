"""Leiden clusters of a neighbourhood graph; small clusters merged."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from scipy import sparse


def leiden(
    graph: sparse.csr_matrix,
    resolution: float = 4.0,
    *,
    n_iterations: int = 2,
    seed: int = 0,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Partition a graph by modularity (Traag, Waltman and van Eck 2019; igraph's implementation).

    Parameters
    ----------
    graph
        (n, n) weights of the edges, the upper triangle (`connectivities`).
    resolution
        r, gamma of the modularity: higher gives more clusters.
    n_iterations
        Rounds of the algorithm, negative: until nothing changes.
    seed
        Seed of igraph's random numbers.
    start
        (n,) int, clusters to begin with, as groups of near cells: a fifth of the time less for the same modularity on
        large graphs. None: each node is one of its own.

    Returns
    -------
    int32 (n,), cluster of each node, 0 the largest.
    """
    import igraph

    network, weights = _network(graph)
    igraph.set_random_number_generator(random.Random(seed))
    partition = network.community_leiden(
        objective_function="modularity",
        weights=weights,
        resolution=resolution,
        n_iterations=n_iterations,
        initial_membership=None if start is None else np.unique(start, return_inverse=True)[1],
    )
    return by_size(np.asarray(partition.membership, dtype=np.int32))


def leiden_by_leidenalg(
    graph: sparse.csr_matrix, resolution: float = 4.0, *, n_iterations: int = -1, seed: int = 0
) -> np.ndarray:
    """`leiden` by the package leidenalg, which scanpy documented as its default until it moved to igraph.

    Same parameters and result as `leiden`, but that it always begins with single nodes. The objective is that of
    scanpy, ``RBConfigurationVertexPartition``, which is modularity with a resolution (Reichardt and Bornholdt 2006).
    """
    import leidenalg

    network, weights = _network(graph)
    partition = leidenalg.find_partition(
        network,
        leidenalg.RBConfigurationVertexPartition,
        weights=weights,
        resolution_parameter=resolution,
        n_iterations=n_iterations,
        seed=seed,
    )
    return by_size(np.asarray(partition.membership, dtype=np.int32))


#: Implementations by the names of the setting `clustering.leiden`.
PARTITIONS = {"igraph": leiden, "leidenalg": leiden_by_leidenalg}


def _network(graph: sparse.csr_matrix) -> tuple[Any, np.ndarray]:
    """Undirected igraph network of an upper triangle, and the weights of its edges."""
    import igraph

    network = igraph.Graph(n=graph.shape[0], directed=False)
    # Added afterwards, as 64-bit numbers: four times as fast as given to `Graph` (2.1 to 0.5 CPU s of 1.2 million).
    ends = np.empty((graph.nnz, 2), np.int64)
    ends[:, 0] = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    ends[:, 1] = graph.indices
    network.add_edges(ends)
    return network, graph.data


def by_size(clusters: np.ndarray) -> np.ndarray:
    """Number clusters 0, 1, ... by falling size (ties: the one met first); negative stays."""
    kept = clusters[clusters >= 0]
    names, first, counts = np.unique(kept, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    renamed = np.full(int(kept.max(initial=-1)) + 1, -1, np.int32)
    renamed[names[order]] = np.arange(len(names), dtype=np.int32)
    return np.where(clusters >= 0, renamed[np.maximum(clusters, 0)] if len(renamed) else -1, -1).astype(np.int32)


def merge_small(clusters: np.ndarray, graph: sparse.csr_matrix, min_cells: int) -> tuple[np.ndarray, int, int]:
    """Merge clusters of fewer than `min_cells` cells into the cluster their cells have the strongest edges to.

    A rank test of a cluster of one cell says nothing (and scanpy refuses it). The smallest cluster is merged first, so
    that two small clusters may join into one large enough; a cluster without an edge to another is set aside.

    Returns
    -------
    clusters int32 (n,) renumbered by size, -1 set aside; clusters merged; cells set aside.
    """
    clusters, merged = clusters.copy(), 0
    n_clusters = int(clusters.max(initial=-1)) + 1
    counts = np.bincount(clusters[clusters >= 0], minlength=n_clusters)
    if n_clusters == 0 or counts.min() >= min_cells:
        return clusters, 0, int((clusters < 0).sum())
    ties = _cluster_ties(clusters, graph, n_clusters)
    for _ in range(n_clusters):
        alive = np.flatnonzero(counts > 0)
        small = alive[np.argmin(counts[alive])]
        if counts[small] >= min_cells:
            break
        ties[small, small] = 0
        target = int(np.argmax(ties[small]))
        members = clusters == small
        if ties[small, target] <= 0:
            clusters[members] = -1
        else:
            clusters[members] = target
            ties[target] += ties[small]
            ties[:, target] += ties[:, small]
            counts[target] += counts[small]
            merged += 1
        ties[small], ties[:, small], counts[small] = 0, 0, 0
    return by_size(clusters), merged, int((clusters < 0).sum())


def _cluster_ties(clusters: np.ndarray, graph: sparse.csr_matrix, n_clusters: int) -> np.ndarray:
    """Sum of the weights of edges between clusters, (n_clusters, n_clusters) float64; `graph` the upper triangle."""
    member = sparse.csr_matrix(
        (np.ones(len(clusters)), (np.arange(len(clusters)), np.maximum(clusters, 0))),
        shape=(len(clusters), n_clusters),
    )
    ties = np.asarray((member.T @ graph @ member).todense(), dtype=np.float64)
    return ties + ties.T
