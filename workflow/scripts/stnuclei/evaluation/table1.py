"""Table 1 of the paper: tissues, slides, patches and nuclei of every split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.evaluation.stores import TruePatches, open_patches
from stnuclei.evaluation.tables import published_row

_COUNTS = ("tissues", "slides", "patches", "nuclei", "nuclei_in_patches")
#: Column -> the published figure that stands beside it. The paper counts a nucleus in every patch it touches, as far as
#: one can tell: its 219,342 nuclei of Cls.-Eval are 1.31 times the 167,780 cells of that section, and nuclei of 9 um on
#: patches of 64 um give (1 + 9/64)^2 = 1.30.
_PUBLISHED = {name: name for name in _COUNTS} | {"nuclei": "", "nuclei_in_patches": "nuclei"}
#: Tissue -> organ as HEST-1k's column `organ` has it, where they differ. (Leakage is judged more strictly, by
#: `stnuclei.config.leakage.organ_of`.)
_HEST_ORGANS = {"bone marrow": "Lymphoid", "tonsil": "Lymphoid", "lymph node": "Lymphoid", "colon": "Bowel"}


def hest_organ(tissue: str) -> str:
    """Organ of a tissue as HEST-1k groups them: the four of the paper's Seg.-Eval are six tissues."""
    return _HEST_ORGANS.get(tissue.casefold().replace("_", " "), tissue)


def table1(sets: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Data used: one row a (dataset, split).

    Parameters
    ----------
    sets
        For each patch store: ``dataset`` (name shown), ``split``, ``tissues`` (names), ``slides`` (number),
        ``patches``, ``nuclei`` (once a slide), ``nuclei_in_patches`` (once in every patch they touch).

    Returns
    -------
    dataset, split, tissues (as HEST-1k's organs), slides, patches, nuclei, nuclei_in_patches, and ``paper_*`` where
    the paper has a row for the split.
    """
    frame = pd.DataFrame(list(sets), columns=["dataset", "split", *_COUNTS])
    rows = []
    for (dataset, split), group in frame.groupby(["dataset", "split"], sort=False):
        organs = {hest_organ(tissue) for names in group["tissues"] for tissue in names}
        counts = {name: int(group[name].sum()) for name in _COUNTS[1:]}
        row = {"dataset": dataset, "split": split, "tissues": len(organs)} | counts
        name, figures = published_row("table1", split)
        rows.append(row | {"paper_row": name} | {f"paper_{key}": figures.get(_PUBLISHED[key]) for key in _COUNTS})
    whole = pd.DataFrame(
        rows, columns=["dataset", "split", *_COUNTS, "paper_row", *(f"paper_{key}" for key in _COUNTS)]
    )
    return whole.astype({f"paper_{key}": "Int64" for key in _COUNTS})


def describe_store(patches: TruePatches | str | Path, dataset: str, split: str, slides: int = 1) -> dict[str, Any]:
    """One entry of `table1` from a patch store (path or opened); see there for its keys."""
    patches = open_patches(patches)
    entry = {"dataset": dataset, "split": split, "tissues": list(patches.tissues), "slides": slides}
    return entry | {
        "patches": len(patches),
        "nuclei": len(np.unique(patches.nucleus_index)),
        "nuclei_in_patches": int(patches.offset[-1]),
    }
