"""Result of the alignment check, as numbers that later rules and people read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.errors import UserError
from stnuclei.files import atomic_write


@dataclass
class AlignmentReport:
    """Verdict on whether nuclei lie on nuclei.

    Attributes
    ----------
    sample
        Which slide.
    passed
        Whether the slide can be used as it is (after the correction, where one was asked for).
    message
        The finding in one sentence.
    shift_um, shift_px
        (x, y) by which the nuclei would have to move, um and he_px.
    contrast
        Mean haematoxylin density inside nuclei minus in a 2-um ring around them, where they lie now.
    darker_fraction
        Fraction of nuclei that are darker than their ring; about a half where nuclei lie anywhere.
    details
        Peak of the correlation, rotation and scale, orientation search, settings.
    correction
        (3, 3) float64 he_px -> he_px that moves the nuclei; identity unless refinement was asked for.
    tiles
        One row a tile: x, y (centre, he_px), n_nuclei, contrast, darker_fraction, shift_x_um, shift_y_um,
        certainty, sure.
    """

    sample: str
    passed: bool
    message: str
    shift_um: tuple[float, float]
    shift_px: tuple[float, float]
    contrast: float
    darker_fraction: float
    details: dict[str, Any]
    correction: np.ndarray
    tiles: pd.DataFrame

    def save_json(self, path: str | Path) -> None:
        """Write all fields as JSON."""
        content = {key: value for key, value in _fields(self).items() if key not in ("tiles", "correction")}
        content["correction"] = np.asarray(self.correction).tolist()
        content["tiles"] = json.loads(self.tiles.to_json(orient="records"))
        with atomic_write(path) as aside:
            aside.write_text(json.dumps(_finite(content), indent=1))


def _fields(report: AlignmentReport) -> dict[str, Any]:
    """Fields by name, not copied."""
    return {name: getattr(report, name) for name in report.__dataclass_fields__}


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def load_correction(path: str | Path) -> np.ndarray:
    """Read the correction (3, 3) float64, he_px -> he_px, that the alignment check decided on.

    Raises
    ------
    UserError
        If the file is not one of ours.
    """
    try:
        matrix = np.array(json.loads(Path(path).read_text())["correction"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no correction ({str(error)[:80]}); run check_alignment again") from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise UserError(f"{path}: the correction is no 3x3 matrix of numbers; run check_alignment again")
    return matrix
