"""CellViT in plain torch: network, checkpoints, targets, losses, post-processing.

Written from facts about the published network, not from its code. Names are imported when they are first asked for:
targets and post-processing are wanted where torch's start-up would be waste.
"""

import importlib
from typing import Any

_HOMES = {
    "ARCHITECTURES": "model",
    "CellViT": "model",
    "build_model": "model",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "load_encoder": "encoder_weights",
    "export_model": "export",
    "cellvit_losses": "losses",
    "total_loss": "losses",
    "OFFICIAL_WEIGHTS": "losses",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
