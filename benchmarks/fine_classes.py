"""Fine classes (taxonomy tissue11) on the labelled sets' own names, and what they are worth collapsed to PanNuke's.

python benchmarks/fine_classes.py [--write] [--methods stnuclei paper cellassign]

Data: ../shared/data (development only). Names that no fine class fits (hybrids, unlabelled, lung epithelium that is not
split) are left out of the score; a label Unknown is wrong. Nothing in the taxonomy was chosen on these sets.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
sys.path.insert(0, str(ROOT / "benchmarks"))

from baselines import SETS, as_markdown, no_clusters, read  # noqa: E402
from stnuclei.clustering import cluster_cells  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.taxonomy import Taxonomy  # noqa: E402

FINE = Taxonomy.load("tissue11")
# Authors' names, the first that is found in the lower-case name.
NAMES = [
    ("hybrid|unlabel|cycling|prolif.*immune", "Unknown"),
    ("plasma", "Plasma cell"),
    (r"macro|mono|myeloid|dendrit|(?:\b|_)dcs?\b|\bmac\b|langerhans", "Macrophage"),
    ("mast", "Mast cell"),
    ("neutro|granulo", "Neutrophil"),
    (r"^b$|\bb[-_ ]cells?", "B cell"),
    (r"cd4|cd8|t[_ -]?cells?\b|treg|\bnk\b|ilc", "T cell"),
    ("endothel|vascular$", "Endothelial"),
    ("perivasc|pericyte|smooth|pvl|mural", "Smooth muscle"),
    ("fibro|caf|strom", "Fibroblast"),
    ("myoepi|normal epi", "Epithelial"),
    ("dcis|invasive|tumou?r|cancer|malig", "Neoplastic"),
]


def fine_name(name: str) -> str:
    """Fine class of an author's name; Unknown where none fits."""
    return next((target for pattern, target in NAMES if re.search(pattern, name.lower())), "Unknown")


def f1_scores(truth: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """F1 of each class of the truth."""
    return {
        name: 2 * ((truth == name) & (label == name)).sum() / max((truth == name).sum() + (label == name).sum(), 1)
        for name in sorted(set(truth))
    }


def score_set(data: str, method: str) -> dict[str, str]:
    """Scores of one method on one set: fine, collapsed, and by PanNuke's own taxonomy."""
    table, tissue = read(data), SETS[data][1]
    given: dict[str, Any] = {"disease": "cancer", "seed": 0, **no_clusters(table)}
    if method in ("stnuclei", "paper"):
        clustering = cluster_cells(table, seed=0)
        given |= {"clusters": clustering.cells, "ranked_genes": clustering.ranked_genes}
    fine = label_cells(table, method, tissue, taxonomy=FINE, **given).cells["label"].to_numpy().astype(str)
    coarse = label_cells(table, method, tissue, **given).cells["label"].to_numpy().astype(str)
    truth = np.array([fine_name(name) for name in table.obs["cell_type"].astype(str)])
    kept = truth != "Unknown"
    truth, fine, coarse = truth[kept], fine[kept], coarse[kept]
    scores = f1_scores(truth, fine)
    above, collapsed = FINE.collapsed(truth), FINE.collapsed(fine)
    row = {"set": data, "method": method, "cells": f"{len(truth):,}", "classes": str(len(scores))}
    row |= {"accuracy / macro F1": f"{(truth == fine).mean():.2f} / {np.mean(list(scores.values())):.2f}"}
    for name, label in (("collapsed", collapsed), ("pannuke", coarse)):
        row[name] = f"{(above == label).mean():.2f} / {np.mean(list(f1_scores(above, label).values())):.2f}"
    row["Unknown"] = f"{(fine == 'Unknown').mean():.2f}"
    return row | {"F1 by class": ", ".join(f"{name} {value:.2f}" for name, value in scores.items())}


def main() -> None:
    """Print the table; keep it in benchmarks/results where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--methods", nargs="+", default=["stnuclei", "paper", "cellassign"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for data in SETS:
        for method in options.methods:
            rows.append(score_set(data, method))
            print(rows[-1], flush=True)
    text = "# " + " ".join(["python benchmarks/fine_classes.py", *sys.argv[1:]]) + "\n\n"
    text += as_markdown(pd.DataFrame(rows).set_index("set"))
    print(text)
    if options.write:
        (ROOT / "benchmarks" / "results" / "fine_classes.md").write_text(text)


if __name__ == "__main__":
    main()
