"""Tables 2 and 3 of the paper from our scores: one row a model and policy, over its runs, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stnuclei.evaluation.bootstrap import Scores, bootstrap
from stnuclei.evaluation.class_scores import UNPAIRED
from stnuclei.evaluation.tables import published_row
from stnuclei.metrics import accuracy, class_f1, mean_present, ratio
from stnuclei.taxonomy import Taxonomy

SEGMENTATION = ("dice", "jaccard", "bpq", "f1", "precision", "recall")
CLASSIFICATION = ("macro_f1", "accuracy")


def table2(
    scores: pd.DataFrame,
    *,
    bootstrap_n: int = 1000,
    seed: int = 0,
    rows: Mapping[str, str] | None = None,
    by: tuple[str, ...] = (),
    runs: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Segmentation of every model: Dice, Jaccard, bPQ (means over patches), F1, precision, recall (pooled).

    Parameters
    ----------
    scores
        Rows of `score_segmentation` with columns ``model``, ``sample`` and ``policy`` added.
    bootstrap_n, seed
        Resamples of the 95 % intervals, by patch and by slide; 0: none.
    rows
        Model -> name of the paper's row, or of the label method (see resources/published.yaml).
    by
        More columns to group by (``tissue``, ``sample``).
    runs
        Model -> name of what it is a run of (seeds, folds); models of one name become one row: the mean over runs, its
        standard deviation beside it, and intervals of that mean.

    Returns
    -------
    model, policy, (by), runs, slides, patches, the six metrics, each with ``_sd`` (NaN of a single run),
    ``_patch_low``, ``_patch_high``, ``_slide_low``, ``_slide_high``, ``_paper`` and, where one model is trained on
    manual labels (`rows`), ``_delta``: the difference to it.

    Raises
    ------
    ValueError
        If runs of one thing were scored on different patches.
    """
    out = []
    for key, group in _over_models(scores, runs).groupby(["model", "policy", *by], sort=False, observed=True):
        each = [run_scores for _, run_scores in group.groupby("run", sort=False, observed=True)]
        if len({len(run_scores) for run_scores in each}) > 1:
            raise ValueError(f"the runs of {key[0]} were scored on different patches")
        if len(each) > 1:
            each = [run_scores.sort_values(["sample", "patch"]) for run_scores in each]  # row by row the same patches
        sums = np.stack([segmentation_sums(run_scores) for run_scores in each], axis=1)
        row = dict(zip(["model", "policy", *by], key, strict=True))
        row |= {"runs": len(each), "slides": group["sample"].nunique(), "patches": len(sums)}
        row |= _with_intervals(sums, segmentation_from_sums, SEGMENTATION, each[0]["sample"], bootstrap_n, seed)
        out.append(row | _paper("table2", (rows or {}).get(key[0], key[0]), SEGMENTATION))
    return _with_deltas(pd.DataFrame(out), SEGMENTATION, rows or {})


def _over_models(scores: pd.DataFrame, runs: Mapping[str, str] | None) -> pd.DataFrame:
    """The scores with the model's own name as ``run`` and the name of what it is a run of as ``model``."""
    names = scores["model"].astype(str)
    return scores.assign(run=names, model=names.map(lambda name: (runs or {}).get(name, name)))


def segmentation_sums(scores: pd.DataFrame) -> np.ndarray:
    """(N, 9): sum and presence of Dice, Jaccard and PQ, then TP, FP, FN, from rows of `score_segmentation`."""
    means = scores[["dice", "jaccard", "pq"]].to_numpy(float)
    present = ~np.isnan(means)
    return np.hstack([np.where(present, means, 0), present, scores[["tp", "fp", "fn"]].to_numpy(float)])


def segmentation_from_sums(sums: np.ndarray) -> np.ndarray:
    """Dice, Jaccard, bPQ, F1, precision, recall, (..., 6), from sums (..., 9)."""
    tp, fp, fn = (sums[..., i] for i in (6, 7, 8))
    numerators = np.stack([sums[..., 0], sums[..., 1], sums[..., 2], 2 * tp, tp, tp], -1)
    wholes = np.stack([sums[..., 3], sums[..., 4], sums[..., 5], 2 * tp + fp + fn, tp + fp, tp + fn], -1)
    return ratio(numerators, wholes)


def table3(
    scores: pd.DataFrame,
    taxonomy: str | Taxonomy = "pannuke",
    *,
    bootstrap_n: int = 1000,
    seed: int = 0,
    rows: Mapping[str, str] | None = None,
    other: str = "exclude",
    runs: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Classification of every model over matched nuclei: macro F1 and accuracy.

    Parameters
    ----------
    scores
        Rows of `score_classification` with columns ``model``, ``sample`` and ``policy`` added.
    taxonomy
        Its classes; scored are those that expression can tell. Predictions of the others (Dead) and of Background are
        left out as in the paper (``other="exclude"``) or count as wrong (``other="wrong"``); either way ``other``
        says how many there are. Unknown truth is never scored; ``unknown`` counts it.
    bootstrap_n, seed, rows, runs
        As for `table2`; counts of nuclei are means over runs.

    Returns
    -------
    model, policy, runs, slides, patches, nuclei (scored pairs), unknown, other, false_negatives, macro_f1 and accuracy
    with intervals, ``_paper`` and ``_delta``, and ``f1_{class}``.
    """
    taxonomy = Taxonomy.load(taxonomy)
    names = [c.name for c in taxonomy.classes if c.expression]
    out = []
    for (model, policy), group in _over_models(scores, runs).groupby(["model", "policy"], sort=False, observed=True):
        patch = group.groupby(["sample", "patch"], sort=False, observed=True).ngroup().to_numpy()
        sample = group["sample"].to_numpy()[np.unique(patch, return_index=True)[1]]
        each = [(group["run"] == run).to_numpy() for run in group["run"].unique()]
        sums = np.stack(
            [classification_sums(group[in_run], names, patch[in_run], other, len(sample)) for in_run in each], axis=1
        )
        row = {"model": model, "policy": policy, "runs": len(each)}
        row |= {"slides": group["sample"].nunique(), "patches": len(sums), "nuclei": round(sums.sum() / len(each))}
        row |= {key: round(n / len(each)) for key, n in _left_out(group, names, taxonomy).items()}
        row |= _with_intervals(sums, _class_scores(len(names)), CLASSIFICATION, sample, bootstrap_n, seed)
        f1 = mean_present(class_f1(_square(sums.sum(0), len(names)))[:, : len(names)], -2)
        row |= {f"f1_{name}": value for name, value in zip(names, f1, strict=True)}
        out.append(row | _paper("table3", (rows or {}).get(model, model), CLASSIFICATION))
    return _with_deltas(pd.DataFrame(out), CLASSIFICATION, rows or {})


def classification_sums(
    scores: pd.DataFrame, names: list[str], patch: np.ndarray, other: str = "exclude", n: int = 0
) -> np.ndarray:
    """Confusion counts of each patch, (N, C (C + 1)): C true by C predicted classes and one for any other class.

    N is `n`, or the largest number in `patch` and one where that is more.
    """
    code = {name: i for i, name in enumerate(names)}
    true = scores["true"].astype(object).map(code).to_numpy(float)
    paired = (scores["pred"] != UNPAIRED).to_numpy()
    pred = scores["pred"].astype(object).map(code).to_numpy(float)
    if other == "wrong":
        pred = np.where(np.isnan(pred) & paired, len(names), pred)
    elif other != "exclude":
        raise ValueError(f"other must be exclude or wrong, not {other!r}")
    scored = paired & ~np.isnan(true) & ~np.isnan(pred)
    sums = np.zeros((max(n, int(patch.max(initial=-1)) + 1), len(names) * (len(names) + 1)))
    column = (np.nan_to_num(true) * (len(names) + 1) + np.nan_to_num(pred)).astype(int)
    np.add.at(sums, (patch[scored], column[scored]), scores["count"].to_numpy(float)[scored])
    return sums


def _square(sums: np.ndarray, n: int) -> np.ndarray:
    """Confusion (..., C + 1, C + 1): the last row, a truth of another class, is empty."""
    table = sums.reshape(*sums.shape[:-1], n, n + 1)
    return np.concatenate([table, np.zeros((*table.shape[:-2], 1, n + 1))], -2)


def _class_scores(n: int) -> Scores:
    def scores(sums: np.ndarray) -> np.ndarray:
        table = _square(sums, n)
        return np.stack([mean_present(class_f1(table)[..., :n]), accuracy(table)], -1)

    return scores


def _left_out(scores: pd.DataFrame, names: list[str], taxonomy: Taxonomy) -> dict[str, int]:
    true, pred, count = scores["true"], scores["pred"], scores["count"]
    scored_truth, paired = true.isin(names), pred != UNPAIRED
    return {
        "unknown": int(count[true == taxonomy.unknown.name].sum()),
        "other": int(count[scored_truth & paired & ~pred.isin(names)].sum()),
        "false_negatives": int(count[scored_truth & ~paired].sum()),
    }


def _with_intervals(
    sums: np.ndarray, scores: Scores, names: tuple[str, ...], slides: pd.Series | np.ndarray, n: int, seed: int
) -> dict[str, float]:
    """Means over runs, their spread, and intervals of the means, from sums (N, runs, S)."""
    count, runs, width = sums.shape
    each = scores(sums.sum(0))
    row = dict(zip(names, mean_present(each, -2), strict=True))
    spread = each.std(0, ddof=1) if runs > 1 else np.full(len(names), np.nan)
    row |= {f"{name}_sd": value for name, value in zip(names, spread, strict=True)}

    def mean_scores(flat: np.ndarray) -> np.ndarray:
        return mean_present(scores(flat.reshape(*flat.shape[:-1], runs, width)), -2)

    for unit, groups in (("patch", None), ("slide", np.asarray(slides))):
        if n:
            low, high = bootstrap(sums.reshape(count, -1), mean_scores, groups, n, seed)
            row |= {f"{name}_{unit}_low": value for name, value in zip(names, low, strict=True)}
            row |= {f"{name}_{unit}_high": value for name, value in zip(names, high, strict=True)}
    return row


def _with_deltas(table: pd.DataFrame, metrics: tuple[str, ...], rows: Mapping[str, str]) -> pd.DataFrame:
    """Add the differences to the first model trained on manual labels, policy by policy."""
    manual = [model for model in table["model"] if rows.get(model) == "manual"] if len(table) else []
    if not manual or table["model"].nunique() < 2 or table.duplicated(["model", "policy"]).any():
        return table
    baseline = table[table["model"] == manual[0]].set_index("policy")
    for metric in metrics:
        delta = table[metric] - table["policy"].map(baseline[metric])
        table[f"{metric}_delta"] = delta.where(table["model"] != manual[0])
    return table


def _paper(table: str, name: str, metrics: tuple[str, ...]) -> dict[str, float]:
    figures = published_row(table, name)[1]
    return {f"{metric}_paper": figures.get(metric, np.nan) for metric in metrics}
