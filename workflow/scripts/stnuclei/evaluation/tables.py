"""Table 1 of the paper, and how every table is written: exactly as tsv, legibly as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.evaluation.published import published_row
from stnuclei.files import atomic_write


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


def write_table(frame: pd.DataFrame, tsv: str | Path, md: str | Path, title: str = "", note: str = "") -> None:
    """Write a table as tsv (all columns, full precision) and as markdown for reading (`readable`)."""
    with atomic_write(tsv) as aside:
        frame.to_csv(aside, sep="\t", index=False)
    parts = [
        f"## {title}\n" if title else "",
        readable(frame).to_markdown(index=False) + "\n",
        f"\n{note}\n" if note else "",
    ]
    with atomic_write(md) as aside:
        aside.write_text("\n".join(part for part in parts if part))


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """One text column a metric: value +- spread over runs (slide interval or, lacking it, patch's) [paper's figure].

    Rows that differ in the policy alone, and not in what is shown, become one.
    """
    shown = {}
    for name in frame.columns:
        if name.endswith(("_low", "_high", "_paper", "_sd")) or name.startswith("paper_"):
            continue
        shown[name.replace("_", " ")] = [_cell(row, name) for row in frame.to_dict("records")]
    if shown.get("runs") and set(shown["runs"]) == {"1"}:
        del shown["runs"]
    return _one_where_equal(pd.DataFrame(shown))


def _one_where_equal(shown: pd.DataFrame) -> pd.DataFrame:
    """Merge rows that say the same by both policies."""
    if "policy" not in shown or shown.empty:
        return shown
    others = [name for name in shown if name != "policy"]
    policies = shown.groupby(others, sort=False, dropna=False)["policy"].transform(
        lambda p: " = ".join(dict.fromkeys(p))
    )
    return shown.assign(policy=policies).drop_duplicates(ignore_index=True)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if isinstance(value, float) and np.isnan(value):
        return "-"
    text = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    spread = row.get(f"{name}_sd", np.nan)
    if not pd.isna(spread):
        text += f" \N{PLUS-MINUS SIGN} {spread:.4f}"
    for unit in ("slide", "patch"):
        low, high = row.get(f"{name}_{unit}_low", np.nan), row.get(f"{name}_{unit}_high", np.nan)
        if not (pd.isna(low) or pd.isna(high)):
            text += f" ({low:.3f}-{high:.3f})"
            break
    paper = row.get(f"{name}_paper", row.get(f"paper_{name}"))
    if paper is not None and not pd.isna(paper):
        text += f" [{paper:.4f}]" if isinstance(paper, float) else f" [{paper:,}]"
    return text
