"""Writing of sample.zarr, once and whole."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import zarr

from stnuclei.errors import UserError
from stnuclei.files import atomic_write, sha256
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.image_element import write_image
from stnuclei.io.open_image import FORMAT, identifying_file
from stnuclei.io.sample import Sample
from stnuclei.io.shapes_element import first_nucleus, replace_nuclei
from stnuclei.joblog import quiet
from stnuclei.slides.slide import Slide
from stnuclei.slides.wrappers import ReducedSlide

if TYPE_CHECKING:
    from anndata import AnnData

REGION = "nucleus_boundaries"
#: Column of the table that names each cell's (largest) nucleus, the row it annotates.
INSTANCE = "nucleus_id"
_OVERVIEW_PX = 4096


def write_sample(
    sample: Sample, path: str | Path, *, copy_image: bool = True, chunk: int = 512, threads: int = 1
) -> None:
    """Write a sample as one SpatialData store (zarr v3), atomically.

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
    with atomic_write(path) as aside:
        _write_elements(sample, aside, _attributes(sample, copy_image, Path(path)))
        group = aside / "images" / ("he_image" if copy_image else "he_overview")
        source, scale = (sample.he, 1.0) if copy_image else _overview(sample.he)
        try:
            write_image(source, group, transformations(sample, scale), chunk=chunk, threads=threads)
        except UserError as error:
            raise UserError(f"sample {sample.name}: {error}") from error.__cause__
        note_content(aside)
        with quiet("ome_zarr"):
            zarr.consolidate_metadata(aside)


def content_hash(store: Path) -> str:
    """SHA-256 over the files of a store's tables and shapes, names and bytes; pixels are not read."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("tables", "shapes") for path in (store / part).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(store).as_posix()}\n{sha256(path)}\n".encode())
    return digest.hexdigest()


def note_content(store: Path) -> None:
    """Put `content_hash` into the attributes: neither zarr nor GeoParquet notices a byte that changed."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    ours: Any = group.attrs.get("stnuclei", {})
    group.attrs["stnuclei"] = {**ours, "content": content_hash(store)}


def check_content(store: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse a store whose tables and shapes are not what its attributes say was written, if they say it.

    Raises
    ------
    UserError
        If it is damaged.
    """
    if attributes.get("content", "") not in ("", content_hash(store)):
        raise FORMAT.damaged(store, "its content is not what was written")


def _attributes(sample: Sample, copied: bool, store: Path) -> dict[str, Any]:
    image: dict[str, Any] = {"copied": copied, "shape": list(sample.he.shape), "all_shards": True}
    if not copied:
        path = sample.he.path.resolve()
        # From the store on: an absolute path would tell whoever gets the store how this machine is laid out.
        relative = os.path.relpath(path, store.resolve())
        image |= {"path": relative, "bytes": identifying_file(path).stat().st_size}
    matrix = None if sample.he_to_morphology is None else np.asarray(sample.he_to_morphology).tolist()
    return {
        "format": FORMAT.name,
        "version": FORMAT.version,
        "sample": sample.name,
        "tissue": sample.tissue,
        "um_per_px": sample.um_per_px,
        "he_to_morphology": matrix,
        "image": image,
        "provenance": _jsonable(sample.provenance),
    }


def _jsonable(value: Any) -> Any:
    """Plain content for JSON, which knows no NaN: null in its place."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return json.loads(json.dumps(value, default=str))


def transformations(sample: Sample, scale: float = 1.0) -> dict[str, Any]:
    """Of an element whose pixels are `scale` he_px wide, as spatialdata knows them."""
    from spatialdata.transformations import Affine, Identity

    to_he = np.diag([scale, scale, 1.0])
    axes = {"input_axes": ("x", "y"), "output_axes": ("x", "y")}
    systems: dict[str, Any] = {"global": Identity() if scale == 1.0 else Affine(to_he, **axes)}
    if sample.he_to_morphology is not None:
        systems["morphology_px"] = Affine(np.asarray(sample.he_to_morphology) @ to_he, **axes)
    return systems


def _write_elements(sample: Sample, path: Path, attributes: dict[str, Any]) -> None:
    """Shapes, table and attributes, through spatialdata; the nuclei then in pieces."""
    import spatialdata
    from spatialdata.models import TableModel

    nuclei, table = sample.boundaries, _annotating(sample.table, sample.boundaries)
    with quiet("ome_zarr"):
        data = spatialdata.SpatialData(
            shapes={REGION: first_nucleus(nuclei, transformations(sample))},
            tables={"table": TableModel.parse(table, region=REGION, region_key="region", instance_key=INSTANCE)},
            attrs={"stnuclei": attributes},
        )
        data.write(path)
    replace_nuclei(path / "shapes" / REGION / "shapes.parquet", nuclei)


def _annotating(table: AnnData, nuclei: NucleusBoundaries) -> AnnData:
    """The table with the columns that join it to the nuclei; counts are not copied."""
    from anndata import AnnData

    obs = table.obs.copy()
    obs["region"] = pd.Categorical.from_codes(np.zeros(len(obs), np.int8), [REGION])
    obs[INSTANCE] = largest_nucleus(nuclei, obs["cell_id"])
    more = {name: dict(getattr(table, name)) for name in ("uns", "obsm", "varm", "layers")}
    return AnnData(table.X, obs=obs, var=table.var, **more)


def largest_nucleus(nuclei: NucleusBoundaries, cell_ids: pd.Series) -> np.ndarray:
    """Row of each cell's largest nucleus (n_cells,) int64; cells without one get -1, -2, ..., which name no row.

    spatialdata joins a table and its shapes by a number that is there once.
    """
    cell = nuclei.rows_in(pa.array(cell_ids, pa.string()))
    smallest_first = np.argsort(-nuclei.measures.area, kind="stable")[::-1]
    smallest_first = smallest_first[cell[smallest_first] >= 0]
    row = np.full(len(cell_ids), -1, np.int64)
    row[cell[smallest_first]] = smallest_first  # of a cell's nuclei the last one stays
    without = row < 0
    row[without] = -np.arange(1, without.sum() + 1)
    return row


def _overview(slide: Slide) -> tuple[Slide, float]:
    """The slide made small enough to look at, and how many he_px its pixels are wide."""
    factor = 1
    while max(slide.shape[:2]) // factor > _OVERVIEW_PX:
        factor *= 2
    return ReducedSlide(slide, factor), float(factor)
