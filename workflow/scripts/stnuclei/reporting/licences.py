"""Terms of what a model was made from, as the sources state them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Platform of a set of patches -> what its source says.
DATA = {
    "pannuke": "PanNuke (Gamper et al. 2020): CC BY-NC-SA 4.0, not for commercial use",
    "hest": "HEST-1k (Jaume et al. 2024): CC BY-NC-SA 4.0, not for commercial use; each slide has its own, too",
    "xenium": "Xenium runs: the terms of whoever made them; public datasets of 10x Genomics are CC BY 4.0",
    "simulated": "simulated by stnuclei: no terms",
}  # fmt: skip
#: Label methods whose genes partly come from CancerSEA.
USE_CANCERSEA = ("paper",)
MARKERS = (
    "labels by marker genes of PanglaoDB (Franzén et al. 2019) and CellMarker 2.0 (Hu et al. 2023): no licence text is "
    "known; cite them"
)
CANCERSEA = "labels by cancer genes of CancerSEA (Yuan et al. 2019): CC BY-NC 4.0, not for commercial use"


def terms(sets: Iterable[Mapping[str, Any]], encoder_weights: str | None) -> list[str]:
    """Sentences on the terms of everything a model was made from.

    Parameters
    ----------
    sets
        ``platform`` and ``labels`` of each set the model was trained on.
    encoder_weights
        The file its encoder began with.
    """
    sets = list(sets)
    platforms = dict.fromkeys(one.get("platform") for one in sets)
    found = [DATA[name] for name in platforms if name in DATA]
    if any(name not in DATA for name in platforms) or not sets:
        found.append("terms of some or all training data: not recorded")
    methods = {one.get("labels") for one in sets} - {"manual", None}
    if methods:
        found.append(MARKERS)
    if methods & set(USE_CANCERSEA):
        found.append(CANCERSEA)
    if encoder_weights:
        found.append(f"encoder began with {Path(encoder_weights).name}: the terms of that file")
    return [*found, "code of stnuclei, which trained it: MIT"]


def licence(sets: Iterable[Mapping[str, Any]]) -> str:
    """Hugging Face's id of the strictest licence among the sources: ``other`` where none is known to decide."""
    sets = list(sets)
    if any(one.get("platform") in ("pannuke", "hest") for one in sets):
        return "cc-by-nc-sa-4.0"
    if any(one.get("labels") in USE_CANCERSEA for one in sets):
        return "cc-by-nc-4.0"
    return "other"
