"""Segmentation as the instrument gives it: nucleus and cell polygons on its pixel grid, and label masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.spatial import cKDTree
from skimage.draw import polygon as fill_polygon

from stnuclei.simulate.tissue import Tissue

#: Morphology pixel of every Xenium slide, um.
PIXEL_UM = 0.2125


@dataclass
class Segmentation:
    """Cells and nuclei as the instrument reports them.

    Parameters
    ----------
    nucleus_polygons, cell_polygons
        One closed ring (n, 2) of (x, y) each, int64 morphology px (pixel corners).
    nucleus_cell
        Row of the cell that owns each nucleus, int64 (nuclei,).
    source
        Index of the tissue's nucleus behind each nucleus polygon, int64 (nuclei,).
    cell_types
        Fine type of each cell.
    nucleus_mask, cell_mask
        uint32 (H, W) morphology px; nucleus k is k + 1, cell c is c + 1.
    centroid_um, cell_area_um2, nucleus_area_um2, nucleus_count
        One entry a cell; x, y in um.
    """

    nucleus_polygons: list[np.ndarray]
    cell_polygons: list[np.ndarray]
    nucleus_cell: np.ndarray
    source: np.ndarray
    cell_types: list[str]
    nucleus_mask: np.ndarray
    cell_mask: np.ndarray
    centroid_um: np.ndarray
    cell_area_um2: np.ndarray
    nucleus_area_um2: np.ndarray
    nucleus_count: np.ndarray


def segment(
    tissue: Tissue,
    rng: np.random.Generator,
    vertices: int,
    expansion_um: float,
    several: bool,
    missed: float = 0.01,
) -> Segmentation:
    """Segment a tissue.

    Parameters
    ----------
    tissue
        Its nuclei are what the instrument sees under DAPI.
    rng
        Where the numbers come from.
    vertices
        Distinct vertices of a polygon: 12 in XOA 1, up to 24 later.
    expansion_um
        How far cells reach beyond their nuclei.
    several
        Whether cells may own two nuclei or none, as since XOA 2.
    missed
        Share of nuclei that the instrument does not see.
    """
    shape = (round(tissue.size_um[1] / PIXEL_UM), round(tissue.size_um[0] / PIXEL_UM))
    seen = np.flatnonzero(rng.uniform(size=len(tissue.nuclei)) >= missed)
    polygons: list[np.ndarray] = []
    mask = np.zeros(shape, np.uint32)
    chosen: list[int] = []
    for index in seen:
        ring = nucleus_ring(tissue, int(index), vertices, rng)
        rows, columns = fill_polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, shape)
        free = mask[rows, columns] == 0
        if free.sum() < 30:  # less than 1.4 um2: hidden by its neighbours
            continue
        mask[rows[free], columns[free]] = len(polygons) + 1
        polygons.append(ring)
        chosen.append(int(index))
    source = np.array(chosen, dtype=np.int64)
    types = [tissue.nuclei[index].cell_type for index in source]
    owner, cell_types = _own(tissue, source, types, several, rng)
    cell_mask = _expand(mask, owner, expansion_um)
    if several:
        cell_types += _anucleate(tissue, cell_mask, len(cell_types), rng)
    return _measure(polygons, owner, source, cell_types, mask, cell_mask, vertices)


def nucleus_ring(tissue: Tissue, index: int, vertices: int, rng: np.random.Generator) -> np.ndarray:
    """Closed polygon of one nucleus on the pixel grid, int64 (vertices + 1, 2), a little off as segmentations are."""
    nucleus = tissue.nuclei[index]
    points = nucleus.outline(vertices)
    centre = np.array([nucleus.x, nucleus.y])
    points = centre + (points - centre) * (1.0 + rng.normal(0.01, 0.03))
    return _snap(points / PIXEL_UM, vertices)


def _snap(points: np.ndarray, vertices: int) -> np.ndarray:
    """Round to pixel corners and close; a ring that crosses itself becomes its convex hull, padded to its length."""
    ring = np.round(points).astype(np.int64)
    ring = np.vstack([ring, ring[:1]])
    if not shapely.Polygon(ring).is_valid:
        hull = shapely.convex_hull(shapely.MultiPoint(ring))
        if hull.geom_type != "Polygon":
            hull = shapely.MultiPoint(ring).buffer(1.5, quad_segs=1).convex_hull
        ring = np.round(np.asarray(hull.exterior.coords)).astype(np.int64)[: vertices + 1]
        ring = np.vstack([ring, np.repeat(ring[:1], vertices + 1 - len(ring), axis=0)])
    return ring


def _own(
    tissue: Tissue, source: np.ndarray, types: list[str], several: bool, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Give every nucleus its cell; about one nucleus in a hundred shares its neighbour's."""
    owner = np.arange(len(source))
    if several and len(source) > 1:
        xy = np.array([[tissue.nuclei[k].x, tissue.nuclei[k].y] for k in source])
        distance, other = (column[:, 1] for column in cKDTree(xy).query(xy, k=2))
        for k in np.flatnonzero((distance < 11) & (rng.uniform(size=len(source)) < 0.02)):
            pair = other[k]
            if owner[k] == k and owner[pair] == pair and (owner == k).sum() == 1 and types[k] == types[pair]:
                owner[k] = pair
    kept, owner = np.unique(owner, return_inverse=True)
    return owner, [types[k] for k in kept]


def _expand(nucleus_mask: np.ndarray, owner: np.ndarray, expansion_um: float) -> np.ndarray:
    """Grow cells from their nuclei until they meet; uint32 (H, W). Distances are taken on every second pixel."""
    cell_of = np.concatenate([[0], owner + 1]).astype(np.uint32)
    nuclear = cell_of[nucleus_mask]
    half = nuclear[::2, ::2]
    distance, (rows, columns) = distance_transform_edt(half == 0, return_indices=True)
    grown = np.where(distance * 2 * PIXEL_UM <= expansion_um, half[rows, columns], 0)
    cells = np.repeat(np.repeat(grown, 2, axis=0), 2, axis=1)[: nuclear.shape[0], : nuclear.shape[1]]
    return np.where(nuclear > 0, nuclear, cells).astype(np.uint32)


def _anucleate(tissue: Tissue, cell_mask: np.ndarray, count: int, rng: np.random.Generator) -> list[str]:
    """Add cells without nucleus, about 2 %, where tissue is free; writes into `cell_mask`, gives their types."""
    free = cv2.resize(tissue.plan.inside("tissue", 4).astype(np.uint8), cell_mask.shape[::-1]) > 0
    for name in ("hole", "fat", "vessel", "gland_lumen", "nest_lumen"):
        free &= cv2.resize(tissue.plan.inside(name, -3).astype(np.uint8), cell_mask.shape[::-1]) == 0
    room = cv2.distanceTransform((free & (cell_mask == 0)).astype(np.uint8), cv2.DIST_L2, 3)
    xy = np.array([[nucleus.x, nucleus.y] for nucleus in tissue.nuclei])
    tree, types = cKDTree(xy), []
    free_pixels = np.flatnonzero(room > 1.5 / PIXEL_UM)
    for index in rng.permutation(free_pixels)[: 6 * round(0.02 * count)]:
        i, j = np.divmod(int(index), cell_mask.shape[1])
        radius = int(min(room[i, j], 4.0 / PIXEL_UM))
        box = np.s_[i - radius : i + radius + 1, j - radius : j + radius + 1]
        yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disc = (yy**2 + xx**2 <= radius**2)[: cell_mask[box].shape[0], : cell_mask[box].shape[1]]
        if min(i, j) < radius or disc.shape != cell_mask[box].shape or cell_mask[box][disc].any():
            continue
        types.append(tissue.nuclei[int(tree.query([j * PIXEL_UM, i * PIXEL_UM])[1])].cell_type)
        cell_mask[box][disc] = count + len(types)
        if len(types) >= round(0.02 * count):
            break
    return types


def _measure(
    polygons: list[np.ndarray],
    owner: np.ndarray,
    source: np.ndarray,
    cell_types: list[str],
    mask: np.ndarray,
    cell_mask: np.ndarray,
    vertices: int,
) -> Segmentation:
    n = len(cell_types)
    flat = cell_mask.ravel()
    area = np.bincount(flat, minlength=n + 1)[1:]
    column = np.tile(np.arange(mask.shape[1], dtype=np.float64), mask.shape[0])
    line = np.repeat(np.arange(mask.shape[0], dtype=np.float64), mask.shape[1])
    x = np.bincount(flat, column, n + 1)[1:] / area
    y = np.bincount(flat, line, n + 1)[1:] / area
    nucleus_px = np.bincount(mask.ravel(), minlength=len(polygons) + 1)[1:]
    return Segmentation(
        nucleus_polygons=polygons,
        cell_polygons=_cell_rings(cell_mask, n, vertices),
        nucleus_cell=owner,
        source=source,
        cell_types=cell_types,
        nucleus_mask=mask,
        cell_mask=cell_mask,
        centroid_um=(np.stack([x, y], axis=1) + 0.5) * PIXEL_UM,
        cell_area_um2=area * PIXEL_UM**2,
        nucleus_area_um2=np.bincount(owner, nucleus_px, n) * PIXEL_UM**2,
        nucleus_count=np.bincount(owner, minlength=n),
    )


def _cell_rings(cell_mask: np.ndarray, n: int, vertices: int) -> list[np.ndarray]:
    """Outlines of the cell mask, resampled to even steps and put on pixel corners."""
    rings = []
    for label, box in enumerate(find_objects(cell_mask.astype(np.int32), n), start=1):
        window = (cell_mask[box] == label).astype(np.uint8)
        outlines, _ = cv2.findContours(window, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(outlines, key=cv2.contourArea)[:, 0].astype(np.float64)
        closed = np.vstack([outline, outline[:1]])
        way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
        steps = np.linspace(0, way[-1], vertices, endpoint=False)
        points = np.stack([np.interp(steps, way, closed[:, axis]) for axis in (0, 1)], axis=1)
        rings.append(_snap(points + 0.5 + [box[1].start, box[0].start], vertices))
    return rings
