"""Plausibility of nuclei on a slide, checked before any pixel is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from stnuclei.errors import UserError
from stnuclei.io.alignment import Alignment, apply
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.slides.slide import Slide

#: Median nucleus area, um2, that tissue can have; Xenium runs have 24 to 60.
PLAUSIBLE_AREA = (4.0, 600.0)
#: Largest distance of a nucleus from its cell's centre, median over the slide, um.
_FARTHEST_UM = 25.0


def check_nuclei(
    path: str | Path,
    slide: Slide,
    nuclei: NucleusBoundaries,
    um_per_px: float,
    need: str,
    alignment: Alignment | None = None,
) -> None:
    """Stop where most nuclei lie beside the slide, or cannot be nuclei by their size.

    Parameters
    ----------
    path
        The file to name.
    slide, nuclei
        Pixels and polygons, he_px.
    um_per_px
        H&E pixel size.
    need
        What the file must hold, for the message.
    alignment
        It placed the nuclei, and is tried the other way round where they lie beside the slide.

    Raises
    ------
    UserError
        If fewer than half of the nuclei have their centre on the slide, or their median area is impossible.
    """
    height, width = slide.shape[:2]
    centre = nuclei.measures.centroid
    inside = _on_slide(centre, slide)
    if inside.mean() < 0.5:
        if alignment is not None:
            # he_px -> morphology_px by the matrix; the inverse was used, so the matrix twice undoes it and inverts.
            other = _on_slide(apply(alignment.matrix @ alignment.matrix, centre), slide).mean()
            need = f"taken the other way round it puts {100 * other:.0f} % on it: {alignment.inverse_means}" if (
                other > 0.9
            ) else need  # fmt: skip
        x0, y0, x1, y1 = nuclei.total_bounds()
        raise UserError(
            f"{path}: puts {100 * (1 - inside.mean()):.0f} % of the nuclei outside {slide.path.name} (nuclei span "
            f"x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}, the slide is {width} x {height} px); {need}"
        )
    area = float(np.median(nuclei.measures.area)) * um_per_px**2
    if not PLAUSIBLE_AREA[0] <= area <= PLAUSIBLE_AREA[1]:
        raise UserError(
            f"{path}: makes the median nucleus {area:.3g} um2, which no tissue has "
            f"({PLAUSIBLE_AREA[0]:g}-{PLAUSIBLE_AREA[1]:g}); are the units or the pixel size wrong? {need}"
        )


def _on_slide(points: np.ndarray, slide: Slide) -> np.ndarray:
    """True where points (n, 2), he_px, lie on the slide, bool (n,)."""
    inside = (points >= 0) & (points < np.array(slide.shape[1::-1]))
    return np.asarray(inside.all(axis=1))


def check_centres(
    path: str | Path, other: str, nuclei: NucleusBoundaries, cells: pd.DataFrame, um_per_px: float
) -> None:
    """Stop where nuclei lie far from their own cells: axes exchanged, other units, or files of different runs.

    Parameters
    ----------
    path, other
        The nuclei's file, and the one that says where cells are.
    nuclei
        With the cell each belongs to, he_px.
    cells
        Columns ``x``, ``y`` in he_px, indexed by cell id.
    um_per_px
        H&E pixel size.

    Raises
    ------
    UserError
        If the median distance is above 25 um.
    """
    row = nuclei.rows_in(pa.array(cells.index, pa.string()))
    owner = np.where(row[:, None] >= 0, cells.to_numpy()[row], np.nan)
    distance = np.hypot(*(nuclei.measures.centroid - owner).T) * um_per_px
    median = float(np.nanmedian(distance)) if np.isfinite(distance).any() else 0.0
    if median > _FARTHEST_UM:
        raise UserError(
            f"{path}: nuclei lie {median:.0f} um from their cells in {other} (median); are x and y exchanged, the "
            "units others, or the files of different runs?"
        )
