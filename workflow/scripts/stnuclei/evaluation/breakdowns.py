"""Scores by organ, by class, by size of nucleus, by confidence and over runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stnuclei.evaluation.class_scores import UNPAIRED
from stnuclei.evaluation.patch_scores import size_names
from stnuclei.evaluation.score_tables import table2
from stnuclei.evaluation.table1 import hest_organ
from stnuclei.metrics import calibration_curve, expected_calibration_error, f1_precision_recall, ratio
from stnuclei.taxonomy import Taxonomy

Runs = Mapping[str, str] | None


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
        no_true, no_pred = count[pred & ~paired].sum(), count[true & ~paired].sum()
        f1, precision, recall = f1_precision_recall(tp, 2 * fp + no_true, 2 * fn + no_pred)
        row = {"class": name, "true": tp + fn + no_pred, "predicted": tp + fp + no_true}
        row["matched_f1"] = f1_precision_recall(tp, fp, fn)[0]
        rows.append(row | {"f1": f1, "precision": precision, "recall": recall})
    return pd.DataFrame(rows)


def by_size(scores: pd.DataFrame) -> pd.DataFrame:
    """Fraction of true nuclei that are matched (IoU > 1/2), by area, from rows of `score_segmentation`.

    Returns
    -------
    size, true, matched, recall.
    """
    names = size_names()
    true, matched = (np.array([int(scores[f"{side}_{name}"].sum()) for name in names]) for side in ("true", "matched"))
    return pd.DataFrame({"size": names, "true": true, "matched": matched, "recall": ratio(matched, true)})


def calibration(scores: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke") -> pd.DataFrame:
    """Fraction of correct classes by predicted probability, over pairs of known truth (`score_classification`).

    Returns
    -------
    As `stnuclei.metrics.calibration_curve`.
    """
    taxonomy = Taxonomy.load(taxonomy)
    pairs = scores[scores["true"].isin(taxonomy.names) & scores["pred"].isin(taxonomy.names)]
    correct = pairs["true"].astype(str).to_numpy() == pairs["pred"].astype(str).to_numpy()
    return calibration_curve(correct, pairs["probability"].to_numpy(), pairs["count"].to_numpy())


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


def organ_table(scores: pd.DataFrame, runs: Runs = None, bootstrap_n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Segmentation of every organ, grouped as HEST-1k's; columns as of `table2`, with ``organ``.

    Parameters
    ----------
    scores
        Rows of `score_segmentation` with ``model``, ``sample`` and ``policy``.
    runs
        Model -> name of what it is a run of.
    bootstrap_n, seed
        As for `table2`.
    """
    scores = scores.assign(organ=[hest_organ(str(tissue)) for tissue in scores["tissue"]])
    table = table2(scores, bootstrap_n=bootstrap_n, seed=seed, by=("organ",), runs=runs)
    return table.drop(columns=[name for name in table if name.endswith("_paper")])


def class_table(
    classes: pd.DataFrame, segmentation: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke", runs: Runs = None
) -> pd.DataFrame:
    """Every class on every set of annotated nuclei, and their mean.

    Parameters
    ----------
    classes
        Rows of `score_classification` with ``model``, ``sample`` and ``policy``.
    segmentation
        Rows of `score_segmentation` made with labels, for PQ by class.
    runs
        Model -> name of what it is a run of; numbers are means over runs.

    Returns
    -------
    model, policy, sample, class (the last: ``mean``), true, predicted, matched_f1, f1, precision, recall (see
    `by_class`) and pq, whose mean is mPQ.
    """
    taxonomy = Taxonomy.load(taxonomy)
    keys = ["model", "policy", "sample"]
    pq = _class_pq(segmentation, taxonomy, keys)
    tables = []
    for key, group in classes.groupby(keys, sort=False, observed=True):
        table = by_class(group, taxonomy)
        table["pq"] = [pq.get((*key, name), float("nan")) for name in table["class"]]
        table = table[table["true"] + table["predicted"] > 0]
        scored = table[table["true"] > 0]
        mean = {"class": "mean", **scored[["true", "predicted"]].sum(), **scored.iloc[:, 3:].mean()}
        mean["pq"] = pq.get((*key, "mean"), float("nan"))
        table = pd.concat([table, pd.DataFrame([mean])], ignore_index=True)
        for position, (name, value) in enumerate(zip(keys, key, strict=True)):
            table.insert(position, name, value)
        tables.append(table)
    return _over_runs(pd.concat(tables) if tables else pd.DataFrame(), [*keys, "class"], runs)


def _class_pq(segmentation: pd.DataFrame, taxonomy: Taxonomy, keys: list[str]) -> dict[tuple[str, ...], float]:
    """(model, policy, sample, class) -> mean PQ over patches; class ``mean`` -> mPQ, the mean of the patches' means."""
    columns = {f"pq_{name}": name for name in taxonomy.names if f"pq_{name}" in segmentation}
    if not columns:
        return {}
    pq = segmentation[[*keys, *columns]].rename(columns=columns)
    pq["mean"] = pq[list(columns.values())].mean(axis=1)
    means = pq.groupby(keys, sort=False, observed=True).mean()
    return {(*key, name): value for key, row in means.iterrows() for name, value in row.items()}


def size_table(scores: pd.DataFrame, runs: Runs = None) -> pd.DataFrame:
    """Fraction of true nuclei matched, by area, over all slides; model, policy and the columns of `by_size`."""
    tables = [
        by_size(group).assign(model=model, policy=policy)
        for (model, policy), group in scores.groupby(["model", "policy"], sort=False, observed=True)
    ]
    table = pd.concat(tables)[["model", "policy", "size", "true", "matched", "recall"]]
    return _over_runs(table, ["model", "policy", "size"], runs)


def calibration_tables(
    classes: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke", policy: str = "official"
) -> dict[str, pd.DataFrame]:
    """Model -> its table of `calibration` over all annotated sets, by one policy."""
    chosen = classes[classes["policy"] == policy]
    return {
        str(model): calibration(group, taxonomy) for model, group in chosen.groupby("model", sort=False, observed=True)
    }


def calibration_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All models' bins below each other: model, the columns of `calibration`, ece (of the model, in every row)."""
    curves = [
        table.assign(model=model, ece=expected_calibration_error(table))
        for model, table in tables.items()
        if len(table)
    ]
    columns = ["model", "low", "high", "count", "confidence", "accuracy", "ece"]
    return pd.concat(curves, ignore_index=True)[columns] if curves else pd.DataFrame(columns=columns)


def _over_runs(table: pd.DataFrame, keys: list[str], runs: Runs) -> pd.DataFrame:
    """Means over models that are runs of one thing; the order stays."""
    if table.empty or not runs or all(runs.get(model, model) == model for model in table["model"]):
        return table.reset_index(drop=True)
    named = table.assign(model=[runs.get(model, model) for model in table["model"]])
    return named.groupby(keys, sort=False, observed=True).mean().reset_index()
