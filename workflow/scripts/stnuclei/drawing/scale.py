"""Round lengths, and the grid of maps over a whole slide."""

from __future__ import annotations

import numpy as np

MAP_BINS = 150  # along the longer side: about one bin a screen pixel of a panel
SMALLEST_BIN_UM = 10.0  # one nucleus
SMALLEST_SMOOTHING_UM = 25.0
_ROUND = (1, 2, 3, 5)


def round_length(um: float) -> float:
    """Largest of 1, 2, 3, 5 times a power of ten that is at most `um`."""
    power = 10.0 ** np.floor(np.log10(max(um, 1e-6)))
    # 1e-9: 3.0 must not become 2 for 2.9999999999
    return float(max(factor * power for factor in _ROUND if factor * power <= um * (1 + 1e-9)))


def map_bin_um(longest_um: float) -> float:
    """Side of a bin, um, of maps of a slide whose longer side is `longest_um`."""
    return max(round_length(longest_um / MAP_BINS), SMALLEST_BIN_UM)


def map_smoothing_um(longest_um: float) -> float:
    """Standard deviation, um, of the Gaussian that such maps are smoothed by: at least 1.5 bins."""
    return max(SMALLEST_SMOOTHING_UM, 1.5 * longest_um / MAP_BINS)
