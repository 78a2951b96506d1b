"""Pyramidal OME-TIFF files of the simulated slide: H&E and DAPI."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from stnuclei.simulate.segmentation import PIXEL_UM
from stnuclei.simulate.tissue import Tissue

#: DAPI of each class relative to the brightest: dense small nuclei shine.
_SHINE = {"lymphocyte": 1.0, "plasma": 0.9, "tumour": 0.6, "macrophage": 0.6, "mitotic": 1.2, "dead": 1.2}


def he_matrix(
    size_um: tuple[float, float], um_per_px: float, angle_deg: float, margin_um: float
) -> tuple[np.ndarray, tuple[int, int]]:
    """Position of the H&E scan on the morphology image.

    Parameters
    ----------
    size_um
        Width and height of the morphology image.
    um_per_px
        Pixel size of the H&E scan.
    angle_deg
        Rotation from H&E to morphology.
    margin_um
        Empty slide around the tissue.

    Returns
    -------
    Affine (3, 3) from H&E px (x, y) to morphology px, and the scan's (rows, columns).
    """
    angle, scale = np.radians(angle_deg), um_per_px / PIXEL_UM
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * np.array(size_um) / PIXEL_UM
    in_he = corners @ np.linalg.inv(turn).T
    low = in_he.min(axis=0) - margin_um / um_per_px
    high = in_he.max(axis=0) + margin_um / um_per_px
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = turn @ low
    columns, rows = np.ceil(high - low).astype(int)
    return matrix, (int(rows), int(columns))


def to_he(field: np.ndarray, matrix: np.ndarray, um_per_px: float, shape: tuple[int, int]) -> np.ndarray:
    """Resample a picture of the tissue's frame at `um_per_px` into the H&E scan's pixels.

    Parameters
    ----------
    field
        float32 (h, w, c); pixel (i, j) spans [j, j+1] x [i, i+1] times `um_per_px`.
    matrix
        H&E px -> morphology px.
    shape
        Rows and columns of the scan.
    """
    to_field = matrix[:2] * (PIXEL_UM / um_per_px)
    # Matrices here speak of pixel corners, OpenCV of pixel centres.
    to_field[:, 2] += to_field[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(
        field, to_field, shape[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
    )


def paint_dapi(tissue: Tissue, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """DAPI of the tissue at the morphology pixel, uint16 `shape`."""
    glow = np.zeros(shape, np.uint8)
    for nucleus in tissue.nuclei:
        points = np.round((nucleus.outline(32) / PIXEL_UM - 0.5) * 8).astype(np.int32)[:, None]
        level = 120 * _SHINE.get(nucleus.style, 0.75) * np.exp(0.2 * rng.standard_normal())
        cv2.fillPoly(glow, [points], int(np.clip(level, 20, 250)), cv2.LINE_AA, 3)
    light: np.ndarray = cv2.GaussianBlur(glow.astype(np.float32), (0, 0), 1.6)
    light += 0.35 * cv2.GaussianBlur(light, (0, 0), 9)  # out-of-focus light of the section's depth
    grain = cv2.resize(rng.standard_normal((shape[0] // 3 + 1, shape[1] // 3 + 1), dtype=np.float32), shape[::-1])
    light = light * (1 + 0.22 * grain) * 16 + 110
    light += np.sqrt(np.maximum(light, 1)) * 0.45 * rng.standard_normal(shape, dtype=np.float32)
    # Steps of 16 counts: the noise's last bits would only cost disk.
    return (np.clip(np.round(light / 16), 0, 4000) * 16).astype(np.uint16)


def write_ome(path: Path, image: np.ndarray, um_per_px: float, name: str, jpeg: int | None = None) -> None:
    """Write a pyramidal tiled OME-TIFF: (h, w) uint16 or (h, w, 3) uint8; `jpeg` is a quality, None lossless."""
    colour = image.ndim == 3
    metadata = {
        "axes": "YXS" if colour else "YX",
        "PhysicalSizeX": um_per_px,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": um_per_px,
        "PhysicalSizeYUnit": "µm",
        "Name": name,
        "UUID": uuid.uuid5(uuid.NAMESPACE_OID, name).urn,  # tifffile's own is random: files would differ
    }
    options: dict[str, Any] = {
        "tile": (512, 512),
        "photometric": "rgb" if colour else "minisblack",
        "compression": "jpeg" if jpeg else "zlib",
        "compressionargs": {"level": jpeg} if jpeg else {"level": 6},
        "predictor": None if jpeg else True,
    }
    levels = [image]
    while min(levels[-1].shape[:2]) > 600 and len(levels) < 4:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    with tifffile.TiffWriter(path, ome=True, bigtiff=False) as writer:
        writer.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)
