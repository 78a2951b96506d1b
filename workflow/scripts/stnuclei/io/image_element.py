"""The H&E as a multiscale image element of a SpatialData store, written without reading it whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.joblog import quiet
from stnuclei.slides.pyramid import level_shapes, write_pyramid
from stnuclei.slides.slide import Slide


def write_image(
    slide: Slide, group: Path, transformations: Mapping[str, Any], *, chunk: int = 512, threads: int = 1
) -> None:
    """Write a slide as an image element of a store that is there already: (c, y, x) uint8, every level.

    Parameters
    ----------
    slide
        Where pixels come from.
    group
        ``<store>/images/<name>``, not there yet. The caller writes the consolidated metadata of the store afterwards.
    transformations
        Coordinate system -> transformation of the finest level's pixels, as spatialdata knows them.
    chunk
        Side of an image chunk, px.
    threads
        How many threads compress.

    Raises
    ------
    UserError
        If a tile of the slide cannot be decoded.
    """
    names = _describe(group, level_shapes(*slide.shape[:2]), transformations)
    write_pyramid(slide, group, names, chunk, threads)


def _describe(group: Path, shapes: list[tuple[int, int]], transformations: Mapping[str, Any]) -> list[str]:
    """Write the multiscale image's metadata, as spatialdata itself writes them, without its pixels.

    spatialdata writes an image by computing it whole through dask, level after level from the slide; so it writes a
    tiny picture of as many levels, and that picture's metadata are given the real scales.

    Returns
    -------
    Array names, one a level.
    """
    import spatialdata
    from spatialdata.models import Image2DModel

    size = 2 ** (len(shapes) + 2)
    tiny = Image2DModel.parse(
        np.zeros((3, size, size), np.uint8),
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        scale_factors=[2] * (len(shapes) - 1) or None,
        transformations=dict(transformations),
    )
    # Inside the store, which is a temporary folder still: what a killed process leaves goes with it.
    stand_in = group.parent.parent / "stand_in.zarr"
    with quiet("ome_zarr"):
        spatialdata.SpatialData(images={group.name: tiny}).write(stand_in)
    try:
        metadata = json.loads((stand_in / "images" / group.name / "zarr.json").read_text())
        parent = (stand_in / "images" / "zarr.json").read_text()
    finally:
        shutil.rmtree(stand_in)
    metadata.pop("consolidated_metadata", None)
    datasets = metadata["attributes"]["ome"]["multiscales"][0]["datasets"]
    for dataset, (height, width) in zip(datasets, shapes, strict=True):
        scales = [1.0, shapes[0][0] / height, shapes[0][1] / width]
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": scales}]
    group.mkdir(parents=True)
    (group.parent / "zarr.json").write_text(parent)
    (group / "zarr.json").write_text(json.dumps(metadata, indent=1))
    return [dataset["path"] for dataset in datasets]
