"""PanNuke as the CellViT paper reports it: means over tissues of means over patches, then over folds."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from stnuclei.evaluation.breakdowns import over_runs
from stnuclei.evaluation.tables import published, published_row
from stnuclei.metrics import f1_precision_recall


def pannuke_table(
    scores: pd.DataFrame, rows: Mapping[str, str] | None = None, runs: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row a model and policy.

    Parameters
    ----------
    scores
        Rows of `score_segmentation` made with labels, with columns ``model`` and ``policy``.
    rows
        Model -> row of the published table (``cellvit-256`` ...).
    runs
        Model -> name of what it is a run of: the three folds of a cross-validation become one row, their mean.

    Returns
    -------
    model, policy, runs, tissues, patches; mpq and bpq (tissue means), mpq_patches and bpq_patches (plain means over
    patches, the figures the official logs print first), f1, precision, recall (pooled), pq_{class} (over patches),
    each with ``_sd`` over runs, and ``_paper`` where it was published.
    """
    each = pd.DataFrame(
        [
            {"model": model, "policy": policy} | _fold(group)
            for (model, policy), group in scores.groupby(["model", "policy"], sort=False, observed=True)
        ]
    )
    metrics = tuple(name for name in each.columns if name not in ("model", "policy", "tissues", "patches"))
    named = each.assign(model=[(runs or {}).get(model, model) for model in each["model"]])
    counts = named.groupby(["model", "policy"], sort=False).agg({"tissues": "max", "patches": "sum"}).reset_index()
    table = over_runs(each, runs or {}, metrics).merge(counts, on=["model", "policy"])
    first = ["model", "policy", "runs", "tissues", "patches"]
    return _beside_published(table[[*first, *(name for name in table if name not in first)]], rows or {})


def _fold(scores: pd.DataFrame) -> dict[str, float]:
    """Scores of one model on one fold."""
    classes = [name for name in scores.columns if name.startswith("pq_")]
    scores = scores.assign(mpq=scores[classes].mean(axis=1), bpq=scores["pq"])
    tissues = scores.groupby("tissue", observed=True)[["mpq", "bpq"]].mean()
    row = {"tissues": len(tissues), "patches": len(scores)} | tissues.mean().to_dict()
    row |= {f"{name}_patches": scores[name].mean() for name in ("mpq", "bpq")}
    counts = scores[["tp", "fp", "fn"]].sum()
    row |= dict(zip(("f1", "precision", "recall"), f1_precision_recall(*counts), strict=True))
    return row | scores[classes].mean().to_dict()


def _beside_published(table: pd.DataFrame, rows: Mapping[str, str]) -> pd.DataFrame:
    figures = [published_row("pannuke", rows.get(model, model))[1] for model in table["model"]]
    names = dict.fromkeys(key for figure in figures for key in figure)
    return table.assign(**{f"{name}_paper": [figure.get(name, float("nan")) for figure in figures] for name in names})


def pannuke_tissues(
    scores: pd.DataFrame, rows: Mapping[str, str] | None = None, runs: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """mPQ and bPQ of every tissue, mean over runs; what they take is as for `pannuke_table`.

    Returns
    -------
    model, policy, tissue, patches, mpq, bpq, and ``_paper`` where it was published.
    """
    classes = [name for name in scores.columns if name.startswith("pq_")]
    means = scores.assign(mpq=scores[classes].mean(axis=1), bpq=scores["pq"])
    keys = ["model", "policy", "tissue"]
    each = means.groupby(keys, sort=False, observed=True).agg(
        patches=("patch", "size"), mpq=("mpq", "mean"), bpq=("bpq", "mean")
    )
    each = each.reset_index()
    each["model"] = [(runs or {}).get(model, model) for model in each["model"]]
    table = each.groupby(keys, sort=False).agg({"patches": "sum", "mpq": "mean", "bpq": "mean"}).reset_index()
    known = published()["pannuke_tissues"]
    in_paper = [
        known.get((rows or {}).get(model, model), {}).get(_plain(tissue), (float("nan"),) * 2)
        for model, tissue in zip(table["model"], table["tissue"], strict=True)
    ]
    return table.assign(mpq_paper=[pair[0] for pair in in_paper], bpq_paper=[pair[1] for pair in in_paper])


def _plain(tissue: str) -> str:
    """PanNuke's ``HeadNeck``, ``Adrenal_gland``, ``Bile-duct`` in one spelling."""
    return "".join(letter for letter in tissue.casefold() if letter.isalpha())
