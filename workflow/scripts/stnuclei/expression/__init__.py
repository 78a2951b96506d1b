"""How much expression can be read from one H&E patch: patch x gene tables, networks, training, scores.

Names are imported when they are first asked for: reading a table must not wait for torch.
"""

import importlib
from typing import Any

_HOMES = {
    "ExpressionSettings": "settings",
    "PatchData": "data",
    "PatchSource": "data",
    "build_network": "networks",
    "count_cells": "counting",
    "count_transcripts": "counting",
    "cut_spots": "spots",
    "load_weights": "networks",
    "morans_i": "moran",
    "patch_graph": "graph",
    "patch_table": "table",
    "predict_expression": "predict",
    "read_spots": "spots",
    "read_table": "table",
    "score_expression": "report",
    "spatial_genes": "moran",
    "split_patches": "split",
    "spot_counts": "spots",
    "train_expression": "loop",
    "write_table": "table",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
