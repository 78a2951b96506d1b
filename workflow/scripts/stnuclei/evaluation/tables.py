"""The paper's tables 1 to 3 from our scores, with confidence intervals, beside the published figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.evaluation.bootstrap import Scores, bootstrap
from stnuclei.evaluation.classification import accuracy, class_f1, macro_f1
from stnuclei.evaluation.classscores import UNPAIRED
from stnuclei.evaluation.published import published_row
from stnuclei.files import write_aside
from stnuclei.taxonomy import Taxonomy

SEGMENTATION = ("dice", "jaccard", "bpq", "f1", "precision", "recall")
CLASSIFICATION = ("macro_f1", "accuracy")


def table1(sets: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Data used: one row a (dataset, split).

    Parameters
    ----------
    sets
        For each patch store: ``dataset`` (name shown), ``split``, ``tissues`` (names), ``slides`` (number),
        ``patches``, ``nuclei``.

    Returns
    -------
    dataset, split, tissues, slides, patches, nuclei, and ``paper_*`` where the paper has a row for the split.
    """
    frame = pd.DataFrame(list(sets), columns=["dataset", "split", "tissues", "slides", "patches", "nuclei"])
    rows = []
    for (dataset, split), part in frame.groupby(["dataset", "split"], sort=False):
        tissues = {tissue for names in part["tissues"] for tissue in names}
        counts = {name: int(part[name].sum()) for name in ("slides", "patches", "nuclei")}
        row = {"dataset": dataset, "split": split, "tissues": len(tissues)} | counts
        name, figures = published_row("table1", split)
        rows.append(row | {"paper_row": name} | {f"paper_{key}": figures.get(key) for key in _COUNTS})
    whole = pd.DataFrame(
        rows, columns=["dataset", "split", *_COUNTS, "paper_row", *(f"paper_{key}" for key in _COUNTS)]
    )
    return whole.astype({f"paper_{key}": "Int64" for key in _COUNTS})


_COUNTS = ("tissues", "slides", "patches", "nuclei")


def describe_store(patches: Any, dataset: str, split: str, slides: int = 1) -> dict[str, Any]:
    """One entry of `table1` from a patch store (path or opened); nuclei cut by patches count once a slide."""
    if isinstance(patches, str | Path):
        from stnuclei.patches import PatchStore

        patches = PatchStore(patches)
    index = getattr(patches, "nucleus_index", None)
    nuclei = int(np.asarray(patches.offset[-1:])[0]) if index is None else len(np.unique(np.asarray(index[:])))
    entry = {"dataset": dataset, "split": split, "tissues": list(patches.tissues), "slides": slides}
    return entry | {"patches": len(patches), "nuclei": nuclei}


def table2(
    scores: pd.DataFrame,
    *,
    bootstrap_n: int = 1000,
    seed: int = 0,
    rows: Mapping[str, str] | None = None,
    by: tuple[str, ...] = (),
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

    Returns
    -------
    model, policy, (by), slides, patches, the six metrics, each with ``_patch_low``, ``_patch_high``, ``_slide_low``,
    ``_slide_high`` and ``_paper``.
    """
    out = []
    for key, part in scores.groupby(["model", "policy", *by], sort=False, observed=True):
        sums = segmentation_sums(part)
        row = dict(zip(["model", "policy", *by], key, strict=True))
        row |= {"slides": part["sample"].nunique(), "patches": len(part)}
        row |= _with_intervals(sums, segmentation_from_sums, SEGMENTATION, part["sample"], bootstrap_n, seed)
        out.append(row | _paper("table2", (rows or {}).get(key[0], key[0]), SEGMENTATION))
    return pd.DataFrame(out)


def segmentation_sums(scores: pd.DataFrame) -> np.ndarray:
    """(N, 9): sum and presence of Dice, Jaccard and PQ, then TP, FP, FN, from rows of `score_segmentation`."""
    means = scores[["dice", "jaccard", "pq"]].to_numpy(float)
    found = ~np.isnan(means)
    return np.hstack([np.where(found, means, 0), found, scores[["tp", "fp", "fn"]].to_numpy(float)])


def segmentation_from_sums(sums: np.ndarray) -> np.ndarray:
    """Dice, Jaccard, bPQ, F1, precision, recall, (..., 6), from sums (..., 9)."""
    tp, fp, fn = (sums[..., i] for i in (6, 7, 8))
    parts = np.stack([sums[..., 0], sums[..., 1], sums[..., 2], 2 * tp, tp, tp], -1)
    wholes = np.stack([sums[..., 3], sums[..., 4], sums[..., 5], 2 * tp + fp + fn, tp + fp, tp + fn], -1)
    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)


def table3(
    scores: pd.DataFrame,
    taxonomy: str | Taxonomy = "pannuke",
    *,
    bootstrap_n: int = 1000,
    seed: int = 0,
    rows: Mapping[str, str] | None = None,
    other: str = "exclude",
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
    bootstrap_n, seed, rows
        As for `table2`.

    Returns
    -------
    model, policy, slides, patches, nuclei (scored pairs), unknown, other, missed, macro_f1 and accuracy with
    intervals and ``_paper``, and ``f1_{class}``.
    """
    taxonomy = Taxonomy.load(taxonomy)
    names = [c.name for c in taxonomy.classes if c.expression]
    out = []
    for (model, policy), part in scores.groupby(["model", "policy"], sort=False, observed=True):
        slides = part.groupby(["sample", "patch"], sort=False, observed=True).ngroup().to_numpy()
        sums = classification_sums(part, names, slides, other)
        sample = part["sample"].to_numpy()[np.unique(slides, return_index=True)[1]]
        row = {"model": model, "policy": policy, "slides": part["sample"].nunique(), "patches": len(sums)}
        row |= {"nuclei": int(sums.sum())} | _left_out(part, names, taxonomy)
        row |= _with_intervals(sums, _class_scores(len(names)), CLASSIFICATION, sample, bootstrap_n, seed)
        f1 = class_f1(_square(sums.sum(0), len(names)))[: len(names)]
        row |= {f"f1_{name}": value for name, value in zip(names, f1, strict=True)}
        out.append(row | _paper("table3", (rows or {}).get(model, model), CLASSIFICATION))
    return pd.DataFrame(out)


def classification_sums(
    scores: pd.DataFrame, names: list[str], patch: np.ndarray, other: str = "exclude"
) -> np.ndarray:
    """(N, C (C + 1)) confusion counts of each patch: C true by C predicted classes and one for any other class."""
    code = {name: i for i, name in enumerate(names)}
    true = scores["true"].astype(object).map(code).to_numpy(float)
    paired = (scores["pred"] != UNPAIRED).to_numpy()
    pred = scores["pred"].astype(object).map(code).to_numpy(float)
    if other == "wrong":
        pred = np.where(np.isnan(pred) & paired, len(names), pred)
    elif other != "exclude":
        raise ValueError(f"other must be exclude or wrong, not {other!r}")
    scored = paired & ~np.isnan(true) & ~np.isnan(pred)
    sums = np.zeros((int(patch.max(initial=-1)) + 1, len(names) * (len(names) + 1)))
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
        f1 = class_f1(table)[..., :n]
        found = ~np.isnan(f1)
        mean = np.divide(np.nansum(f1, -1), found.sum(-1), out=np.full(f1.shape[:-1], np.nan), where=found.any(-1))
        return np.stack([mean, accuracy(table)], -1)

    return scores


def _left_out(scores: pd.DataFrame, names: list[str], taxonomy: Taxonomy) -> dict[str, int]:
    true, pred, count = scores["true"], scores["pred"], scores["count"]
    scored_truth, paired = true.isin(names), pred != UNPAIRED
    return {
        "unknown": int(count[true == taxonomy.unknown.name].sum()),
        "other": int(count[scored_truth & paired & ~pred.isin(names)].sum()),
        "missed": int(count[scored_truth & ~paired].sum()),
    }


def _with_intervals(
    sums: np.ndarray, scores: Scores, names: tuple[str, ...], slides: Any, n: int, seed: int
) -> dict[str, float]:
    row = dict(zip(names, scores(sums.sum(0)), strict=True))
    for unit, groups in (("patch", None), ("slide", np.asarray(slides))):
        if n:
            low, high = bootstrap(sums, scores, groups, n, seed)
            row |= {f"{name}_{unit}_low": value for name, value in zip(names, low, strict=True)}
            row |= {f"{name}_{unit}_high": value for name, value in zip(names, high, strict=True)}
    return row


def _paper(table: str, name: str, metrics: tuple[str, ...]) -> dict[str, float]:
    figures = published_row(table, name)[1]
    return {f"{metric}_paper": figures.get(metric, np.nan) for metric in metrics}


def write_table(frame: pd.DataFrame, tsv: str | Path, md: str | Path, title: str = "", note: str = "") -> None:
    """Write a table as tsv (all columns, full precision) and as markdown for reading (`readable`)."""
    with write_aside(tsv) as aside:
        frame.to_csv(aside, sep="\t", index=False)
    parts = [
        f"## {title}\n" if title else "",
        readable(frame).to_markdown(index=False) + "\n",
        f"\n{note}\n" if note else "",
    ]
    with write_aside(md) as aside:
        aside.write_text("\n".join(part for part in parts if part))


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """One text column a metric: value, (slide interval or, lacking it, patch interval), [paper's figure]."""
    shown = {}
    for name in frame.columns:
        if name.endswith(("_low", "_high", "_paper")) or name.startswith("paper_"):
            continue
        shown[name.replace("_", " ")] = [_cell(row, name) for row in frame.to_dict("records")]
    return pd.DataFrame(shown)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    text = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    for unit in ("slide", "patch"):
        low, high = row.get(f"{name}_{unit}_low", np.nan), row.get(f"{name}_{unit}_high", np.nan)
        if not (pd.isna(low) or pd.isna(high)):
            text += f" ({low:.3f}-{high:.3f})"
            break
    paper = row.get(f"{name}_paper", row.get(f"paper_{name}"))
    if paper is not None and not pd.isna(paper):
        text += f" [{paper:.4f}]" if isinstance(paper, float) else f" [{paper:,}]"
    return text


__all__ = [
    "CLASSIFICATION",
    "SEGMENTATION",
    "describe_store",
    "macro_f1",
    "readable",
    "table1",
    "table2",
    "table3",
    "write_table",
]
