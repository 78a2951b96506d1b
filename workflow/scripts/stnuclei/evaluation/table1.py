"""Table 1 of the paper: tissues, slides, patches and nuclei of every split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.evaluation.stores import TruePatches, open_patches
from stnuclei.evaluation.tables import published_row

_COUNTS = ("tissues", "slides", "patches", "nuclei")


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


def describe_store(patches: TruePatches | str | Path, dataset: str, split: str, slides: int = 1) -> dict[str, Any]:
    """One entry of `table1` from a patch store (path or opened); nuclei cut by patches count once a slide."""
    patches = open_patches(patches)
    nuclei = len(np.unique(patches.nucleus_index))
    entry = {"dataset": dataset, "split": split, "tissues": list(patches.tissues), "slides": slides}
    return entry | {"patches": len(patches), "nuclei": nuclei}
