"""Description of a model in a store of predictions, and its taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stnuclei.prediction.inference import Network
from stnuclei.taxonomy import Taxonomy


def describe(predictor: Network) -> dict[str, Any]:
    """Description of the model for a store of predictions, as plain values."""
    meta = predictor.metadata
    classifier = getattr(predictor, "classifier", None)
    return {key: meta[key] for key in ("arch", "architecture", "epoch", "tissues", "provenance")} | {
        "precision": str(predictor.dtype).removeprefix("torch."),
        "device": predictor.device.type,
        **({"classifier": {"sha256": classifier.sha256, "tokens": classifier.tokens}} if classifier else {}),
    }


#: Colours of Okabe and Ito 2008, then Tol 2021, for classes without one.
_COLOURS = "#D55E00 #009E73 #0072B2 #F2C500 #CC79A7 #56B4E9 #882255 #44AA99 #999933 #AA4499".split()


def model_taxonomy(metadata: Mapping[str, Any], classes: Sequence[str]) -> Taxonomy:
    """Taxonomy of a checkpoint; official files carry names only.

    Parameters
    ----------
    metadata
        From `stnuclei.cellvit.load_checkpoint`.
    classes
        Names of the type channels, background first.

    Returns
    -------
    The checkpoint's; else PanNuke's where the names are PanNuke's; else one made of the names, with colours.
    """
    if metadata.get("taxonomy"):
        return Taxonomy.from_dict(metadata["taxonomy"])
    pannuke = Taxonomy.load("pannuke")
    if tuple(classes[1:]) == pannuke.names:
        return pannuke
    entries = [
        {"id": k, "name": name, "color": _COLOURS[(k - 1) % len(_COLOURS)]} for k, name in enumerate(classes[1:], 1)
    ]
    unknown = {"name": "Unknown" if "Unknown" not in classes else "No class", "color": "#999999"}
    return Taxonomy.from_dict({"name": "model", "classes": entries, "unknown": unknown})
