"""Clusters by igraph in two rounds (the default) and by leidenalg to convergence (scanpy's documented default of 2024).

    python benchmarks/leiden.py counts.h5ad

CPU seconds of the partition alone, number of clusters, modularity, and adjusted Rand index between seeds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import anndata  # noqa: E402
import numpy as np  # noqa: E402
from scipy import sparse  # noqa: E402
from sklearn.metrics import adjusted_rand_score  # noqa: E402

from ratio import Ratio, race  # noqa: E402
from stnuclei.clustering.components import principal_components  # noqa: E402
from stnuclei.clustering.counts import log_normalised, totals  # noqa: E402
from stnuclei.clustering.graph import connectivities  # noqa: E402
from stnuclei.clustering.leiden import PARTITIONS  # noqa: E402
from stnuclei.clustering.neighbours import nearest_neighbours  # noqa: E402

RESOLUTION, SEEDS = 4.0, (0, 1, 2)


def modularity(graph: sparse.csr_matrix, clusters: np.ndarray) -> float:
    """Modularity of a partition at `RESOLUTION`."""
    strength = np.asarray(graph.sum(axis=1)).ravel()
    total = strength.sum()
    coo = graph.tocoo()
    inside = coo.data[clusters[coo.row] == clusters[coo.col]].sum() / total
    return float(inside - RESOLUTION * (np.bincount(clusters, weights=strength / total) ** 2).sum())


def measure(graph: sparse.csr_matrix, name: str, rounds: int) -> list[tuple[np.ndarray, float]]:
    """(clusters, CPU seconds) of each seed."""
    runs = []
    for seed in SEEDS:
        start = time.process_time()
        clusters = PARTITIONS[name](graph, RESOLUTION, n_iterations=rounds, seed=seed)
        runs.append((clusters, time.process_time() - start))
    return runs


def small() -> list[Ratio]:
    """CPU time of igraph in two rounds against leidenalg to convergence, on the cells of tests/data."""
    table = anndata.read_h5ad(ROOT / "tests/data/janesick_breast/rep1_matched_3878cells_313genes.h5ad")
    table = table[totals(table) > 0]
    graph = connectivities(nearest_neighbours(principal_components(log_normalised(table)), 15, seed=0))
    ours, peer = race(*(
        lambda name=name, n=n: PARTITIONS[name](graph, RESOLUTION, n_iterations=n, seed=0)
        for name, n in (("igraph", 2), ("leidenalg", -1))
    ), rounds=2, warm=False)  # fmt: skip
    return [Ratio("igraph in two rounds, leidenalg to convergence", peer / ours)]


def main() -> None:
    """Measure and print a table."""
    table = anndata.read_h5ad(sys.argv[1])
    table = table[totals(table) > 0]
    graph = connectivities(nearest_neighbours(principal_components(log_normalised(table)), 15, seed=0))
    print(f"{Path(sys.argv[1]).name}: {table.n_obs:,} cells, {table.n_vars} genes, resolution {RESOLUTION:g}\n")
    print("| setting | CPU s (median, range of 3 seeds) | clusters | modularity | ARI between seeds |")
    print("|---|---|---|---|---|")
    results = {}
    for name, rounds in (("igraph", 2), ("igraph", -1), ("leidenalg", 2), ("leidenalg", -1)):
        runs = results[name, rounds] = measure(graph, name, rounds)
        seconds = [run[1] for run in runs]
        counts = [str(run[0].max() + 1) for run in runs]
        quality = [f"{modularity(graph, run[0]):.4f}" for run in runs]
        alike = [adjusted_rand_score(runs[0][0], run[0]) for run in runs[1:]]
        print(
            f"| `leiden: {name}`, `n_iterations: {rounds}` | {np.median(seconds):.2f} ({min(seconds):.2f} to "
            f"{max(seconds):.2f}) | {', '.join(counts)} | {', '.join(quality)} | {np.mean(alike):.2f} |"
        )
    other = adjusted_rand_score(results["igraph", 2][0][0], results["leidenalg", -1][0][0])
    print(f"\nARI of the default and leidenalg to convergence, same seed: {other:.2f}")


if __name__ == "__main__":
    main()
