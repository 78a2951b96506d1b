"""Nuclei as a SpatialData store: H&E, outlines, and a table that squidpy and napari-spatialdata colour by class."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import zarr

from stnuclei.files import atomic_write
from stnuclei.io.image_element import write_image
from stnuclei.io.nuclei_file import ROW_GROUP, NucleiFile
from stnuclei.joblog import quiet
from stnuclei.slides.slide import Slide

if TYPE_CHECKING:
    from anndata import AnnData

IMAGE, SHAPES, TABLE, INSTANCE = "he_image", "nuclei", "table", "nucleus_id"
#: Arrays of the table with a row for each nucleus, as anndata lays them out.
_ROWS = (
    "X",
    "obs/_index",
    "obs/class/codes",
    "obs/class_probability",
    "obs/area_um2",
    "obs/region/codes",
    f"obs/{INSTANCE}",
    "obsm/spatial",
)
#: Name of the nuclei's vectors in `obsm`: ``sc.pp.neighbors(table, use_rep="X_cellvit")``.
EMBEDDING = "X_cellvit"
#: Vectors in a chunk: 6 MB at 384 numbers.
_CHUNK_ROWS = 8192


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
    ``obsm["spatial"]`` the centroids and, where the nuclei have them, ``obsm["X_cellvit"]`` their vectors (float16).
    Coordinate system ``global`` is he_px, ``um`` the same in um. Nuclei are read and written in pieces: memory does not
    grow with their number.

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
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    systems = _systems(nuclei.um_per_px, he_to_morphology)
    with atomic_write(out) as aside:
        present = _classes_present(nuclei)
        _write_first(nuclei, aside, systems, present)
        if len(nuclei):
            _write_outlines(nuclei, aside / "shapes" / SHAPES / "shapes.parquet")
            _write_table(nuclei, aside / "tables" / TABLE, present)
            if nuclei.embedding_dim:
                _write_vectors(nuclei, aside / "tables" / TABLE / "obsm" / EMBEDDING)
        if slide is not None:
            write_image(slide, aside / "images" / IMAGE, systems, chunk=chunk, threads=threads)
        with quiet("ome_zarr"):
            zarr.consolidate_metadata(aside)


def _classes_present(nuclei: NucleiFile) -> list[str]:
    """Classes that occur, in the taxonomy's order, Unknown last."""
    seen: set[str] = set()
    for batch in nuclei.arrow_batches(["class"]):
        seen |= set(batch["class"].unique().to_pylist())
    return [name for name in (*nuclei.taxonomy.names, nuclei.taxonomy.unknown.name) if name in seen]


def _write_first(nuclei: NucleiFile, store: Path, systems: dict[str, Any], present: list[str]) -> None:
    """Write the store with the first nucleus alone through spatialdata, whose layout and metadata the others take."""
    import spatialdata
    from spatialdata.models import ShapesModel, TableModel

    elements: dict[str, Any] = {}
    if len(nuclei):  # spatialdata takes no shapes and no table that are empty
        frame = next(nuclei.batches(size=1))
        outlines = gpd.GeoDataFrame(geometry=frame.geometry.to_numpy(), index=pd.Index(frame[INSTANCE], name=INSTANCE))
        table = to_anndata(frame, nuclei, present)
        table = TableModel.parse(table, region=SHAPES, region_key="region", instance_key=INSTANCE)
        elements = {SHAPES: ShapesModel.parse(outlines, transformations=systems), TABLE: table}
    with quiet("ome_zarr"):
        attributes = {**nuclei.metadata, "format": "stnuclei-slide"}
        spatialdata.SpatialData.init_from_elements(elements, attrs={"stnuclei": attributes}).write(store)


def _write_outlines(nuclei: NucleiFile, path: Path) -> None:
    """Replace the outlines of `_write_first` by all, in its schema; the file's box is that of all."""
    written = pq.read_schema(path)
    metadata = dict(written.metadata or {})
    geo = json.loads(metadata.pop(b"geo"))
    schema = written.with_metadata(metadata)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for batch in nuclei.arrow_batches([INSTANCE, "geometry"]):
            bounds = shapely.total_bounds(shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False)))
            low, high = np.fmin(low, bounds[:2]), np.fmax(high, bounds[2:])
            file.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
        geo["columns"]["geometry"] |= {"bbox": [*low.tolist(), *high.tolist()], "geometry_types": ["Polygon"]}
        file.add_key_value_metadata({"geo": json.dumps(geo)})


def _write_table(nuclei: NucleiFile, group: Path, present: list[str]) -> None:
    """Replace each array of one row in the table of `_write_first` by one of all rows, filled in pieces."""
    root: Any = zarr.open_group(group, mode="r+")
    arrays = {name: _lengthened(root, name, len(nuclei)) for name in _ROWS}
    begin = 0
    for batch in nuclei.arrow_batches():
        end = begin + len(batch)
        for name, values in _columns(batch, nuclei, present):
            arrays[name][begin:end] = values
        begin = end


def _columns(batch: pa.RecordBatch, nuclei: NucleiFile, present: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Rows of a batch for each array of `_ROWS`."""
    number = batch[INSTANCE].to_numpy()
    code = pd.Categorical(batch["class"].to_pandas(), categories=present).codes
    yield "X", np.stack([batch[f"probability_{name}"].to_numpy() for name in nuclei.classes], axis=1)
    yield "obs/_index", number.astype(str).astype(object)
    yield "obs/class/codes", code
    yield "obs/class_probability", batch["class_probability"].to_numpy()
    yield "obs/area_um2", batch["area_um2"].to_numpy()
    yield "obs/region/codes", np.zeros(len(batch), np.int8)
    yield f"obs/{INSTANCE}", number
    yield "obsm/spatial", np.stack([batch[f"centroid_{axis}"].to_numpy() for axis in "xy"], axis=1)


def _lengthened(root: Any, name: str, rows: int) -> Any:
    """An empty array of `rows` rows in place of one of one row, everything else alike; its chunks have a row group."""
    first = root[name]
    shape, attributes = (rows, *first.shape[1:]), dict(first.attrs)
    data_type = first.metadata.data_type
    chunks = (min(rows, ROW_GROUP), *first.shape[1:])
    return root.create_array(
        name, shape=shape, dtype=data_type, chunks=chunks, fill_value=first.fill_value, attributes=attributes,
        overwrite=True,
    )  # fmt: skip


def to_anndata(frame: gpd.GeoDataFrame, nuclei: NucleiFile, present: list[str]) -> AnnData:
    """Table of nuclei x classes.

    Parameters
    ----------
    frame
        Rows of `nuclei` with all columns.
    nuclei
        Where they are from: names and colours.
    present
        Categories of ``class``.

    Returns
    -------
    See `write_spatialdata`; ``var`` is indexed by class, background first.
    """
    from anndata import AnnData

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
    table.uns["class_colors"] = [nuclei.taxonomy.color_of(name) for name in present]
    return table


def _write_vectors(nuclei: NucleiFile, path: Path) -> None:
    """Write the vectors as anndata stores an array of `obsm`, a row group at a time."""
    shape = (len(nuclei), nuclei.embedding_dim)
    array = zarr.create_array(path, shape=shape, chunks=(min(_CHUNK_ROWS, shape[0]), shape[1]), dtype="float16")
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    begin = 0
    for vectors in nuclei.embedding_batches(_CHUNK_ROWS):
        array[begin : begin + len(vectors)] = vectors
        begin += len(vectors)


def _systems(um_per_px: float, he_to_morphology: np.ndarray | None) -> dict[str, Any]:
    from spatialdata.transformations import Affine, Identity, Scale

    systems: dict[str, Any] = {"global": Identity(), "um": Scale([um_per_px, um_per_px], axes=("x", "y"))}
    if he_to_morphology is not None:
        axes = {"input_axes": ("x", "y"), "output_axes": ("x", "y")}
        systems["morphology_px"] = Affine(np.asarray(he_to_morphology), **axes)
    return systems
