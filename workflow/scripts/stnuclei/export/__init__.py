"""Nuclei of a slide for other programs and for people: QuPath, SpatialData, Xenium Explorer, tables, pictures.

Names are imported when they are first asked for: a table does not wait for spatialdata.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "compare_slide": "agreement",
    "draw_agreement": "agreement_map",
    "draw_density": "density",
    "draw_overview": "overview",
    "draw_slide": "write",
    "draw_zooms": "zooms",
    "find_slide": "write",
    "summarise": "summary",
    "write_card": "card",
    "write_explorer": "explorer",
    "write_exports": "write",
    "write_geojson": "geojson",
    "write_spatialdata": "spatial",
    "write_summary": "summary",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
