"""The stain concentrations of a picture in the making."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Canvas:
    """Concentrations in the making; all fields float32 (H, W) but `um_per_px`."""

    um_per_px: float
    blue: np.ndarray
    pink: np.ndarray
    red: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.blue.shape

    def px(self, um: float) -> float:
        """Length in px of `um`."""
        return um / self.um_per_px

    def lay(self, mask: np.ndarray, blue: float | np.ndarray, pink: float | np.ndarray) -> None:
        """Replace what lies under a soft mask (H, W) in 0..1."""
        self.blue += mask * (blue - self.blue)
        self.pink += mask * (pink - self.pink)
        self.red *= 1 - mask
