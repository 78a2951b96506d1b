"""Nuclei as a SpatialData store: H&E, outlines, and a table that squidpy and napari-spatialdata colour by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import zarr

from stnuclei.files import atomic_write
from stnuclei.io.image_element import write_image
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.joblog import quiet
from stnuclei.slides.slide import Slide

if TYPE_CHECKING:
    from anndata import AnnData

IMAGE, SHAPES, TABLE, INSTANCE = "he_image", "nuclei", "table", "nucleus_id"


def write_spatialdata(
    nuclei: str | Path | NucleiFile,
    out: str | Path,
    slide: Slide | None = None,
    *,
    he_to_morphology: np.ndarray | None = None,
    chunk: int = 512,
    threads: int = 1,
) -> None:
    """Write a SpatialData store (zarr v3), aside and then renamed.

    ``images/he_image`` multiscale (c, y, x) uint8; ``shapes/nuclei``; ``tables/table``, which annotates the nuclei
    through ``nucleus_id``: X are the probabilities of the classes (n, C) float32, ``obs`` holds ``class`` (categorical,
    colours in ``uns["class_colors"]`` as scanpy and squidpy look for them), ``class_probability`` and ``area_um2``,
    ``obsm["spatial"]`` the centroids. Coordinate system ``global`` is he_px, ``um`` the same in um. The outlines are
    held in memory: 2 GB a million nuclei.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened.
    out
        The store, replaced where it exists.
    slide
        The H&E, copied without loss; None: left out.
    he_to_morphology
        (3, 3) he_px to Xenium's morphology_px: adds that coordinate system.
    chunk
        Side of an image chunk, px.
    threads
        How many threads compress the image.

    Raises
    ------
    UserError
        If a file is none, or a tile of the slide cannot be decoded.
    """
    import spatialdata
    from spatialdata.models import ShapesModel, TableModel

    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    systems = _systems(nuclei.um_per_px, he_to_morphology)
    frame = nuclei.read()
    elements: dict[str, Any] = {}
    if len(frame):  # spatialdata takes no shapes and no table that are empty
        outlines = gpd.GeoDataFrame(geometry=frame.geometry.to_numpy(), index=pd.Index(frame[INSTANCE], name=INSTANCE))
        table = TableModel.parse(to_anndata(frame, nuclei), region=SHAPES, region_key="region", instance_key=INSTANCE)
        elements = {SHAPES: ShapesModel.parse(outlines, transformations=systems), TABLE: table}
    with atomic_write(out) as aside:
        with quiet("ome_zarr"):
            attributes = {**nuclei.metadata, "format": "stnuclei-slide"}
            spatialdata.SpatialData.init_from_elements(elements, attrs={"stnuclei": attributes}).write(aside)
        if slide is not None:
            write_image(slide, aside / "images" / IMAGE, systems, chunk=chunk, threads=threads)
        with quiet("ome_zarr"):
            zarr.consolidate_metadata(aside)


def to_anndata(frame: gpd.GeoDataFrame, nuclei: NucleiFile) -> AnnData:
    """Table of nuclei x classes.

    Parameters
    ----------
    frame
        Rows of `nuclei` with all columns.
    nuclei
        Where they are from: names and colours.

    Returns
    -------
    See `write_spatialdata`; ``var`` is indexed by class, background first.
    """
    from anndata import AnnData

    taxonomy = nuclei.taxonomy
    present = [name for name in (*taxonomy.names, taxonomy.unknown.name) if (frame["class"] == name).any()]
    obs = pd.DataFrame(
        {
            "class": pd.Categorical(frame["class"], categories=present),
            "class_probability": frame["class_probability"].to_numpy(np.float32),
            "area_um2": frame["area_um2"].to_numpy(np.float32),
            "region": pd.Categorical([SHAPES] * len(frame), categories=[SHAPES]),
            INSTANCE: frame[INSTANCE].to_numpy(np.int64),
        },
        index=frame[INSTANCE].astype(str).to_numpy(object),
    )
    columns = [f"probability_{name}" for name in nuclei.classes]
    table = AnnData(
        np.ascontiguousarray(frame[columns].to_numpy(np.float32)),
        obs=obs,
        var=pd.DataFrame(index=np.array(nuclei.classes, dtype=object)),
    )
    table.obsm["spatial"] = frame[["centroid_x", "centroid_y"]].to_numpy(np.float64)
    table.uns["class_colors"] = [taxonomy.color_of(name) for name in present]
    return table


def _systems(um_per_px: float, he_to_morphology: np.ndarray | None) -> dict[str, Any]:
    from spatialdata.transformations import Affine, Identity, Scale

    systems: dict[str, Any] = {"global": Identity(), "um": Scale([um_per_px, um_per_px], axes=("x", "y"))}
    if he_to_morphology is not None:
        axes = {"input_axes": ("x", "y"), "output_axes": ("x", "y")}
        systems["morphology_px"] = Affine(np.asarray(he_to_morphology), **axes)
    return systems
