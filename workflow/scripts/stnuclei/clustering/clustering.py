"""Clusters of a sample's cells by expression, and the ranked genes of each cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.clustering.components import principal_components
from stnuclei.clustering.counts import cell_ids, check_counts, log_normalised, totals
from stnuclei.clustering.graph import connectivities
from stnuclei.clustering.leiden import PARTITIONS, merge_small
from stnuclei.clustering.neighbours import Neighbours, nearest_neighbours
from stnuclei.clustering.ranking import rank_genes
from stnuclei.config.labels import ClusteringBlock
from stnuclei.io.stored import Stored
from stnuclei.tables import write_table


@dataclass(frozen=True)
class Clustering:
    """Clusters of one sample.

    Parameters
    ----------
    cells
        cell_id (str), cluster (int32, 0 the largest, -1 in none), one row a cell in the table's order.
    ranked_genes
        cluster, rank (from 1), gene, score, pvalue, logfoldchange.
    info
        Counts (cells without counts, clusters merged, ...), recall of the neighbours, seconds a step, settings.
    """

    cells: pd.DataFrame
    ranked_genes: pd.DataFrame
    info: dict[str, Any] = field(default_factory=dict)

    def save(self, cells: str | Path, ranked_genes: str | Path) -> None:
        """Write both tables as parquet."""
        for table, target in ((self.cells, cells), (self.ranked_genes, ranked_genes)):
            write_table(table, target)


def cluster_cells(
    adata: anndata.AnnData | Stored[anndata.AnnData],
    *,
    seed: int = 0,
    threads: int = 1,
    settings: ClusteringBlock | None = None,
) -> Clustering:
    """Cluster cells and rank the genes of each cluster.

    Counts are scaled to the median total and logged; principal components; nearest neighbours (exact, by lists with
    measured recall on large slides); UMAP's neighbourhood graph; Leiden; Wilcoxon of each cluster against the rest.

    Parameters
    ----------
    adata
        Cells x genes, raw counts; left as it is. One on disk (`Sample.stored_table`) is read for the components and
        again for the ranking: its counts, 8 bytes each, are not in memory beside the graph.
    seed
        Seed of components, lists and Leiden: the same seed gives the same clusters.
    threads
        Of components, neighbours and ranking.
    settings
        Resolution, components, neighbours, ...; None: the defaults.

    Raises
    ------
    UserError
        If the table has no cells, doubled names, or values that are no counts.
    """
    settings = settings or ClusteringBlock()
    clock = _Clock()
    table = _in_memory(adata)
    check_counts(table)
    filled = totals(table) > 0
    # Expression is computed again for the ranking rather than kept: at ten million cells it takes as much as the graph.
    with clock("components"):
        points = principal_components(_rows(log_normalised(table), filled), settings.n_pcs, seed, threads=threads)
    del table
    with clock("neighbours"):
        near = nearest_neighbours(points, settings.n_neighbors, seed=seed, threads=threads)
    with clock("graph"):
        graph = connectivities(near)
    lists, info = near.lists, _summary(points, near)
    del points, near  # of ten million cells three gigabytes, which the partition needs
    with clock("leiden"):
        start = {"start": lists} if settings.leiden == "igraph" else {}
        partition = PARTITIONS[settings.leiden](
            graph, settings.resolution, n_iterations=settings.n_iterations, seed=seed, **start
        )
        partition, merged, dropped = merge_small(partition, graph, min(settings.min_cluster_cells, len(partition)))
    del graph
    clusters = np.full(len(filled), -1, np.int32)
    clusters[filled] = partition
    with clock("ranking"):
        table = _in_memory(adata)
        genes = table.var_names.to_numpy()
        ranked = rank_genes(log_normalised(table), genes, clusters, n_ranked=settings.n_ranked, threads=threads)
    info |= {
        "n_cells": table.n_obs,
        "n_clusters": int(clusters.max(initial=-1)) + 1,
        "cells_without_counts": int((~filled).sum()),
        "small_clusters_merged": merged,
        "cells_set_aside": dropped,
        "seconds": clock.seconds,
        "resolution": settings.resolution,
        "leiden": settings.leiden,
        "seed": seed,
    }
    return Clustering(pd.DataFrame({"cell_id": cell_ids(table), "cluster": clusters}), ranked, info)


def _in_memory(table: anndata.AnnData | Stored[anndata.AnnData]) -> anndata.AnnData:
    return table.read() if isinstance(table, Stored) else table


def _rows(expression: sparse.csr_matrix, kept: np.ndarray) -> sparse.csr_matrix:
    """Rows of some cells; the table itself where that is all of them."""
    return expression if kept.all() else expression[kept]


def _summary(points: np.ndarray, near: Neighbours) -> dict[str, Any]:
    """Components and neighbours, for the log."""
    return {"n_pcs": points.shape[1], "neighbours": near.method, "neighbours_recall": near.recall}


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
