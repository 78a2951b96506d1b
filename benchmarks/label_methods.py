"""Labels of every method on real labelled cells, and `stnuclei` with each of its parts taken away.

python benchmarks/label_methods.py [--seeds 5] [--fast] [--write]

Data: the cells of Janesick et al. 2023 in ../shared/data (3,878 cells, 313 genes; hybrids and unlabelled cells are
left out of the score). `rich in lymphocytes`: the same slide with nine tenths of all other cells removed.
`names shuffled`: the panel's names dealt out at random; whatever is labelled then is chance. `counts shuffled`: each
gene's counts dealt out over the cells; the same. `tumour removed`: cells called Neoplastic where there are none left.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from stnuclei.clustering import cluster_cells  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.labels.evidence.model import _decide as REAL_DECIDE  # noqa: E402, N812
from stnuclei.labels.evidence.null_model import permutation_scores  # noqa: E402
from stnuclei.labels.evidence.smoothing import root_shares as REAL_SHARES  # noqa: E402, N812
from stnuclei.markers import load_markers  # noqa: E402

SHARED = ROOT.parent / "shared"
TABLE = SHARED / "data/janesick_breast_rep1_labelled/rep1_matched_3878cells_313genes.h5ad"
NAMES = SHARED / "markers/janesick2023_xenium_breast_labels.tsv"
CLASSES = ("Neoplastic", "Inflammatory", "Connective", "Epithelial")
UNKNOWN = "Unknown"
LABELS = "stnuclei.labels."


def plain_shares(adata: anndata.AnnData) -> Any:
    """Shares without the root."""
    shares = REAL_SHARES(adata)
    shares.data **= 2
    return shares


def mean_of_cells(means: np.ndarray, sizes: np.ndarray, *_: Any) -> np.ndarray:
    """Background of all cells, as they come."""
    return np.average(means, axis=0, weights=sizes)


def cells_alone(lineages: Any, clusters: np.ndarray, critical: float) -> Any:
    """Decision without the clusters' word."""
    return REAL_DECIDE(lineages, np.full(len(clusters), -1), critical)


def no_structure_test(*_: Any) -> tuple[bool, float]:
    """Every slide has structure."""
    return True, float("nan")


# Name, method, settings, what is replaced in the method's modules.
PARTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("stnuclei, complete", {}, {}),
    ("- averaging over similar cells", {"smoothing": 0}, {}),
    ("- second round of averaging", {"smoothing": 1}, {}),
    ("- shrinkage of the log-odds", {"prior_rows": 0.5, "prior_rows_malignant": 0.5}, {}),
    ("- square root of shares", {}, {"smoothing.root_shares": plain_shares}),
    ("- balanced background (mean of cells)", {}, {"lineage.balanced_reference": mean_of_cells}),
    ("- clusters vouching for cells", {}, {"evidence_model._decide": cells_alone}),
    ("- critical score (best category wins)", {"level": 2.9}, {}),
    ("- test for structure", {}, {"evidence_model.shows_structure": no_structure_test}),
    ("- ranks in the malignancy test", {}, {"malignancy.rank_scores": permutation_scores}),
    ("- split by the slide's own epithelium", {}, {"malignancy.split": lambda scores: 0.0}),
    ("- slide-level malignancy test", {"level_malignant": 1.0}, {}),
]
RIVALS: list[tuple[str, str, dict[str, Any]]] = [
    ("paper", "paper", {}),
    ("paper_no_refinement", "paper_no_refinement", {}),
    *((f"{m}, cancer set {s}", m, {"cancer_set": s}) for m in ("topdown", "ucell", "aucell") for s in ("REC2", "A3")),
    ("cellassign, cancer set REC2", "cellassign", {"cancer_set": "REC2"}),
    ("cellassign, cancer set A3", "cellassign", {"cancer_set": "A3"}),
]


def read() -> anndata.AnnData:
    """The labelled cells with their class in obs["truth"]."""
    table = anndata.read_h5ad(TABLE)
    classes = pd.read_csv(NAMES, sep="\t").set_index("label")["pannuke_class"]
    table.obs["truth"] = table.obs["cell_type"].astype(str).map(classes).to_numpy()
    return table


def score(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 over all cells with a truth; Unknown counts as wrong."""
    kept = truth != UNKNOWN
    truth, found = truth[kept], found[kept]
    f1 = {
        name: 2 * ((truth == name) & (found == name)).sum() / max((truth == name).sum() + (found == name).sum(), 1)
        for name in CLASSES
    }
    numbers = {"accuracy": (truth == found).mean(), "macro F1": np.mean(list(f1.values()))}
    return {**numbers, "Unknown": (found == UNKNOWN).mean()} | {f"F1 {name}": value for name, value in f1.items()}


class Slide:
    """A table with its clusters by seed."""

    def __init__(self, table: anndata.AnnData, markers: Any) -> None:
        self.table, self.markers = table, markers
        self.clusters: dict[int, Any] = {}

    def label(self, method: str, seed: int, settings: dict[str, Any]) -> np.ndarray:
        """Labels of one run."""
        if seed not in self.clusters:
            self.clusters[seed] = cluster_cells(self.table, seed=seed)
        found = self.clusters[seed]
        labels = label_cells(
            self.table, method, "Breast", markers=self.markers, clusters=found.cells, ranked_genes=found.ranked_genes,
            seed=seed, **settings,
        )  # fmt: skip
        return labels.cells["label"].to_numpy().astype(object)


def measure(
    slides: dict[str, Any], method: str, settings: dict[str, Any], replaced: dict[str, Any], seeds: int
) -> dict:
    """One row of the table: means over seeds."""
    start, rows = time.perf_counter(), []
    with ExitStack() as stack:
        for target, stand_in in replaced.items():
            stack.enter_context(patch(LABELS + target, stand_in))
        for seed in range(seeds if method != "cellassign" else min(seeds, 2)):
            full = slides["full"]
            row = score(full.table.obs["truth"].to_numpy().astype(object), full.label(method, seed, settings))
            row["seconds"] = (time.perf_counter() - start) / (seed + 1)
            if method != "cellassign":
                lymph = slides["lymph"]
                truth = lymph.table.obs["truth"].to_numpy().astype(object)
                row["lymphocyte-rich accuracy"] = score(truth, lymph.label(method, seed, settings))["accuracy"]
                shuffled = [slide.label(method, 0, settings) for slide in slides["shuffled"][seed :: max(seeds, 1)]]
                row["labelled, names shuffled"] = np.mean([(labels != UNKNOWN).mean() for labels in shuffled])
                row["labelled, counts shuffled"] = (slides["noise"].label(method, seed, settings) != UNKNOWN).mean()
                row["Neoplastic, tumour removed"] = (slides["rest"].label(method, seed, settings) == CLASSES[0]).mean()
            rows.append(row)
    return pd.DataFrame(rows).mean().to_dict()


def build_slides(n_shuffled: int) -> dict[str, Any]:
    """The slide, its lymphocyte-rich part, and copies with shuffled names."""
    table, markers, rng = read(), load_markers(), np.random.default_rng(0)
    kept = (table.obs["truth"] == "Inflammatory").to_numpy() | (rng.random(table.n_obs) < 0.1)
    full = Slide(table, markers)
    shuffled = []
    for _ in range(n_shuffled):
        copy = table.copy()
        copy.var_names = rng.permutation(table.var_names.to_numpy())
        slide = Slide(copy, markers)
        slide.clusters = full.clusters  # clusters do not know the names
        shuffled.append(slide)
    noise = table.copy()
    noise.X = csr_matrix(rng.permuted(table.X.toarray(), axis=0))
    noise, rest = noise[noise.X.sum(axis=1) > 0].copy(), table[(table.obs["truth"] != CLASSES[0]).to_numpy()].copy()
    full.clusters[0] = cluster_cells(table, seed=0)
    slides = {"lymph": table[kept].copy(), "noise": noise, "rest": rest}
    return {"full": full, "shuffled": shuffled} | {name: Slide(part, markers) for name, part in slides.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fast", action="store_true", help="leave CellAssign out")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/label_methods.md")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    slides = build_slides(n_shuffled=arguments.seeds)
    jobs = [(name, "stnuclei", settings, replaced) for name, settings, replaced in PARTS]
    jobs += [(name, method, settings, {}) for name, method, settings in RIVALS]
    table = {}
    for name, method, settings, replaced in jobs:
        if arguments.fast and method == "cellassign":
            continue
        table[name] = measure(slides, method, settings, replaced, arguments.seeds)
        print(name, {key: round(float(value), 3) for key, value in table[name].items()}, flush=True)
    frame = pd.DataFrame(table).T
    seconds = frame.pop("seconds").round(1)
    text = frame.round(3).assign(seconds=seconds).to_markdown()
    print(text)
    if arguments.write:
        seeds = f"Means over {arguments.seeds} seeds (CellAssign: at most 2)."
        head = f"# Labels on real cells\n\n{__doc__.strip()}\n\n{seeds}\n\n"
        (ROOT / "benchmarks/results/label_methods.md").write_text(head + text + "\n")


if __name__ == "__main__":
    main()
