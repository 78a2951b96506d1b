"""Baselines the paper's way and at their best on labelled cells, and the collapse of CellAssign.

python benchmarks/baselines.py [--write] [--scvi] [--speed] [--methods topdown ucell aucell cellassign]

Data: ../shared/data (development only). Accuracy / macro F1 over the classes an annotation has; cells annotated Unknown
are left out.
"best" and the excess of 0 were chosen on these very sets, which flatters the baselines. `--scvi` adds CellAssign by
scvi-tools (minutes a set); `--speed` prints CPU seconds of `cellassign` at its best on 100,000 x 400 simulated cells.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from ratio import COST, Ratio, race  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.markers import load_markers  # noqa: E402

SHARED = Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared"))
SETS = {
    "breast, labelled slide": ("janesick_breast_rep1_labelled/rep1_matched_3878cells_313genes", "Breast"),
    "breast, replicate": ("labelled/xenium_breast_janesick_rep2", "Breast"),
    "breast, another region": ("labelled/xenium_breast_janesick_rep1_regionB", "Breast"),
    "breast, add-on panel": ("labelled/xenium_breast_idc_addon_scider", "Breast"),
    "breast, nuclear counts": ("labelled/xenium_breast_pace_subset", "Breast"),
    "breast, scRNA-seq": ("labelled/scrna_tnbc_wu2021_CID4465", "Breast"),
    "lung, MERFISH": ("labelled/merfish_nsclc_chen2024_p002", "Lung"),
}
PAPER = {"cancer_set": "A3", "max_list_size": None, "parameters": "package"}
RUNS = [
    *(
        (f"{m}, {name}", m, given)
        for m in ("topdown", "ucell", "aucell")
        for name, given in (("paper", PAPER), ("best", {}))
    ),
    ("cellassign, best", "cellassign", {}),
    ("cellassign, excess 1", "cellassign", {"min_excess": 1.0}),
    ("cellassign, excess 2", "cellassign", {"min_excess": 2.0}),
]
SCVI = [("cellassign, paper (scvi-tools)", "cellassign", PAPER)]
MERGED = "Neoplastic_or_Epithelial"


def read(name: str) -> anndata.AnnData:
    """A labelled set with its class in obs["truth"]; scRNA-seq cut to the Xenium panel."""
    table = anndata.read_h5ad(SHARED / "data" / f"{SETS[name][0]}.h5ad")
    if "in_xenium_breast313" in table.var:
        table = table[:, table.var["in_xenium_breast313"].astype(bool)].copy()
    if "proposed_class" in table.obs:
        table.obs["truth"] = table.obs["proposed_class"].astype(str)
    else:
        classes = pd.read_csv(SHARED / "markers/janesick2023_xenium_breast_labels.tsv", sep="\t").set_index("label")
        table.obs["truth"] = table.obs["cell_type"].astype(str).map(classes["pannuke_class"]).to_numpy()
    return table


def score(truth: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Accuracy and macro F1; where an annotation does not split epithelium, its two classes count as one."""
    kept = truth != "Unknown"
    truth, label = truth[kept], label[kept]
    if MERGED in set(truth):
        label = np.where(np.isin(label, ["Neoplastic", "Epithelial"]), MERGED, label)
    f1 = [
        2 * ((truth == name) & (label == name)).sum() / max((truth == name).sum() + (label == name).sum(), 1)
        for name in sorted(set(truth))
    ]
    return float((truth == label).mean()), float(np.mean(f1))


def no_clusters(table: anndata.AnnData) -> dict[str, pd.DataFrame]:
    """One cluster of all cells: the baselines decide cell by cell."""
    clusters = pd.DataFrame({"cell_id": table.obs_names, "cluster": np.zeros(table.n_obs, np.int32)})
    ranked = pd.DataFrame({"cluster": [0], "rank": [1], "gene": [table.var_names[0]], "score": [0.0]})
    return {"clusters": clusters, "ranked_genes": ranked}


def table_of_scores(runs: list) -> pd.DataFrame:
    """One row a run, one column a set, their mean and the worst."""
    markers, cells = load_markers(), {}
    for name, _, _ in runs:
        cells[name] = {}
    for data, (_, tissue) in SETS.items():
        table = read(data)
        given = {**no_clusters(table), "markers": markers, "seed": 0}
        for name, method, settings in runs:
            labels = label_cells(table, method, tissue, **given, **settings).cells["label"].to_numpy().astype(str)
            cells[name][data] = score(table.obs["truth"].to_numpy().astype(str), labels)
            print(f"{data}: {name}: {cells[name][data][0]:.2f} / {cells[name][data][1]:.2f}", flush=True)
    rows = {name: {data: f"{a:.2f} / {f:.2f}" for data, (a, f) in found.items()} for name, found in cells.items()}
    for name, found in cells.items():
        pairs = np.array(list(found.values()))
        rows[name]["mean"] = "{:.3f} / {:.3f}".format(*pairs.mean(axis=0))
        rows[name]["worst"] = "{:.2f} / {:.2f}".format(*pairs.min(axis=0))
    return pd.DataFrame(rows).T.rename_axis("method")


def as_markdown(table: pd.DataFrame) -> str:
    """The table with pipes."""
    lines = [[table.index.name, *table.columns], ["---"] * (1 + table.shape[1])]
    lines += [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def simulated(n_cells: int, n_genes: int) -> anndata.AnnData:
    """Poisson counts of six groups, on genes that breast's markers name."""
    random = np.random.default_rng(0)
    genes = sorted(set(load_markers().for_tissue("Breast")["symbol"]))
    names = [genes[i] for i in np.linspace(0, len(genes) - 1, n_genes).astype(int)]
    means = random.gamma(0.4, 0.6, (6, n_genes))
    group = random.integers(0, 6, n_cells)
    blocks = [sparse.csr_matrix(random.poisson(means[part])) for part in np.array_split(group, 20)]
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    return anndata.AnnData(sparse.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=names))


def speed(n_cells: int = 100_000, n_genes: int = 400) -> str:
    """CPU seconds of `cellassign` on simulated counts, two threads at most."""
    table = simulated(n_cells, n_genes)
    start, clock = time.process_time(), time.perf_counter()
    label_cells(table, "cellassign", "Breast", **no_clusters(table))
    return (
        f"cellassign, {n_cells:,} x {n_genes} cells: {time.process_time() - start:.1f} s of CPU, "
        f"{time.perf_counter() - clock:.1f} s of the clock, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    )


def small() -> list[Ratio]:
    """CPU time of `cellassign` against `topdown`, 10,000 simulated cells."""
    table = simulated(10_000, 400)
    runs = (lambda method=method: label_cells(table, method, "Breast", **no_clusters(table))
            for method in ("cellassign", "topdown"))  # fmt: skip
    ours, peer = race(*runs, rounds=2)
    return [Ratio("cellassign, topdown", ours / peer, COST)]


def main() -> None:
    """Print the tables; keep them in benchmarks/results where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("write", "scvi", "speed"):
        parser.add_argument(f"--{option}", action="store_true")
    parser.add_argument("--methods", nargs="+", default=["topdown", "ucell", "aucell", "cellassign"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    text = "# " + " ".join(["python benchmarks/baselines.py", *sys.argv[1:]]) + "\n\n"
    if options.speed:
        text += speed() + "\n\n"
    runs = [run for run in RUNS + (SCVI if options.scvi else []) if run[1] in options.methods]
    text += as_markdown(table_of_scores(runs))
    print(text)
    if options.write:
        (ROOT / "benchmarks" / "results" / "baselines.md").write_text(text)


if __name__ == "__main__":
    main()
