"""sample.zarr: written once, whole."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from geopandas import GeoDataFrame

from stnuclei.errors import UserError
from stnuclei.files import write_aside
from stnuclei.io.pyramid import level_shapes, write_pyramid
from stnuclei.io.sample import Sample
from stnuclei.io.slide import Slide

FORMAT = "stnuclei-sample"
VERSION = 1
REGION = "nucleus_boundaries"
#: Column of the table that names each cell's (largest) nucleus, the row it annotates.
INSTANCE = "nucleus_id"
_OVERVIEW_PX = 4096


def write_sample(
    sample: Sample, path: str | Path, *, copy_image: bool = True, chunk: int = 512, threads: int = 1
) -> None:
    """Write a sample as one SpatialData store (zarr v3), aside and then renamed.

    ``images/he_image`` (c, y, x) uint8 multiscale; ``shapes/nucleus_boundaries``; ``tables/table``, which annotates
    the nuclei through ``nucleus_id``. Coordinate system ``global`` is he_px (Identity everywhere); ``morphology_px``
    holds the alignment. ``attrs["stnuclei"]`` holds the provenance.

    Parameters
    ----------
    sample
        From `read_sample`.
    path
        The store, replaced where it exists.
    copy_image
        False: the store refers to the slide's file and holds only an overview (``images/he_overview``); a lossless
        copy of a slide is about ten times its JPEG.
    chunk
        Side of an image chunk, px.
    threads
        How many threads compress.

    Raises
    ------
    UserError
        If a tile of the slide cannot be decoded.
    """
    with write_aside(path) as aside:
        _write_elements(sample, aside, _attributes(sample, copy_image))
        group = aside / "images" / ("he_image" if copy_image else "he_overview")
        source, scale = (sample.he, 1.0) if copy_image else _overview(sample.he)
        shapes = level_shapes(*source.shape[:2])
        names = _describe_image(group, shapes, sample, scale)
        try:
            write_pyramid(source, group, names, chunk, threads)
        except UserError as error:
            raise UserError(f"sample {sample.name}: {error}") from error.__cause__
        with _quiet():
            zarr.consolidate_metadata(aside)


def _attributes(sample: Sample, copied: bool) -> dict[str, Any]:
    image: dict[str, Any] = {"copied": copied, "shape": list(sample.he.shape)}
    if not copied:
        path = sample.he.path.resolve()
        image |= {"path": str(path), "bytes": path.stat().st_size}
    matrix = None if sample.he_to_morphology is None else np.asarray(sample.he_to_morphology).tolist()
    return {
        "format": FORMAT,
        "version": VERSION,
        "sample": sample.name,
        "tissue": sample.tissue,
        "um_per_px": sample.um_per_px,
        "he_to_morphology": matrix,
        "image": image,
        "provenance": _jsonable(sample.provenance),
    }


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str).replace("NaN", "null"))


def _transformations(sample: Sample, scale: float = 1.0) -> dict[str, Any]:
    """Of an element whose pixels are `scale` he_px wide, as spatialdata knows them."""
    from spatialdata.transformations import Affine, Identity

    own = np.diag([scale, scale, 1.0])
    axes = {"input_axes": ("x", "y"), "output_axes": ("x", "y")}
    systems: dict[str, Any] = {"global": Identity() if scale == 1.0 else Affine(own, **axes)}
    if sample.he_to_morphology is not None:
        systems["morphology_px"] = Affine(np.asarray(sample.he_to_morphology) @ own, **axes)
    return systems


def _write_elements(sample: Sample, path: Path, attributes: dict[str, Any]) -> None:
    """Shapes, table and attributes, through spatialdata."""
    import spatialdata
    from spatialdata.models import ShapesModel, TableModel

    nuclei = GeoDataFrame(sample.nuclei[["cell_id", "geometry"]].reset_index(drop=True), geometry="geometry")
    table = sample.table.copy()
    table.obs["region"] = pd.Categorical([REGION] * table.n_obs)
    table.obs[INSTANCE] = largest_nucleus(nuclei, table.obs["cell_id"])
    with _quiet():
        data = spatialdata.SpatialData(
            shapes={REGION: ShapesModel.parse(nuclei, transformations=_transformations(sample))},
            tables={"table": TableModel.parse(table, region=REGION, region_key="region", instance_key=INSTANCE)},
            attrs={"stnuclei": attributes},
        )
        data.write(path)


def largest_nucleus(nuclei: GeoDataFrame, cell_ids: pd.Series) -> np.ndarray:
    """Row of each cell's largest nucleus (n_cells,) int64; cells without one get -1, -2, ..., which name no row.

    spatialdata joins a table and its shapes by a number that is there once.
    """
    order = np.argsort(-nuclei.area.to_numpy(), kind="stable")
    first = pd.Series(order, index=nuclei["cell_id"].to_numpy()[order])
    first = first[first.index.notna()]
    first = first[~first.index.duplicated()]
    found = first.reindex(cell_ids.to_numpy()).to_numpy()
    without = np.isnan(found)
    found[without] = -np.arange(1, without.sum() + 1)
    return found.astype(np.int64)


def _describe_image(group: Path, shapes: list[tuple[int, int]], sample: Sample, scale: float) -> list[str]:
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
        transformations=_transformations(sample, scale),
    )
    stand_in = group.parent.parent.with_name(group.parent.parent.name + ".metadata")
    with _quiet():
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


def _overview(slide: Slide) -> tuple[Slide, float]:
    """The slide made small enough to look at, and how many he_px its pixels are wide."""
    from stnuclei.io.reduced import ReducedSlide

    factor = 1
    while max(slide.shape[:2]) // factor > _OVERVIEW_PX:
        factor *= 2
    return ReducedSlide(slide, factor), float(factor)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep out of the job's log what spatialdata, ome-zarr and zarr warn of on every write of any store."""
    logger = logging.getLogger("ome_zarr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
