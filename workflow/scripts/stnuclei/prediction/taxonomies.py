"""The taxonomy of a model, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stnuclei.taxonomy import Taxonomy

#: Okabe and Ito 2008, and after them Tol 2021: for classes nobody has given a colour.
_COLOURS = (
    "#D55E00",
    "#009E73",
    "#0072B2",
    "#F2C500",
    "#CC79A7",
    "#56B4E9",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
)


def taxonomy_of(metadata: Mapping[str, Any], classes: Sequence[str]) -> Taxonomy:
    """Taxonomy of a checkpoint; official files carry names only.

    Parameters
    ----------
    metadata
        From `stnuclei.cellvit.load_checkpoint`.
    classes
        Names of the type channels, background first.

    Returns
    -------
    The checkpoint's own; else PanNuke's where the names are PanNuke's; else one of the names, with colours.
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
