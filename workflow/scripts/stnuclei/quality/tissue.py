"""Map of a slide: background, tissue, blurred tissue, pen marks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from stnuclei.errors import UserError
from stnuclei.progress import progress
from stnuclei.quality.stain import find_pen, optical_density
from stnuclei.quality.tissue_map import BLURRED, PEN, TISSUE, TissueMap
from stnuclei.slides.regions import level_and_block
from stnuclei.slides.slide import Slide
from stnuclei.slides.strips import bin_mean, edges, strips

#: Pixel size at which sharpness is measured, um: nuclear texture is 1 um and finer.
WORKING_UM = 0.5
#: Optical density (mean of R, G, B over a map pixel) between which the limit of tissue is looked for.
_DENSITY = (0.02, 0.045)
_SMALLEST_TISSUE_UM2 = 3000.0
_LARGEST_HOLE_UM2 = 40000.0
_SMALLEST_BLUR_UM2 = 10000.0


@dataclass(frozen=True)
class _Features:
    """Measurements of a map pixel."""

    colour: np.ndarray  # (H, W, 3) mean RGB
    fine: np.ndarray  # (H, W) energy of detail at the working pixel
    middle: np.ndarray  # (H, W) energy of detail twice as coarse


def find_tissue(
    slide: Slide, slide_um_per_px: float, um_per_px: float = 8.0, blur_ratio: float = 0.45, *, name: str = ""
) -> TissueMap:
    """Classify a slide into background, tissue, blurred tissue and pen marks.

    Tissue: mean optical density above a limit (Otsu's, held within 0.02-0.045), specks dropped and small holes
    filled. Blurred: the fraction of fine detail in the detail, which does not depend on how much there is to see, is
    below `blur_ratio` times the slide's own sharp tissue. Pen: ink's colours over an area too large for pigment.

    Parameters
    ----------
    slide, slide_um_per_px
        The slide and its pixel size, um.
    um_per_px
        Pixel size of the map, um.
    blur_ratio
        Sharpness below which tissue counts as blurred, relative to the slide's sharp tissue.
    name
        Sample or slide that messages name; the file when not given.

    Returns
    -------
    The map; its ``info`` holds the limits used.

    Raises
    ------
    UserError
        If there is no tissue at all.
    """
    name = name or slide.path.name
    if um_per_px < 2 * slide_um_per_px:
        raise UserError(f"sample {name}: tissue.um_per_px {um_per_px} is finer than the slide; 4 to 16 is usual")
    features = _measure(slide, slide_um_per_px, um_per_px)
    white = glass_colour(features.colour)
    density = optical_density(features.colour, white).mean(axis=2)
    empty = features.colour.max(axis=2) < 25  # scanners fill what they did not see with black
    limit = _limit(density[~empty])
    tissue = _clean((density > limit) & ~empty, um_per_px)
    if not tissue.any():
        raise UserError(f"sample {name}: {slide.path.name} shows no tissue; is it the right slide?")
    pen = find_pen(features.colour, white, um_per_px) & ~empty
    ratio, reference = _sharpness(features, tissue & ~pen, um_per_px)
    blurred = _large(tissue & (ratio < blur_ratio * reference), _SMALLEST_BLUR_UM2 / um_per_px**2)
    classes = np.where(pen, PEN, np.where(blurred, BLURRED, np.where(tissue, TISSUE, 0))).astype(np.uint8)
    info = {
        "glass": [round(float(v), 1) for v in white],
        "density_limit": round(float(limit), 4),
        "sharpness": round(float(reference), 4),
        "blur_ratio": blur_ratio,
    }
    overview = np.clip(features.colour, 0, 255).astype(np.uint8)
    return TissueMap(classes, um_per_px, um_per_px / slide_um_per_px, info, overview)


def _measure(slide: Slide, slide_um: float, map_um: float) -> _Features:
    level, n = level_and_block(slide, WORKING_UM / slide_um)
    fine = slide.downsample(level) * n
    shape = tuple(len(edges(side, fine, map_um / slide_um)) - 1 for side in slide.shape[:2])
    out = _Features(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    tiles = strips(slide, slide_um, WORKING_UM, map_um)
    for row, column, pixels, rows, columns in progress(tiles, label="sweeping the slide", unit="tiles"):
        at = np.s_[row : row + len(rows) - 1, column : column + len(columns) - 1]
        out.colour[at] = bin_mean(pixels, rows, columns)
        grey = cv2.log(pixels.mean(axis=2) + 8)  # detail relative to brightness, not lost in dark tissue
        smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
        smoother = cv2.GaussianBlur(grey, (0, 0), 2.0)
        out.fine[at] = bin_mean((grey - smooth) ** 2, rows, columns)
        out.middle[at] = bin_mean((smooth - smoother) ** 2, rows, columns)
    return out


def glass_colour(colour: np.ndarray) -> np.ndarray:
    """Colour of empty glass (3,): the brightest fifth's median where it is near white, else nearly white."""
    flat = colour.reshape(-1, 3)
    bright = flat[flat.min(axis=1) >= np.percentile(flat.min(axis=1), 80)]
    white = np.median(bright, axis=0)
    return white if white.min() > 190 else np.full(3, 240.0)


def _limit(density: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    if density.size == 0 or np.ptp(density) < 1e-6:
        return _DENSITY[1]
    return float(np.clip(threshold_otsu(np.minimum(density, 0.3)) / 2, *_DENSITY))


def _clean(tissue: np.ndarray, um: float) -> np.ndarray:
    tissue = ndimage.binary_closing(np.pad(tissue, 2), iterations=1)[2:-2, 2:-2] | tissue
    tissue = _large(tissue, _SMALLEST_TISSUE_UM2 / um**2)
    return ~_large(~tissue, _LARGEST_HOLE_UM2 / um**2, border=True)


def _large(mask: np.ndarray, pixels: float, border: bool = False) -> np.ndarray:
    """Pieces of a mask with at least so many pixels; with `border` those at the edge stay however small."""
    labels, n = ndimage.label(mask)
    keep = np.bincount(labels.ravel(), minlength=n + 1) >= pixels
    if border:
        for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            keep[side] = True
    keep[0] = False
    return keep[labels]


def _sharpness(features: _Features, tissue: np.ndarray, um: float) -> tuple[np.ndarray, float]:
    """Fine over middle detail around each map pixel (H, W), and the slide's sharp tissue's."""
    sigma = 24.0 / um
    weight = tissue.astype(np.float32)
    # Means of logarithms: a sharp neighbour's larger energies must not outshout what is blurred.
    log_ratio = np.log((features.fine + 1e-7) / (features.middle + 1e-7)) * weight
    mean = ndimage.gaussian_filter(log_ratio, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-3)
    ratio = np.exp(mean)
    return ratio, float(np.percentile(ratio[tissue], 75)) if tissue.any() else 0.0
