"""Nuclei of one picture in memory, for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np

from stnuclei.cellvit.nucleus_tokens import TokenGrid
from stnuclei.errors import UserError
from stnuclei.prediction.descriptors import TokenUse
from stnuclei.prediction.inference import Network, classifier_of
from stnuclei.prediction.instances import SeparationSettings, separate_picture
from stnuclei.prediction.pictures import LARGEST
from stnuclei.prediction.predictor import Predictor, check_pixel_size
from stnuclei.prediction.tiles import TileMaps
from stnuclei.slides.regions import pixel_ratio, read_region, resampled_shape

_MULTIPLE = 16  # px: the side of a token of the vision transformers
_WHITE = 255


def segment_image(
    checkpoint: str | Path | Network, image: np.ndarray, um_per_px: float, *, network_um_per_px: float = 0.25
) -> gpd.GeoDataFrame:
    """Find and classify the nuclei of a picture; a slide goes through `segment_slide`.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code, or a `Predictor`, which saves loading for several pictures.
    image
        (H, W, 3) uint8 RGB.
    um_per_px
        Its pixel size, um.
    network_um_per_px
        Pixel size the model was trained at; the picture is resampled to it.

    Returns
    -------
    One row a nucleus: ``class``, ``class_probability`` and ``geometry`` (polygon in pixels of the picture, pixel i
    spanning [i, i + 1]).

    Raises
    ------
    UserError
        If the picture has another shape or type, or is larger than 4096 px of the network along a side.
    """
    _check(image, um_per_px, network_um_per_px)
    network = Predictor(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
    check_pixel_size(network.metadata, network_um_per_px, "set network_um_per_px to {um}")
    ratio = pixel_ratio(um_per_px, network_um_per_px)
    height, width = resampled_shape(image.shape, ratio)
    seen = read_region(image, 0, 0, width, height, ratio)
    padding = [(0, -height % _MULTIPLE), (0, -width % _MULTIPLE), (0, 0)]
    padded, classifier = np.pad(seen, padding, constant_values=_WHITE)[None], classifier_of(network)
    maps = network.tensors(padded, tokens=True) if classifier else network.tensors(padded)
    probability, hv, types = (tensor[0, ..., :height, :width].cpu().numpy() for tensor in maps[:3])
    tokens = maps[3][0].cpu().numpy() if classifier else None
    grid = None if tokens is None else TokenGrid(tokens, padded.shape[2] / tokens.shape[1])
    settings = SeparationSettings(network_um_per_px, ratio, 0.3, None, TokenUse(classifier))
    nuclei = separate_picture(TileMaps(probability > 0.5, hv, types, grid), settings)
    columns = {
        "class": np.array(network.classes, dtype=object)[nuclei.class_id],
        "class_probability": nuclei.class_probability,
    }
    return gpd.GeoDataFrame(columns, geometry=list(nuclei.geometry))


def _check(image: np.ndarray, um_per_px: float, network_um_per_px: float) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(f"image: must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
    if not um_per_px > 0 or not network_um_per_px > 0:
        raise UserError(f"image: um_per_px and network_um_per_px must be above 0, not {um_per_px}, {network_um_per_px}")
    if max(image.shape[:2]) * um_per_px / network_um_per_px > LARGEST:
        raise UserError(
            f"image: {image.shape[1]} x {image.shape[0]} px at {um_per_px} um are more than {LARGEST} px of "
            f"{network_um_per_px} um; use segment_slide, which works in tiles"
        )
