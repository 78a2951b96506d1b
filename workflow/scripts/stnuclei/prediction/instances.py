"""Nuclei of one tile, from the maps of its core and its surroundings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely

from stnuclei.cellvit.nuclei import NucleiTable, nuclei_table
from stnuclei.cellvit.outlines import outline_polygons
from stnuclei.cellvit.postprocess import GradientRange, separate_nuclei
from stnuclei.prediction.descriptors import TokenUse, classified, embeddings
from stnuclei.prediction.nuclei_arrays import NucleiArrays
from stnuclei.prediction.search_region import SearchRegion
from stnuclei.prediction.tiles import MARGIN, NEAR, Neighbours, TileMaps, window


@dataclass(frozen=True)
class SeparationSettings:
    """Settings by which nuclei are cut out and measured.

    Parameters
    ----------
    um_per_px
        Size of a network pixel.
    ratio
        he_px along a network pixel.
    simplify_px
        See `outline_polygons`.
    gradients
        Range of the HV gradients for the whole slide, so that no nucleus depends on what else its window holds; None:
        each picture's range, as published.
    use
        Classifier and embeddings.
    """

    um_per_px: float
    ratio: float
    simplify_px: float
    gradients: GradientRange | None
    use: TokenUse = field(default_factory=TokenUse)


def separate_tile(
    neighbours: Neighbours, corner: tuple[int, int], core: int, settings: SeparationSettings, region: SearchRegion
) -> NucleiArrays:
    """Nuclei of a tile: those it owns, and copies of its neighbours' that lie across the border.

    Parameters
    ----------
    neighbours
        Maps of the tile at (0, 0) and around it.
    corner
        Top-left corner (x, y) of the core, network pixels.
    core
        Its side.
    settings, region
        Separation; nuclei outside the region are left out.

    Returns
    -------
    A tile owns a nucleus where the middle of its box (whole numbers, so all windows agree) lies in the core. Across a
    border the neighbour finds the same nucleus from the same maps; its copy is given too, marked as not owned, so that
    `merge` can make sure that exactly one of both is kept. Copies cut by the window's edge are left out.
    """
    tile, use = neighbours[0, 0], settings.use
    if not tile.foreground.any():
        return NucleiArrays.none(use.classes(len(tile.types)), use.embedding)
    maps = window(neighbours, core)
    labels = separate_nuclei(maps.foreground, maps.hv, settings.um_per_px, settings.gradients)
    # The tokens are those of the tile's own pass, whose halo shows the nuclei on its borders: the tile that owns a
    # nucleus describes it, whatever its neighbours saw.
    grid = tile.tokens.shifted(MARGIN) if tile.tokens is not None else None
    table = classified(nuclei_table(labels, maps.types), labels, grid, use.classifier)
    low, high = table.bbox[:, :2], table.bbox[:, 2:]
    middle = (low + high) // 2
    owned = np.all((middle >= MARGIN) & (middle < MARGIN + core), axis=1)
    inner = np.all((low >= MARGIN + NEAR) & (high <= MARGIN + core - NEAR), axis=1)
    beside = ((high <= MARGIN) | (low >= MARGIN + core)).any(1)
    cut = (low == 0).any(1) | (high == core + 2 * MARGIN).any(1)
    origin = (corner[0] - MARGIN, corner[1] - MARGIN)
    wanted = np.asarray(region.contains((table.centroid + np.float64(0.5) + origin) * settings.ratio))
    rows = np.flatnonzero((owned | ~(beside | cut)) & wanted)
    nuclei = measured(labels, table, rows, origin, settings, owned[rows], ~inner[rows])
    return nuclei.with_embedding(embeddings(table, rows, labels, grid, use))


def separate_picture(maps: TileMaps, settings: SeparationSettings) -> NucleiArrays:
    """Nuclei of a picture that is seen whole; all are its own, and none lies across a border."""
    labels = separate_nuclei(maps.foreground, maps.hv, settings.um_per_px)
    table = classified(nuclei_table(labels, maps.types), labels, maps.tokens, settings.use.classifier)
    rows = np.arange(len(table))
    nuclei = measured(labels, table, rows, (0, 0), settings, rows >= 0, rows < 0)
    return nuclei.with_embedding(embeddings(table, rows, labels, maps.tokens, settings.use))


def measured(
    labels: np.ndarray,
    table: NucleiTable,
    rows: np.ndarray,
    origin: tuple[int, int],
    settings: SeparationSettings,
    owned: np.ndarray,
    crossing: np.ndarray,
) -> NucleiArrays:
    """Rows of a table with their outlines, moved to the slide; `origin` (x, y) is the window's corner."""
    bbox, area = table.bbox[rows], table.area[rows]
    outlines = outline_polygons(labels, table.id[rows], bbox, area, settings.simplify_px)
    chosen, probability = _classes(table, rows)
    return NucleiArrays(
        chosen,
        probability,
        table.class_probabilities[rows],
        (table.centroid[rows].astype(np.float64) + 0.5 + origin) * settings.ratio,
        (area * settings.um_per_px**2).astype(np.float32),
        bbox + np.array([*origin, *origin], np.int32),
        area,
        owned,
        crossing,
        shapely.transform(outlines, lambda xy: (xy + origin) * settings.ratio) if len(rows) else outlines,
    )


def _classes(table: NucleiTable, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability; where all pixels say background, which is no class, the likeliest of the others."""
    chosen, probability = table.class_id[rows].copy(), table.class_probability[rows].copy()
    without = np.flatnonzero(chosen == 0)
    if len(without) and table.class_probabilities.shape[1] > 1:
        means = table.class_probabilities[rows[without], 1:]
        chosen[without] = means.argmax(1) + 1
        probability[without] = means.max(1)
    return chosen, probability
