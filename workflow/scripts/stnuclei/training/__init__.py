"""Training: sources, sampling, loading, augmentation, and the loop.

Names are imported when they are first asked for: `TrainSettings` is wanted by code that must not wait for torch.
"""

import importlib
from typing import Any

_HOMES = {
    "TrainSettings": "settings",
    "Source": "sources",
    "Collection": "collection",
    "Sampler": "sampler",
    "PatchLoader": "loader",
    "Augmenter": "augment",
    "train": "loop",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
