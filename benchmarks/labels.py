"""Seconds of the label stage (normalise to labels) against scanpy, each in a fresh process.

    python benchmarks/labels.py                          # ours and scanpy's fastest settings, 100,000 x 400
    python benchmarks/labels.py --peers fastest default  # and scanpy's defaults (leidenalg: many minutes)
    python benchmarks/labels.py --cells 1000000 --peers  # ours alone, a million cells: seconds and peak memory
    python benchmarks/labels.py --cells 10000000 --peers # ten million: an hour, 24 GB
    python benchmarks/labels.py --peers --methods stnuclei topdown ucell aucell cellassign    # methods that label cells

Counts are negative binomial (dispersion 0.2) with 40 groups of unequal size. By default each cell is a blend of two of
them, as tissue's are, so that clusters run into each other; `--apart` leaves each cell in one group, which makes
Leiden's work unusually easy. Every way starts from the same raw counts and ends in labels by the
published rule. Modularity is that of the clusters on one and the same graph, of exact
neighbours (up to 150,000 cells). Seconds are of the clock; on a machine that others use at the same time compare the
seconds of CPU time instead, which waiting does not lengthen.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from made_counts import like_breast, synthesise  # noqa: E402
from ratio import COST, Ratio, race  # noqa: E402

RESOLUTION, TISSUE = 4.0, "Breast"
PEERS = ("fastest", "default")
STEP = "step"
# Cells that the step of `stnuclei` is timed on, at most.
STEP_CELLS = 100_000
# Up to so many cells the graph of exact neighbours is made, to judge clusters by.
EXACT_CELLS = 150_000


def run_ours(adata, threads):
    """Our stage; seconds a step."""
    from stnuclei.clustering import cluster_cells
    from stnuclei.config.labels import ClusteringBlock
    from stnuclei.labels import label_cells

    found = cluster_cells(adata, seed=0, threads=threads, settings=ClusteringBlock(resolution=RESOLUTION))
    start = time.perf_counter()
    label_cells(adata, "paper", TISSUE, clusters=found.cells, ranked_genes=found.ranked_genes)
    seconds = found.info["seconds"] | {"labels": time.perf_counter() - start}
    return found.cells["cluster"].to_numpy(), seconds, found.info["neighbours_recall"]


def run_method(adata, method, threads):
    """One method that labels cells, from raw counts (`stnuclei` with its clustering); its seconds."""
    import numpy as np

    from stnuclei.labels import label_cells

    start = time.perf_counter()
    labels = label_cells(adata, method, TISSUE, threads=threads)
    return np.zeros(len(labels.cells)), {"labels": time.perf_counter() - start}, float("nan")


def run_step(cells, threads):
    """The step of `stnuclei`, clusters given; its CPU seconds and those of the clustering."""
    from stnuclei.clustering import cluster_cells
    from stnuclei.labels import label_cells

    adata, start = like_breast(cells), time.process_time()
    found = cluster_cells(adata, threads=threads)
    middle = time.process_time()
    label_cells(adata, "stnuclei", TISSUE, clusters=found.cells, ranked_genes=found.ranked_genes, threads=threads)
    return {"clustering": middle - start, "labels": time.process_time() - middle}


def run_scanpy(adata, fastest: bool):
    """Scanpy's documented way, labels by our voting; seconds a step."""
    import scanpy

    from stnuclei.clustering.leiden import by_size
    from stnuclei.clustering.ranking import COLUMNS
    from stnuclei.labels import label_cells

    clock, seconds, raw = time.perf_counter(), {}, adata.copy()

    def lap(name):
        nonlocal clock
        seconds[name], clock = time.perf_counter() - clock, time.perf_counter()

    scanpy.pp.normalize_total(adata)
    scanpy.pp.log1p(adata)
    lap("normalise")
    scanpy.pp.pca(adata, n_comps=50)
    lap("components")
    scanpy.pp.neighbors(adata)
    lap("neighbours")
    options = {"flavor": "igraph", "n_iterations": 2, "directed": False} if fastest else {}
    scanpy.tl.leiden(adata, resolution=RESOLUTION, **options)
    sizes = adata.obs["leiden"].value_counts()
    groups = [name for name in sizes.index if sizes[name] > 1]
    lap("leiden")
    scanpy.tl.rank_genes_groups(adata, "leiden", groups=groups, method="wilcoxon", n_genes=100)
    lap("ranking")
    ranked = scanpy.get.rank_genes_groups_df(adata, None)
    if "group" not in ranked:
        ranked.insert(0, "group", groups[0])
    ranked["rank"] = ranked.groupby("group", observed=True).cumcount() + 1
    ranked = ranked.rename(columns={"group": "cluster", "names": "gene", "scores": "score", "pvals": "pvalue"})
    ranked = ranked.rename(columns={"logfoldchanges": "logfoldchange"}).astype({"cluster": int})[list(COLUMNS)]
    clusters = adata.obs["leiden"].astype(int).to_numpy()
    cells = adata.obs_names.to_frame(name="cell_id").assign(cluster=clusters)
    label_cells(raw, "paper", TISSUE, clusters=cells, ranked_genes=ranked)
    lap("labels")
    return by_size(clusters), seconds, float("nan")


def recall_of(adata) -> float:
    """Share of the true neighbours of 1,000 cells that scanpy's graph holds."""
    import faiss
    import numpy as np

    points, rows = adata.obsm["X_pca"].astype(np.float32), np.random.default_rng(0).choice(adata.n_obs, 1_000, False)
    truth = faiss.knn(points[rows], points, 15)[1]
    found = adata.obsp["distances"][rows].tocsr()
    hits = [
        len(np.intersect1d(found.indices[found.indptr[i] : found.indptr[i + 1]], truth[i][truth[i] != row]))
        for i, row in enumerate(rows)
    ]
    return float(np.mean(hits)) / 14


def worker(name: str, data: Path, out: Path, threads: int) -> None:
    """Run one way in this process and write seconds, clusters and peak memory."""
    import anndata
    import numpy as np

    if name == STEP:
        cells = min(anndata.read_h5ad(data, backed="r").n_obs, STEP_CELLS)
        out.write_text(json.dumps({"cells": cells, **run_step(cells, threads)}))
        return
    adata = anndata.read_h5ad(data)
    start, cpu_start = time.perf_counter(), time.process_time()
    if name == "ours":
        clusters, seconds, recall = run_ours(adata, threads)
    elif name in PEERS:
        clusters, seconds, recall = run_scanpy(adata, name == "fastest")
    else:
        clusters, seconds, recall = run_method(adata, name, threads)
    total = time.perf_counter() - start
    cpu = time.process_time() - cpu_start
    if name in PEERS:
        recall = recall_of(adata)
    np.save(out.with_suffix(".npy"), clusters)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result = {
        "way": name,
        "total": total,
        "cpu": cpu,
        "peak_gib": peak,
        "recall": recall,
        "clusters": int(clusters.max()) + 1,
    }
    out.write_text(json.dumps(result | {"seconds": seconds}))


def judge(data: Path, found: dict[str, Path], threads: int) -> dict[str, float]:
    """Modularity of each way's clusters on the graph of exact neighbours; equality of ranked genes with scanpy's."""
    import anndata
    import igraph
    import numpy as np
    import scanpy

    from stnuclei.clustering import neighbours
    from stnuclei.clustering.components import principal_components
    from stnuclei.clustering.counts import log_normalised
    from stnuclei.clustering.graph import connectivities
    from stnuclei.clustering.ranking import rank_genes

    adata = anndata.read_h5ad(data)
    expression = log_normalised(adata)
    neighbours.EXACT_CELLS = EXACT_CELLS
    near = neighbours.nearest_neighbours(principal_components(expression), threads=threads)
    upper = connectivities(near).tocoo()
    graph = igraph.Graph(n=adata.n_obs)
    graph.add_edges(np.column_stack([upper.row, upper.col]).astype(np.int64))
    weights = upper.data.astype(float)
    result = {}
    for name, path in found.items():
        clusters = np.load(path)
        result[name] = graph.modularity(np.maximum(clusters, 0), weights=weights, resolution=RESOLUTION)
    clusters = np.load(found["ours"])
    ours = rank_genes(expression, adata.var_names.to_numpy(), clusters, n_ranked=20, threads=threads)
    adata.X = expression
    adata.obs["ours"] = np.char.mod("%d", clusters)
    adata.obs["ours"] = adata.obs["ours"].astype("category")
    scanpy.tl.rank_genes_groups(adata, "ours", method="wilcoxon", n_genes=20)
    theirs = scanpy.get.rank_genes_groups_df(adata, None)
    theirs = {name: list(part["names"]) for name, part in theirs.groupby("group", observed=True)}
    same = [list(part["gene"]) == theirs[str(name)] for name, part in ours.groupby("cluster")]
    result["same_ranked"] = float(np.mean(same))
    return result


def report(rows: list[dict], quality: dict[str, float], n_cells: int, n_genes: int, threads: int) -> str:
    """The table as markdown."""
    steps = ["normalise", "components", "neighbours", "graph", "leiden", "ranking", "labels"]
    within = {"normalise": "components", "graph": "neighbours"}
    lines = [
        f"Label stage, {n_cells:,} cells x {n_genes} genes, {threads} threads; seconds",
        "",
        "| way | "
        + " | ".join(steps)
        + " | **total** | ratio | CPU | ratio | clusters | modularity (r = 4) | kNN recall | peak GiB |",
        "|---|" + "---|" * (len(steps) + 8),
    ]
    base = rows[0]
    for row in rows:
        cells = [f"{row['seconds'][s]:.1f}" if s in row["seconds"] else f"(in {within[s]})" for s in steps]
        q = f"{quality[row['way']]:.4f}" if row["way"] in quality else "-"
        tail = f"**{row['total']:.1f}** | {row['total'] / base['total']:.1f} | {row['cpu']:.1f} "
        tail += f"| {row['cpu'] / base['cpu']:.1f} | {row['clusters']} | {q}"
        recall = f"{row['recall']:.3f}" if row["recall"] == row["recall"] else "-"
        lines.append(f"| {row['way']} | " + " | ".join(cells) + f" | {tail} | {recall} | {row['peak_gib']:.1f} |")
    if "same_ranked" in quality:
        lines += ["", f"Identical clusters whose top 20 genes are scanpy's, in its order: {quality['same_ranked']:.1%}"]
    return "\n".join(lines)


def report_methods(rows: list[dict]) -> str:
    """The table of the methods that label cells."""
    lines = [
        "Raw counts to labels by method, on the same cells",
        "",
        "| method | seconds | peak GiB |",
        "|---|---|---|",
    ]
    return "\n".join(lines + [f"| {row['way']} | {row['total']:.1f} | {row['peak_gib']:.1f} |" for row in rows])


def small() -> list[Ratio]:
    """CPU time from counts to labels against scanpy's fastest settings (compiled before), and of `stnuclei`'s step."""
    import anndata

    from stnuclei.clustering import cluster_cells
    from stnuclei.labels import label_cells

    with tempfile.TemporaryDirectory() as folder:
        synthesise(10_000, 400, Path(folder) / "counts.h5ad")
        table = anndata.read_h5ad(Path(folder) / "counts.h5ad")
    ours, peer = race(lambda: run_ours(table.copy(), 1), lambda: run_scanpy(table.copy(), True), rounds=2, warm=False)
    cells = like_breast(10_000)
    found = cluster_cells(cells)
    given = {"clusters": found.cells, "ranked_genes": found.ranked_genes}
    step, clustering = race(
        lambda: label_cells(cells, "stnuclei", TISSUE, **given), lambda: cluster_cells(cells), rounds=2
    )
    return [
        Ratio("counts to labels, scanpy's fastest settings", peer / ours),
        Ratio("labels by stnuclei, clustering", step / clustering, COST),
    ]


def main() -> None:
    """Run, print, and with --write keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=400)
    parser.add_argument("--peers", nargs="*", default=["fastest"], choices=PEERS)
    parser.add_argument("--methods", nargs="*", default=[], help="methods to time on the same cells")
    parser.add_argument("--apart", action="store_true", help="each cell of one group: clusters lie far apart")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/labels_<cells>[_apart].md")
    parser.add_argument("--worker", nargs=3, metavar=("WAY", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], Path(options.worker[1]), Path(options.worker[2]), options.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        data, rows, found = Path(folder) / "counts.h5ad", [], {}
        synthesise(options.cells, options.genes, data, options.apart)
        for way in ["ours", *options.peers, *options.methods, STEP]:
            out = Path(folder) / f"{way}.json"
            command = [sys.executable, "-W", "ignore", __file__, "--threads", str(options.threads)]
            # Threads that wait must not burn the CPU time that is measured.
            environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
            subprocess.run([*command, "--worker", way, str(data), str(out)], check=True, env=environment)
            rows.append(json.loads(out.read_text()))
            print(json.dumps(rows[-1]), file=sys.stderr)
            if way == STEP:
                step = rows.pop()
            elif way not in options.methods:
                found[way] = out.with_suffix(".npy")
        quality = judge(data, found, options.threads) if options.cells <= EXACT_CELLS else {}
    by_cluster = [row for row in rows if row["way"] in found]
    text = report(by_cluster, quality, options.cells, options.genes, options.threads)
    text += (
        f"\n\nThe default method's own step, {step['cells']:,} cells drawn from real ones "
        f"(tests/data/janesick_breast): {step['labels']:.1f} CPU s; their clustering {step['clustering']:.1f} CPU s."
    )
    if options.methods:
        text += "\n\n" + report_methods([row for row in rows if row["way"] in options.methods])
    print(text)
    if options.write:
        target = ROOT / "benchmarks" / "results" / f"labels_{options.cells}{'_apart' * options.apart}.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
