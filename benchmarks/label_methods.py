"""Labels of every method on every labelled set at hand; constants of `stnuclei` chosen on other tumours.

python benchmarks/label_methods.py [--seeds 2] [--methods stnuclei,paper,...] [--panels] [--cache FOLDER] [--write]

Baselines run with this project's settings, and once more "as published": the literal cancer set, lists of any length,
the packages' own parameters (what `config/paper` runs). CellAssign as published takes minutes a set and runs only
where `--methods` names it.

Accuracy and macro F1 (over the classes a set has) count Unknown as wrong and a cell with alternatives as its label.
Sets of one tumour or slide are one unit. What is reported of `stnuclei` for a set was chosen on the other units, from
the grid below, with the disease left empty; the shipped defaults are those chosen on all units.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from labelled_sets import (  # noqa: E402
    EITHER,
    SETS,
    UNKNOWN,
    LabelledSet,
    normal_sets,
    null_sets,
    on_genes,
    panel_genes,
)
from stnuclei.clustering import cluster_cells  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.markers import load_markers  # noqa: E402

GRID = {"malignant_threshold": (0.4, 0.2, 0.6), "overdispersion": (0.08, 0.05, 0.12)}
PUBLISHED = {"cancer_set": "A3", "max_list_size": None, "parameters": "package"}
BASELINES = ("topdown", "ucell", "aucell", "cellassign")
# Name in the tables -> method and its settings.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("stnuclei", "paper", "paper_no_refinement", *BASELINES)},
    **{f"{name} as published": (name, PUBLISHED) for name in BASELINES},
}
USUAL = [name for name in METHODS if name != "cellassign as published"]
EVIDENCE = "stnuclei.labels.evidence."
# Kept labels are those of these sources.
FILES = sorted((ROOT / "workflow/scripts/stnuclei/labels").rglob("*.py"))
SOURCES = md5(b"".join(file.read_bytes() for file in FILES)).hexdigest()
# Part of the method that is taken away -> what replaces it.
ABLATIONS: dict[str, dict[str, Any]] = {
    "complete": {},
    "- spillover taken out": {"lineage.without_spillover": lambda profiles, *_: profiles},
    "- cells unmixed (cluster's mixture decides)": {
        "lineage._unmix_cells": lambda counts, clusters, profiles, pure, parts, category, n, weight: (
            np.eye(n)[category].T @ parts.T
        ).argmax(axis=0)[clusters]
    },
    "- naive Bayes (unmixing decides)": {
        "lineage.naive_bayes": lambda counts, clusters, category, n, _: (np.eye(n)[category], clusters * n + category)
    },
    "- proliferation": {"malignancy._proliferation": lambda sums, *_: np.zeros(len(sums))},
    "- two kinds of epithelium": {"malignancy._two_kinds": lambda *_: None},
}


class Bench:
    """Labelled sets with their clusters by seed, kept in a folder where one is given."""

    def __init__(self, cache: Path | None) -> None:
        self.markers = load_markers()
        self.cache = cache
        self.clusters: dict[tuple[str, int], Any] = {}

    def clusters_of(self, section: LabelledSet, seed: int, key: str | None = None) -> Any:
        """Clusters of a set; `key` names a set with the same counts."""
        key = (key or section.name, seed)
        if key not in self.clusters:
            path = self.cache / f"{key[0]}.{seed}.pickle".replace(" ", "_") if self.cache else None
            if path and path.exists():
                self.clusters[key] = pickle.loads(path.read_bytes())
            else:
                self.clusters[key] = cluster_cells(section.cells, seed=seed)
                if path:
                    path.write_bytes(pickle.dumps(self.clusters[key]))
        return self.clusters[key]

    def label(
        self,
        section: LabelledSet,
        method: str,
        seed: int = 0,
        disease: str | None = None,
        key: str | None = None,
        replaced: str = "",
        **settings: Any,
    ) -> pd.DataFrame:
        """Table of labels of one run, kept with the clusters; `replaced` names what `without` has taken away."""
        name = repr((section.name, section.cells.shape, method, seed, disease, sorted(settings.items()), replaced))
        path = self.cache / f"{md5((name + SOURCES).encode()).hexdigest()}.parquet" if self.cache else None
        if path and path.exists():
            return pd.read_parquet(path)
        clustering = self.clusters_of(section, seed, key)
        cells = label_cells(
            section.cells, method, section.tissue, markers=self.markers, clusters=clustering.cells,
            ranked_genes=clustering.ranked_genes, disease=disease, seed=seed, **settings,
        ).cells  # fmt: skip
        if path:
            cells.to_parquet(path)
        return cells


def score(truth: np.ndarray, cells: pd.DataFrame) -> dict[str, float]:
    """Accuracy, macro F1, fraction Unknown, fraction undecided and expected calibration error (ten equal bins)."""
    kept = truth != UNKNOWN
    truth, table = truth[kept], cells[kept]
    label = table["label"].to_numpy().astype(object)
    unknown = (label == UNKNOWN).mean()
    if (truth == EITHER).any():
        label = np.where(np.isin(label, ["Neoplastic", "Epithelial"]), EITHER, label)
    f1 = [
        2 * ((truth == k) & (label == k)).sum() / max((truth == k).sum() + (label == k).sum(), 1)
        for k in np.unique(truth.astype(str))
    ]
    right, confidence = truth == label, table["confidence"].to_numpy(np.float64)
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    undecided = (table["alternatives"] != "").mean()
    numbers = (right.mean(), np.mean(f1), unknown, undecided, sum(gaps))
    return dict(zip(("accuracy", "macro F1", "Unknown", "undecided", "ECE"), map(float, numbers), strict=True))


def false_neoplastic(truth: np.ndarray, cells: pd.DataFrame) -> float:
    """Fraction of normal epithelial cells called Neoplastic."""
    return float((cells["label"][truth == "Epithelial"] == "Neoplastic").mean())


def choose(bench: Bench, sections: list[LabelledSet], normal: list[LabelledSet]) -> tuple[dict, dict]:
    """Constants for each unit, chosen on the other units (seed 0, disease empty), and those chosen on all.

    What is made large: accuracy + macro F1 - ECE of a set, less the fraction of normal epithelium called Neoplastic;
    sets are averaged within a unit, units count alike, and of equal ones the first of the grid is taken.
    """
    combinations = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    goals = np.zeros((len(combinations), len(sections) + len(normal)))
    for row, settings in enumerate(combinations):
        for column, section in enumerate(sections):
            numbers = score(section.truth, bench.label(section, "stnuclei", **settings))
            goals[row, column] = numbers["accuracy"] + numbers["macro F1"] - numbers["ECE"]
        for column, section in enumerate(normal, len(sections)):
            cells = bench.label(section, "stnuclei", **settings)
            goals[row, column] = 2 - false_neoplastic(section.truth, cells)
    units = np.array([section.unit for section in [*sections, *normal]])
    by_unit = {unit: goals[:, units == unit].mean(axis=1) for unit in np.unique(units)}
    chosen = {
        unit: combinations[int(np.mean([v for u, v in by_unit.items() if u != unit], axis=0).argmax())]
        for unit in by_unit
    }
    return chosen, combinations[int(np.mean(list(by_unit.values()), axis=0).argmax())]


def ceilings(bench: Bench, section: LabelledSet) -> dict[str, float]:
    """Accuracy of the best label per cluster, and of a classifier trained on the truth (3-fold, 3,000 cells)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    truth = section.truth.astype(str)
    kept = np.flatnonzero(truth != UNKNOWN)
    clusters = bench.clusters_of(section, 0).cells["cluster"].to_numpy()[kept]
    table = pd.crosstab(clusters, truth[kept])
    totals = np.maximum(np.asarray(section.cells.X.sum(axis=1)).ravel(), 1)
    values = np.log1p(section.cells.X.toarray() / totals[:, None] * np.median(totals))
    kept = np.random.default_rng(0).permutation(kept)[:3000]
    values = StandardScaler().fit_transform(values[kept])
    predicted = cross_val_predict(LogisticRegression(C=0.01, max_iter=200), values, truth[kept], cv=3)
    return {
        "best label per cluster": float(table.max(axis=1).sum() / table.to_numpy().sum()),
        "classifier trained on the truth": float((predicted == truth[kept]).mean()),
    }


@contextmanager
def without(replaced: dict[str, Any]) -> Iterator[None]:
    """Run the method with some of its functions replaced."""
    patches = [patch(EVIDENCE + target, stand_in) for target, stand_in in replaced.items()]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def main_table(bench: Bench, sections: list[LabelledSet], chosen: dict, methods: list[str], seeds: int) -> pd.DataFrame:
    """Scores by set and method, means over seeds."""
    rows = []
    for section, name in itertools.product(sections, methods):
        method, settings = METHODS[name]
        for disease in (None, "cancer") if method == "stnuclei" else (None,):
            settings = chosen[section.unit] if method == "stnuclei" else settings
            runs = [
                score(section.truth, bench.label(section, method, seed, disease, **settings)) for seed in range(seeds)
            ]
            shown = name if method != "stnuclei" else f"stnuclei, disease {disease or 'empty'}"
            rows.append({"set": section.name, "method": shown, **pd.DataFrame(runs).mean().to_dict()})
            print({key: value if isinstance(value, str) else round(value, 3) for key, value in rows[-1].items()})
    return pd.DataFrame(rows)


def wide(table: pd.DataFrame) -> str:
    """Accuracy / macro F1 by set (rows) and method, with mean and worst set."""
    columns = list(dict.fromkeys(table["method"]))
    accuracy, f1 = (table.pivot(index="set", columns="method", values=v)[columns] for v in ("accuracy", "macro F1"))
    order = list(dict.fromkeys(table["set"]))
    accuracy, f1 = accuracy.loc[order], f1.loc[order]
    for name, rule in (("**mean**", "mean"), ("**worst set**", "min")):
        accuracy.loc[name], f1.loc[name] = getattr(accuracy.loc[order], rule)(), getattr(f1.loc[order], rule)()
    text = accuracy.map("{:.2f}".format) + " / " + f1.map("{:.2f}".format)
    return text.rename_axis(None, axis=1).to_markdown()


def side_tables(
    bench: Bench, sections: list[LabelledSet], normal: list[LabelledSet], defaults: dict, with_panels: bool
) -> list[str]:
    """Markdown of normal epithelium, nulls, panels, ceilings and ablations, all with the shipped constants."""
    parts = []
    rows = [
        {"set": s.name, "Neoplastic": false_neoplastic(s.truth, bench.label(s, "stnuclei", **defaults))} for s in normal
    ]
    parts.append("## Normal epithelium called Neoplastic\n\n" + pd.DataFrame(rows).round(3).to_markdown(index=False))
    rows = []
    for section in sections[:1] + [s for s in sections if s.name in ("idc add-on", "merfish lung")]:
        shuffled = null_sets(section, 5)
        share = [
            (bench.label(s, "stnuclei", key=section.name if "names" in s.name else f"{section.name} noise", **defaults)
             ["label"] != UNKNOWN).mean()
            for s in shuffled
        ]  # fmt: skip
        rows.append({"set": section.name, "names shuffled": np.mean(share[:-1]), "counts shuffled": share[-1]})
    parts.append(
        "## Labelled where there is nothing to label\n\n" + pd.DataFrame(rows).round(3).to_markdown(index=False)
    )
    if with_panels:
        parts.append("## On smaller panels\n\n" + panels(bench, sections, defaults).round(3).to_markdown(index=False))
    rows = [{"set": s.name, **ceilings(bench, s)} for s in sections]
    parts.append("## Ceilings (accuracy)\n\n" + pd.DataFrame(rows).round(3).to_markdown(index=False))
    rows = []
    for name, replaced in ABLATIONS.items():
        with without(replaced):
            numbers = pd.DataFrame(
                [score(s.truth, bench.label(s, "stnuclei", replaced=name, **defaults)) for s in sections]
            )
        rows.append({"method": name, **numbers.mean().to_dict(), "worst set": numbers["accuracy"].min()})
    parts.append("## With parts taken away (mean over sets)\n\n" + pd.DataFrame(rows).round(3).to_markdown(index=False))
    return parts


def panels(bench: Bench, sections: list[LabelledSet], defaults: dict) -> pd.DataFrame:
    """Scores on the genes that Xenium panels share with a set, and on 200 and 100 of its genes at random."""
    rows = []
    for section in (s for s in sections if s.name in ("janesick rep1", "idc add-on", "scrna tnbc", "merfish lung")):
        rng = np.random.default_rng(0)
        cuts = {name: panel_genes((name,)) for name in ("hMulti", "hIO")}
        names = section.cells.var_names.to_numpy()
        cuts |= {f"{n} at random": set(rng.choice(names, n, replace=False)) for n in (200, 100)}
        for cut, genes in cuts.items():
            part = on_genes(section, genes, f"{section.name}, {cut}")
            numbers = score(part.truth, bench.label(part, "stnuclei", **defaults))
            rows.append({"set": section.name, "panel": cut, "genes": part.cells.n_vars, **numbers})
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--methods", default=",".join(USUAL))
    parser.add_argument("--panels", action="store_true", help="also on the genes of other panels and on fewer genes")
    parser.add_argument("--cache", type=Path, help="folder that keeps clusters and labels between runs")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/label_methods.md")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    bench = Bench(arguments.cache)
    sections = [replace(make(), name=name) for name, make in SETS.items()]
    normal = normal_sets()
    chosen, defaults = choose(bench, sections, normal)
    print("chosen", chosen, "on all", defaults, flush=True)
    table = main_table(bench, sections, chosen, arguments.methods.split(","), arguments.seeds)
    others = table.groupby("method", sort=False)[["Unknown", "undecided", "ECE"]].mean().round(3)
    constants = pd.DataFrame(chosen).T.rename_axis("unit left out")
    constants.loc["none (defaults)"] = defaults
    text = [
        "# Labels on labelled sections", __doc__.strip(),
        f"Means over {arguments.seeds} seeds.", "## Accuracy / macro F1", wide(table),
        "## Unknown, undecided, calibration (means over sets)", others.to_markdown(),
        "## Constants chosen with each unit left out", constants.to_markdown(),
        *side_tables(bench, sections, normal, defaults, arguments.panels),
    ]  # fmt: skip
    print("\n\n".join(text))
    if arguments.write:
        (ROOT / "benchmarks/results/label_methods.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
