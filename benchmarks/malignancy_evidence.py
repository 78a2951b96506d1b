"""Each kind of evidence for malignancy alone: how well it parts tumour cells from normal epithelium."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from label_bench import EVIDENCE, Bench
from labelled_sets import LabelledSet

_NEIGHBOURS = 20


def malignancy_table(bench: Bench, sections: list[LabelledSet], chosen: Mapping[str | None, Any]) -> pd.DataFrame:
    """Area under the curve by set and kind of evidence, over the cells that `stnuclei` takes for epithelium.

    Marker evidence and proliferation are those of a cell's group; compactness is the fraction of the 20 nearest cells
    that `stnuclei` takes for epithelium, and no part of the method. Sets with one of the two classes are left out.
    """
    rows = []
    for section in sections:
        evidence = _evidence(bench, section, chosen[section.unit])
        tumour, normal = (evidence[evidence["truth"] == name] for name in ("Neoplastic", "Epithelial"))
        if tumour.empty or normal.empty:
            continue
        row: dict[str, Any] = {"set": section.name, "tumour cells": len(tumour), "normal cells": len(normal)}
        for name in evidence.columns.drop("truth"):
            row[name] = area_under_curve(tumour[name].to_numpy(), normal[name].to_numpy())
        rows.append(row)
    return pd.DataFrame(rows)


def area_under_curve(higher: np.ndarray, lower: np.ndarray) -> float:
    """Probability that a value of the first has the larger score, ties counted half; NaN where values are missing."""
    ranks = rankdata(np.r_[higher, lower])[: len(higher)].sum() - len(higher) * (len(higher) + 1) / 2
    return float(ranks / (len(higher) * len(lower))) if np.isfinite([*higher, *lower]).all() else float("nan")


@dataclass(frozen=True)
class Epithelium:
    """Epithelium of a set as the malignancy test of `stnuclei` sees it, of the cells with counts.

    Parameters
    ----------
    rows
        (n,) cells with counts, rows of the set.
    truth, label
        (n,) class by the truth; category before the test, object.
    cells
        (m,) epithelial ones of them.
    group
        (m,) int, their group.
    marker, growth
        (groups,) marker evidence and proliferation, float64.
    """

    rows: np.ndarray
    truth: np.ndarray
    label: np.ndarray
    cells: np.ndarray
    group: np.ndarray
    marker: np.ndarray
    growth: np.ndarray


def tested_epithelium(bench: Bench, section: LabelledSet, constants: Mapping[str, Any]) -> Epithelium:
    """Run the method on a set (disease empty, seed 0) and keep what its malignancy test gets and computes.

    Where nothing is tested (no epithelium, too few genes), there are no groups.
    """
    from stnuclei.labels.evidence import malignancy

    seen: dict[str, Any] = {}
    test = malignancy.malignant_epithelium

    def spied_test(labelled: malignancy.LabelledCells, *rest: Any, **named: Any) -> malignancy.Malignancy:
        seen["label"], seen["group"] = labelled.label.copy(), labelled.group
        return test(labelled, *rest, **named)

    def spied(name: str) -> Any:
        function = getattr(malignancy, name)

        def run(*arguments: Any) -> np.ndarray:
            seen[name] = function(*arguments)
            return seen[name]

        return run

    with ExitStack() as stack:
        for name in ("_marker_scores", "_proliferation"):
            stack.enter_context(patch(f"{EVIDENCE}malignancy.{name}", spied(name)))
        stack.enter_context(patch(EVIDENCE + "model.malignant_epithelium", spied_test))
        bench.label(section, "stnuclei", constants)
    rows = np.flatnonzero(np.asarray(section.cells.X.sum(axis=1)).ravel() > 0)
    cells = np.flatnonzero(seen["label"] == "Epithelial") if "_marker_scores" in seen else np.zeros(0, np.int64)
    group = np.unique(seen["group"][cells], return_inverse=True)[1]
    scores = (seen.get(name, np.zeros(0)) for name in ("_marker_scores", "_proliferation"))
    return Epithelium(rows, section.truth[rows], seen["label"], cells, group, *scores)


def _evidence(bench: Bench, section: LabelledSet, constants: Mapping[str, Any]) -> pd.DataFrame:
    """Truth and evidence of the cells taken for epithelium."""
    tested = tested_epithelium(bench, section, constants)
    table = pd.DataFrame({"truth": tested.truth[tested.cells]})
    table["marker evidence"] = tested.marker[tested.group]
    table["proliferation"] = tested.growth[tested.group]
    table["both (the score)"] = table["marker evidence"] + table["proliferation"]
    table["compactness"] = _compactness(section, tested)
    # Cells without a place (14 of one set) are left out of all kinds.
    return table[table["compactness"].notna() | table["compactness"].isna().all()]


def _compactness(section: LabelledSet, tested: Epithelium) -> np.ndarray:
    """Fraction of the nearest cells that are epithelial, for the epithelial ones; NaN where no place is known."""
    fraction = np.full(len(tested.rows), np.nan)
    if "spatial" in section.cells.obsm:
        xy = section.cells.obsm["spatial"][tested.rows]
        known = np.isfinite(xy).all(axis=1)
        inside = (tested.label == "Epithelial")[known]
        nearest = cKDTree(xy[known]).query(xy[known], k=_NEIGHBOURS + 1)[1][:, 1:]
        fraction[known] = inside[nearest].mean(axis=1)
    return fraction[tested.cells]
