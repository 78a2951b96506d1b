"""The tables beyond the paper's, over all models: by organ, by class, by size of nucleus, by confidence."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from stnuclei.evaluation.breakdowns import by_class, by_size, calibration
from stnuclei.evaluation.scoretables import table2
from stnuclei.taxonomy import Taxonomy

Runs = Mapping[str, str] | None


def organ_table(scores: pd.DataFrame, runs: Runs = None, bootstrap_n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Segmentation of every organ; columns as of `table2`, with ``tissue``.

    Parameters
    ----------
    scores
        Rows of `score_segmentation` with ``model``, ``sample`` and ``policy``.
    runs
        Model -> name of what it is a run of.
    bootstrap_n, seed
        As for `table2`.
    """
    table = table2(scores, bootstrap_n=bootstrap_n, seed=seed, by=("tissue",), runs=runs)
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
    parts = []
    for key, part in classes.groupby(keys, sort=False, observed=True):
        table = by_class(part, taxonomy)
        table["pq"] = [pq.get((*key, name), float("nan")) for name in table["class"]]
        table = table[table["true"] + table["predicted"] > 0]
        scored = table[table["true"] > 0]
        mean = {"class": "mean", **scored[["true", "predicted"]].sum(), **scored.iloc[:, 3:].mean()}
        mean["pq"] = pq.get((*key, "mean"), float("nan"))
        table = pd.concat([table, pd.DataFrame([mean])], ignore_index=True)
        for place, (name, value) in enumerate(zip(keys, key, strict=True)):
            table.insert(place, name, value)
        parts.append(table)
    return _over_runs(pd.concat(parts) if parts else pd.DataFrame(), [*keys, "class"], runs)


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
    """Share of true nuclei found, by their area, over all slides; model, policy and the columns of `by_size`."""
    parts = [
        by_size(part).assign(model=model, policy=policy)
        for (model, policy), part in scores.groupby(["model", "policy"], sort=False, observed=True)
    ]
    table = pd.concat(parts)[["model", "policy", "size", "true", "found", "recall"]]
    return _over_runs(table, ["model", "policy", "size"], runs)


def calibration_tables(
    classes: pd.DataFrame, taxonomy: str | Taxonomy = "pannuke", policy: str = "official"
) -> dict[str, pd.DataFrame]:
    """Model -> its table of `calibration` over all annotated sets, by one policy."""
    own = classes[classes["policy"] == policy]
    return {str(model): calibration(part, taxonomy) for model, part in own.groupby("model", sort=False, observed=True)}


def calibration_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All models' bins under each other: model, low, high, count, accuracy, ece (of the model, in every row)."""
    parts = [table.assign(model=model, ece=table.attrs["ece"]) for model, table in tables.items()]
    columns = ["model", "low", "high", "count", "accuracy", "ece"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _over_runs(table: pd.DataFrame, keys: list[str], runs: Runs) -> pd.DataFrame:
    """Means over models that are runs of one thing; the order stays."""
    if table.empty or not runs or all(runs.get(model, model) == model for model in table["model"]):
        return table.reset_index(drop=True)
    named = table.assign(model=[runs.get(model, model) for model in table["model"]])
    return named.groupby(keys, sort=False, observed=True).mean().reset_index()
