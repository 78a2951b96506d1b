"""Density maps: nuclei of each class per mm2 of tissue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from scipy.ndimage import gaussian_filter

from stnuclei.drawing.figure import figure_file, map_bin_um, map_smoothing_um
from stnuclei.errors import UserError
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.quality.tissue_map import BLURRED, TISSUE, TissueMap

_LEAST_TISSUE = 0.2  # fraction of a bin's area below which its density says little


def density_maps(
    nuclei: NucleiFile, tissue: TissueMap | None = None, bin_um: float | None = None, smooth_um: float = 0.0
) -> tuple[np.ndarray, float]:
    """Nuclei per mm2 of tissue on a grid.

    Parameters
    ----------
    nuclei
        Of a slide; read in pieces.
    tissue
        What was searched; None: the whole area counts.
    bin_um
        Side of a bin, um; None: a round length that gives about 150 along the longer side, at least 10.
    smooth_um
        Standard deviation of the Gaussian that counts and tissue are spread by before they are divided; 0: none.

    Returns
    -------
    (C, H, W) float64, channel 0 all nuclei, channel k class id k; NaN where less than a fifth of a bin is tissue. And
    the bin's side, um.

    Raises
    ------
    UserError
        If the nuclei are of a folder of pictures, which has no plane.
    """
    meta = nuclei.metadata
    if not meta.get("width"):
        raise UserError(f"{nuclei.path}: nuclei of a folder of pictures have no common plane to map densities on")
    um = np.array([meta["width"], meta["height"]]) * nuclei.um_per_px
    side = bin_um or map_bin_um(um.max())
    columns, rows = np.ceil(um / side).astype(int)
    counts = np.zeros((nuclei.taxonomy.n_outputs, rows, columns))
    to_bin = nuclei.um_per_px / side
    for batch in nuclei.arrow_batches(["class_id", "centroid_x", "centroid_y"]):
        class_id, x, y = (column.to_numpy() for column in batch.columns)
        column = np.clip((x * to_bin).astype(int), 0, columns - 1)
        row = np.clip((y * to_bin).astype(int), 0, rows - 1)
        np.add.at(counts[0], (row, column), 1)
        known = class_id > 0
        np.add.at(counts, (class_id[known], row[known], column[known]), 1)
    fraction = _tissue_fraction(tissue, (rows, columns), side / nuclei.um_per_px, um / side)
    if region := (meta.get("settings") or {}).get("region"):
        fraction *= _region_fraction(region, (rows, columns), to_bin)
    sigma = smooth_um / side
    spread = np.stack([gaussian_filter(count, sigma) for count in counts]) if sigma else counts
    area = (gaussian_filter(fraction, sigma) if sigma else fraction) * side**2 / 1e6
    return np.where(fraction >= _LEAST_TISSUE, spread / np.maximum(area, 1e-12), np.nan), side


def _tissue_fraction(tissue: TissueMap | None, shape: tuple[int, int], bin_px: float, extent: np.ndarray) -> np.ndarray:
    """Fraction of each bin's area that is tissue, (rows, columns); `extent` is the slide's (width, height) in bins."""
    inside = [np.clip(length - np.arange(n), 0, 1) for n, length in zip(shape, extent[::-1], strict=True)]
    if tissue is None:
        return np.outer(*inside)
    tissue_mask = np.isin(tissue.classes, (TISSUE, BLURRED))
    ratio = tissue.he_px_per_px / bin_px
    down, across = (_overlaps(n, length, ratio) for n, length in zip(shape, tissue_mask.shape, strict=True))
    return down @ tissue_mask @ across.T


def _region_fraction(region: Sequence[float], shape: tuple[int, int], to_bin: float) -> np.ndarray:
    """Fraction of each bin's area inside x0, y0, x1, y1 (he_px), (rows, columns)."""
    x0, y0, x1, y1 = (value * to_bin for value in region)
    down, across = (
        np.clip(np.minimum(np.arange(n) + 1, end) - np.maximum(np.arange(n), begin), 0, 1)
        for n, (begin, end) in zip(shape, ((y0, y1), (x0, x1)), strict=True)
    )
    return np.outer(down, across)


def _overlaps(bins: int, pixels: int, ratio: float) -> np.ndarray:
    """(bins, pixels): length of each pixel of `ratio` bins inside each bin, in bins."""
    edges = np.arange(pixels + 1) * ratio
    at = np.arange(bins)[:, None]
    return np.clip(np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at), 0, None)


def draw_density(nuclei: str | Path | NucleiFile, path: str | Path, tissue: TissueMap | None = None) -> None:
    """Draw a map of all nuclei and one of each class that occurs, each with a scale of its own.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened.
    path
        The png, at most 1600 px a side.
    tissue
        What was searched.
    """
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    longest = max(nuclei.metadata.get("width") or 0, nuclei.metadata.get("height") or 0) * nuclei.um_per_px
    maps, side = density_maps(nuclei, tissue, smooth_um=map_smoothing_um(longest))
    shown = [0, *(entry.id for entry in nuclei.taxonomy.classes if np.nansum(maps[entry.id]) > 0)]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    aspect = float(np.clip(maps.shape[1] / maps.shape[2], 0.3, 2.0))
    with figure_file(path, 4.2 * columns, (3.4 * aspect + 0.5) * rows + 0.5) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in panels[len(shown) :]:
            axes.axis("off")
        for axes, k in zip(panels, shown, strict=False):
            _draw_map(axes, maps[k], side, "all nuclei" if k == 0 else nuclei.taxonomy.name_of(k))
        figure.suptitle(f"{nuclei.metadata['slide']}: nuclei per mm² of tissue", fontsize=12, x=0.01, ha="left")


def _draw_map(axes: Axes, density: np.ndarray, side: float, title: str) -> None:
    extent = (0, density.shape[1] * side / 1000, density.shape[0] * side / 1000, 0)
    top = float(np.nanpercentile(density, 99)) if np.isfinite(density).any() else 1.0
    axes.set_facecolor("#e8e8e8")
    image = axes.imshow(density, extent=extent, cmap="viridis", vmin=0, vmax=max(top, 1.0), interpolation="nearest")
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("mm", fontsize=8)
    axes.tick_params(labelsize=8)
    bar = axes.figure.colorbar(
        image, ax=axes, shrink=0.85, extend="max" if np.nanmax(density, initial=0) > top else "neither"
    )
    bar.ax.tick_params(labelsize=8)
