"""Terms of what a model was made from, as the sources state them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stnuclei.config.encoders import NON_COMMERCIAL, find_encoder
from stnuclei.config.weights import weights_terms
from stnuclei.errors import UserError

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


def terms(
    sets: Iterable[Mapping[str, Any]], encoder_weights: str | None, architecture: str = "cellvit-256"
) -> list[str]:
    """Sentences on the terms of everything a model was made from.

    Parameters
    ----------
    sets
        ``platform`` and ``labels`` of each set the model was trained on.
    encoder_weights
        The file its encoder began with.
    architecture
        Name of the network, which says whose encoder it is.
    """
    sets = list(sets)
    platforms = dict.fromkeys(described.get("platform") for described in sets)
    lines = [DATA[name] for name in platforms if name in DATA]
    if any(name not in DATA for name in platforms) or not sets:
        lines.append("terms of some or all training data: not recorded")
    methods = {described.get("labels") for described in sets} - {"manual", None}
    if methods:
        lines.append(MARKERS)
    if methods & set(USE_CANCERSEA):
        lines.append(CANCERSEA)
    if encoder_weights:
        lines.append(_encoder_terms(encoder_weights, architecture))
    return [*lines, "code of stnuclei, which trained it: MIT"]


def _encoder_terms(encoder_weights: str, architecture: str) -> str:
    file = Path(encoder_weights).name
    stated = weights_terms(encoder_weights) or _entry_terms(architecture)
    return f"encoder began with {file}: {stated or 'the terms of that file'}"


def _entry_terms(architecture: str) -> str:
    """Terms of the weights of a network's encoder by the registry; empty where it does not say."""
    try:
        encoder = find_encoder(architecture)
    except UserError:  # a name of another version of this program
        return ""
    return f"weights of {encoder.hub}, {encoder.terms}" if encoder and encoder.hub else ""


def licence(
    sets: Iterable[Mapping[str, Any]], encoder_weights: str | None = None, architecture: str = "cellvit-256"
) -> str:
    """Hugging Face's id of the strictest licence among the sources: ``other`` where none is known to decide."""
    sets = list(sets)
    if encoder_weights and NON_COMMERCIAL in _encoder_terms(encoder_weights, architecture):
        return "cc-by-nc-nd-4.0"
    if any(described.get("platform") in ("pannuke", "hest") for described in sets):
        return "cc-by-nc-sa-4.0"
    if any(described.get("labels") in USE_CANCERSEA for described in sets):
        return "cc-by-nc-4.0"
    return "other"
