"""Nuclei drawn on pixels: outlines of instances and of polygons, filled polygons, points, class colours."""

from __future__ import annotations

import cv2
import numpy as np
import shapely
from scipy.ndimage import find_objects

from stnuclei.taxonomy import Taxonomy

DARK = (28, 28, 28)
_SHIFT = 4  # cv2 draws at sixteenths of a pixel


def rgb(color: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers 0..255."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def class_colors(classes: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Colours (n, 3) uint8 of class ids (n,); Unknown's for -1 and for 0, a nucleus without a class."""
    unknown = rgb(taxonomy.unknown.color)
    table = np.array([unknown, unknown, *(rgb(entry.color) for entry in taxonomy.classes)], np.uint8)
    return table[np.asarray(classes, int) + 1]


def outline_instances(
    image: np.ndarray, instances: np.ndarray, colors: np.ndarray, scale: int = 3, thickness: int = 5
) -> np.ndarray:
    """Enlarge a picture and outline every nucleus of its label map.

    Parameters
    ----------
    image
        (H, W, 3) uint8.
    instances
        (H, W) integers, 0 background, nucleus k takes row k - 1 of `colors`.
    colors
        (n, 3) uint8.
    scale
        Enlargement: lines drawn on enlarged pixels stay thin at the size of a page.
    thickness
        Of the coloured line, enlarged px.

    Returns
    -------
    (scale H, scale W, 3) uint8: coloured lines over wider dark ones, which keep pale colours visible on pale tissue.
    """
    size = (image.shape[1] * scale, image.shape[0] * scale)
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(instances.astype(np.uint16), size, interpolation=cv2.INTER_NEAREST)
    borders = []
    for k, box in enumerate(find_objects(large), start=1):
        if box is not None:
            # Smoothed at the enlarged size: the pixels' stairs are not the nucleus. Its box with a margin is enough.
            top, left = (max(side.start - 4, 0) for side in box)
            mask = (large[top : box[0].stop + 4, left : box[1].stop + 4] == k).astype(np.uint8)
            mask = cv2.medianBlur(np.ascontiguousarray(mask), 5)
            contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left, top))
            borders.append((k, contours[0]))
    for _, lines in borders:
        cv2.drawContours(canvas, lines, -1, DARK, thickness + 2, cv2.LINE_AA)
    for k, lines in borders:
        cv2.drawContours(canvas, lines, -1, colors[k - 1].tolist(), thickness, cv2.LINE_AA)
    return canvas


def outline_polygons(
    pixels: np.ndarray, polygons: np.ndarray, colors: np.ndarray, scale: float, thickness: int = 2
) -> None:
    """Outline polygons on a picture, in place: coloured lines over wider dark ones.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8, contiguous.
    polygons
        (n,) shapely polygons in coordinates whose origin is the picture's corner, `scale` px a unit.
    colors
        (n, 3) uint8.
    thickness
        px.
    """
    rings = [_ring(polygon, scale) for polygon in polygons]
    cv2.polylines(pixels, rings, True, DARK, thickness + 2, cv2.LINE_AA, _SHIFT)
    for ring, color in zip(rings, colors, strict=True):
        cv2.polylines(pixels, [ring], True, color.tolist(), thickness, cv2.LINE_AA, _SHIFT)


def fill_polygons(pixels: np.ndarray, polygons: np.ndarray, colors: np.ndarray, scale: float) -> None:
    """Fill polygons on a picture, in place; arguments as of `outline_polygons`."""
    for polygon, color in zip(polygons, colors, strict=True):
        cv2.fillPoly(pixels, [_ring(polygon, scale)], color.tolist(), cv2.LINE_AA, _SHIFT)


def _ring(polygon: shapely.Polygon, scale: float) -> np.ndarray:
    # cv2 has the centre of pixel 0 at 0, ours has its corner there.
    points = shapely.get_coordinates(polygon)[:-1] * scale - 0.5
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def stamp_points(pixels: np.ndarray, xy: np.ndarray, colors: np.ndarray, side: int) -> None:
    """Set squares of `side` px about points (n, 2), in place; later points lie over earlier ones."""
    height, width = pixels.shape[:2]
    column, row = np.floor(xy - (side - 1) / 2 + 0.5 * (side % 2 == 0)).astype(np.int64).T
    for dy in range(side):
        for dx in range(side):
            y, x = row + dy, column + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            pixels[y[inside], x[inside]] = colors[inside]
