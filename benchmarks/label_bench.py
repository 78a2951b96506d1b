"""Runs of label methods on labelled sets, kept in a folder so that a run that was cut goes on where it stopped."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import md5
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from labelled_sets import EITHER, UNKNOWN, LabelledSet  # noqa: E402
from stnuclei.clustering import cluster_cells  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.markers import load_markers  # noqa: E402

PACKAGE = ROOT / "workflow/scripts/stnuclei"
EVIDENCE = "stnuclei.labels.evidence."
# Costly steps of `stnuclei` -> the constants that they depend on.
_UNMIXING = ("prior_rows", "cluster_weight", "level", "unmixing._UNEXPLAINED")
_STEPS = {
    "model.shows_structure": (),
    "model.lineage_evidence": ("prior_rows",),
    "model.lineages_of_cells": (*_UNMIXING, "overdispersion"),
    "lineage._unmix_cells": _UNMIXING,
    "model.malignancy_evidence": ("prior_rows_malignant",),
}
_WHAT_ABLATIONS_CHANGE = ("model.lineages_of_cells", "lineage._unmix_cells")


def digest(*folders: str, but: str = "") -> str:
    """Checksum of the sources in folders of the package, but for one: scores of other sources are not reused."""
    files = sorted(file for folder in folders for file in (PACKAGE / folder).rglob("*.py") if file.name != but)
    return md5(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class Bench:
    """Clusters and scores of labelled sets by seed.

    Parameters
    ----------
    cache
        Folder that keeps clusters and scores between runs; None: they are kept in memory.
    """

    def __init__(self, cache: Path | None) -> None:
        self.markers = load_markers()
        self.cache = cache
        self.clusters: dict[tuple[str, int], Any] = {}
        self.steps: dict[tuple, Any] = {}
        self.sources = {
            "clusters": digest("clustering"),
            "stnuclei": digest("clustering", "labels/evidence"),
            "lineages": digest("clustering", "labels/evidence", but="malignancy.py"),
            "paper": digest("clustering", "labels/paper"),
            "others": digest("clustering", "labels/baselines"),
        }
        self.scores: dict[str, dict[str, Any]] = {}
        if cache:
            cache.mkdir(parents=True, exist_ok=True)
            self.log = cache / "scores.jsonl"
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            # A line that was cut while it was written is measured again.
            self.scores = dict(json.loads(line) for line in lines if line.endswith("]"))

    def clusters_of(self, section: LabelledSet, seed: int, name: str | None = None) -> Any:
        """Clusters of a set; `name` is that of a set with the same counts."""
        key = (name or section.name, seed)
        if key not in self.clusters:
            file = f"{key[0]}.{seed}.{self.sources['clusters']}.pickle".replace(" ", "_")
            path = self.cache / file if self.cache else None
            if path and path.exists():
                self.clusters[key] = pickle.loads(path.read_bytes())
            else:
                self.clusters[key] = cluster_cells(section.cells, seed=seed)
                if path:
                    path.write_bytes(pickle.dumps(self.clusters[key]))
        return self.clusters[key]

    def keep(self, key: tuple, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Scores measured before under the same key, or measured now and written down."""
        text = md5(repr(key).encode()).hexdigest()
        if text not in self.scores:
            self.scores[text] = measure()
            if self.cache:
                with self.log.open("a") as file:
                    file.write(json.dumps([text, self.scores[text]]) + "\n")
        return self.scores[text]

    def score(
        self,
        section: LabelledSet,
        method: str,
        settings: Mapping[str, Any],
        *,
        seed: int = 0,
        disease: str | None = None,
        clusters: str | None = None,
        without: str = "",
    ) -> dict[str, float]:
        """Scores of one run.

        Parameters
        ----------
        section
            Labelled set.
        method, settings
            Label method and its settings; names with a dot are constants of modules of `stnuclei.labels.evidence`.
        seed, disease
            Of the run.
        clusters
            Name of the set whose clusters are used, its own by default.
        without
            Name of the part in `ABLATIONS` that is taken away.
        """
        sources = self.sources.get(method.removesuffix("_no_refinement"), self.sources["others"])
        key = (section.name, section.cells.shape, method, seed, disease, sorted(settings.items()), without, sources)
        return self.keep(
            key,
            lambda: score(section.truth, self.label(section, method, settings, seed, disease, clusters, without)),
        )

    def score_lineages(self, section: LabelledSet, settings: Mapping[str, Any]) -> dict[str, float]:
        """Lineage scores of `stnuclei`, seed 0, without the malignancy test, which does not change them."""
        key = ("lineages", section.name, section.cells.shape, sorted(settings.items()), self.sources["lineages"])

        def measure() -> dict[str, float]:
            # The search tries many constants on a set, then goes on to the next: steps of others are let go.
            self.steps = {key: value for key, value in self.steps.items() if key[0] == section.name}
            scores = score(section.truth, self.label(section, "stnuclei", settings, disease="normal"))
            return {name: value for name, value in scores.items() if name.startswith("lineage")}

        return self.keep(key, measure)

    def label(
        self,
        section: LabelledSet,
        method: str,
        settings: Mapping[str, Any],
        seed: int = 0,
        disease: str | None = None,
        clusters: str | None = None,
        without: str = "",
    ) -> pd.DataFrame:
        """Table of labels of one run; see `score`."""
        clustering = self.clusters_of(section, seed, clusters)
        constants = {name: value for name, value in settings.items() if "." in name}
        given = {name: value for name, value in settings.items() if "." not in name}
        with ExitStack() as stack:
            for name, value in (constants | ABLATIONS.get(without, {})).items():
                stack.enter_context(patch(EVIDENCE + name, value))
            if method == "stnuclei":
                stack.enter_context(self._steps_kept(section.name, seed, settings, without))
            return label_cells(
                section.cells, method, section.tissue, markers=self.markers, clusters=clustering.cells,
                ranked_genes=clustering.ranked_genes, disease=disease, seed=seed, **given,
            ).cells  # fmt: skip

    @contextmanager
    def _steps_kept(self, name: str, seed: int, settings: Mapping[str, Any], without: str) -> Iterator[None]:
        """Reuse the steps of `stnuclei` whose constants are the same."""

        def kept(step: str, constants: tuple[str, ...]) -> Callable[..., Any]:
            module, function_name = step.split(".")
            function = getattr(import_module(EVIDENCE + module), function_name)
            taken = without if step in _WHAT_ABLATIONS_CHANGE else ""
            key = (name, seed, step, taken, *(settings.get(constant) for constant in constants))

            def run(*arguments: Any, **named: Any) -> Any:
                if key not in self.steps:
                    self.steps[key] = function(*arguments, **named)
                return self.steps[key]

            return run

        with ExitStack() as stack:
            for step, constants in _STEPS.items():
                stack.enter_context(patch(EVIDENCE + step, kept(step, constants)))
            # What a person can check is not scored.
            stack.enter_context(patch(EVIDENCE + "model.explain_clusters", lambda *_: pd.DataFrame()))
            stack.enter_context(patch("stnuclei.labels.dispatch.label_doubts", lambda *_: []))
            yield


# Part of the method that is taken away -> what replaces it.
ABLATIONS: dict[str, dict[str, Any]] = {
    "spillover taken out": {"lineage.without_spillover": lambda profiles, *_: profiles},
    "cells unmixed (cluster's mixture decides)": {
        "lineage._unmix_cells": lambda counts, clusters, profiles, pure, parts, category, weight: (
            np.eye(category.max() + 1)[category].T @ parts.T
        ).argmax(axis=0)[clusters]
    },
    "naive Bayes (unmixing decides)": {
        "lineage.naive_bayes": lambda counts, clusters, category, n, _: (np.eye(n)[category], clusters * n + category)
    },
    "proliferation": {"malignancy._proliferation": lambda sums, *_: np.zeros(len(sums))},
    "two kinds of epithelium": {"malignancy._two_kinds": lambda *_: None},
}


def score(truth: np.ndarray, cells: pd.DataFrame) -> dict[str, float]:
    """Scores of a label table: Unknown counts as wrong, a cell with alternatives as its label.

    Parameters
    ----------
    truth
        (cells,) class, Unknown for cells left out.
    cells
        `Labels.cells` in the same order.

    Returns
    -------
    accuracy, macro F1 (over the classes the truth has), the same of lineages (epithelial and neoplastic cells are one),
    fractions Unknown and undecided, expected calibration error (ten equal bins), fraction of normal epithelium called
    Neoplastic for sure (and with alternatives), NaN where the set has none.
    """
    kept = truth != UNKNOWN
    truth, table = truth[kept], cells[kept]
    label = table["label"].to_numpy().astype(object)
    undecided = (table["alternatives"] != "").to_numpy()
    normal = truth == "Epithelial"
    called = normal & (label == "Neoplastic")
    lineage, lineage_truth = (_one_epithelium(names) for names in (label, truth))
    if (truth == EITHER).any():
        label, truth = lineage, lineage_truth
    right, confidence = truth == label, table["confidence"].to_numpy(np.float64)
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    scores = {
        "accuracy": right.mean(), "macro F1": macro_f1(truth, label),
        "lineage accuracy": (lineage == lineage_truth).mean(), "lineage macro F1": macro_f1(lineage_truth, lineage),
        "Unknown": (label == UNKNOWN).mean(), "undecided": undecided.mean(), "ECE": sum(gaps),
        "false Neoplastic": called.sum() / normal.sum() if normal.any() else np.nan,
        "false Neoplastic, sure": (called & ~undecided).sum() / normal.sum() if normal.any() else np.nan,
        "labelled": (cells["label"] != UNKNOWN).mean(),
    }  # fmt: skip
    return {name: float(value) for name, value in scores.items()}


def _one_epithelium(names: np.ndarray) -> np.ndarray:
    return np.where(np.isin(names.astype(str), ["Neoplastic", "Epithelial"]), EITHER, names)


def macro_f1(truth: np.ndarray, label: np.ndarray) -> float:
    """Mean F1 over the classes of the truth."""
    f1 = [
        2 * ((truth == k) & (label == k)).sum() / max((truth == k).sum() + (label == k).sum(), 1)
        for k in np.unique(truth.astype(str))
    ]
    return float(np.mean(f1))


def ceilings(bench: Bench, section: LabelledSet, seed: int = 0) -> dict[str, dict[str, float]]:
    """Accuracy and macro F1 of the best label per cluster, and of a classifier trained on the truth.

    The classifier is a logistic regression on log-normalised counts, 3-fold cross-validated, on 3,000 cells at most.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    truth = section.truth.astype(str)
    kept = np.flatnonzero(truth != UNKNOWN)
    clusters = bench.clusters_of(section, seed).cells["cluster"].to_numpy()[kept]
    best = pd.crosstab(clusters, truth[kept]).idxmax(axis=1)
    of_cluster = best.loc[clusters].to_numpy().astype(str)
    totals = np.maximum(np.asarray(section.cells.X.sum(axis=1)).ravel(), 1)
    some = np.random.default_rng(seed).permutation(kept)[:3000]
    values = np.log1p(section.cells.X[some].toarray() / totals[some, None] * np.median(totals))
    model = LogisticRegression(C=0.01, max_iter=200)
    predicted = cross_val_predict(model, StandardScaler().fit_transform(values), truth[some], cv=3)
    pairs = {
        "best label per cluster": (truth[kept], of_cluster),
        "classifier trained on the truth": (truth[some], predicted),
    }
    return {
        name: {"accuracy": float((a == b).mean()), "macro F1": macro_f1(a.astype(object), b.astype(object))}
        for name, (a, b) in pairs.items()
    }
