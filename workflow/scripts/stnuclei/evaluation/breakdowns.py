"""Scores taken apart: by class, by size of nucleus, by confidence, over runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stnuclei.evaluation.classscores import N_BINS, UNPAIRED
from stnuclei.evaluation.detection import f1_precision_recall
from stnuclei.evaluation.patchscores import size_names
from stnuclei.taxonomy import Taxonomy


def by_class(scores: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke") -> pd.DataFrame:
    """Detection and classification of each class, from rows of `score_classification` of one model and policy.

    Returns
    -------
    class, true and predicted (numbers of nuclei, those without a partner included), matched_f1 (over matched nuclei
    of known class) and f1, precision, recall as HoVer-Net and CellViT count them: TP, FP and FN among pairs, FPd and
    FNd among nuclei without a partner, P = TP/(TP+2FP+FPd), R = TP/(TP+2FN+FNd), F1 = 2TP/(2TP+2FP+2FN+FPd+FNd).
    Pairs whose truth is Unknown are left out.
    """
    taxonomy = Taxonomy.load(taxonomy)
    known = scores[scores["true"] != taxonomy.unknown.name]
    paired = (known["true"] != UNPAIRED) & (known["pred"] != UNPAIRED)
    rows = []
    for name in taxonomy.names:
        true, pred, count = known["true"] == name, known["pred"] == name, known["count"]
        tp, fp, fn = (count[mask & paired].sum() for mask in (true & pred, pred & ~true, true & ~pred))
        invented, lost = count[pred & ~paired].sum(), count[true & ~paired].sum()
        f1, precision, recall = f1_precision_recall(tp, 2 * fp + invented, 2 * fn + lost)
        row = {"class": name, "true": tp + fn + lost, "predicted": tp + fp + invented}
        row["matched_f1"] = f1_precision_recall(tp, fp, fn)[0]
        rows.append(row | {"f1": f1, "precision": precision, "recall": recall})
    return pd.DataFrame(rows)


def by_size(scores: pd.DataFrame) -> pd.DataFrame:
    """Share of true nuclei that are matched (IoU > 1/2), by area, from rows of `score_segmentation`.

    Returns
    -------
    size, true, found, recall.
    """
    names = size_names()
    true = [int(scores[f"true_{name}"].sum()) for name in names]
    found = [int(scores[f"found_{name}"].sum()) for name in names]
    recall = [f / t if t else np.nan for f, t in zip(found, true, strict=True)]
    return pd.DataFrame({"size": names, "true": true, "found": found, "recall": recall})


def calibration(scores: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke") -> pd.DataFrame:
    """How often the class is right by predicted probability, over pairs of known truth (`score_classification`).

    Returns
    -------
    low, high (edges of the bin), count, accuracy, and in ``attrs["ece"]`` the expected calibration error: the mean
    distance of accuracy and middle of the bin, weighted by count.
    """
    taxonomy = Taxonomy.load(taxonomy)
    pairs = scores[scores["true"].isin(taxonomy.names) & scores["pred"].isin(taxonomy.names)]
    right = pairs["count"].where(pairs["true"] == pairs["pred"], 0)
    count = np.bincount(pairs["bin"], weights=pairs["count"], minlength=N_BINS)
    hits = np.bincount(pairs["bin"], weights=right, minlength=N_BINS)
    accuracy = np.divide(hits, count, out=np.full(N_BINS, np.nan), where=count > 0)
    low = np.arange(N_BINS) / N_BINS
    table = pd.DataFrame({"low": low, "high": low + 1 / N_BINS, "count": count.astype(int), "accuracy": accuracy})
    gap = np.abs(accuracy - (low + 0.5 / N_BINS))
    table.attrs["ece"] = float(np.nansum(gap * count) / count.sum()) if count.sum() else float("nan")
    return table


def over_runs(table: pd.DataFrame, groups: Mapping[str, str], metrics: tuple[str, ...]) -> pd.DataFrame:
    """Mean and standard deviation over models that are runs of one thing (seeds, folds).

    Parameters
    ----------
    table
        Rows with ``model``, ``policy`` and the metrics (`table2`, `table3`, `pannuke_table`).
    groups
        Model -> name of what it is a run of; models that are not named stand alone.

    Returns
    -------
    model, policy, runs, the metrics' means and ``{metric}_sd`` (NaN of a single run).
    """
    named = table.assign(model=[groups.get(model, model) for model in table["model"]])
    grouped = named.groupby(["model", "policy"], sort=False, observed=True)
    means, spread = grouped[list(metrics)].mean(), grouped[list(metrics)].std(ddof=1)
    out = means.join(spread.add_suffix("_sd"))
    out.insert(0, "runs", grouped.size())
    return out.reset_index()
