"""sample.zarr read back, lazily."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from anndata.io import read_zarr

from stnuclei.errors import UserError
from stnuclei.io.attributes import read_attributes
from stnuclei.io.sample import Sample
from stnuclei.io.store import FORMAT, REGION, content_hash, identifying_file
from stnuclei.slides.ome_zarr import StoreSlide
from stnuclei.slides.open import open_slide
from stnuclei.slides.slide import Slide


def open_sample(path: str | Path) -> Sample:
    """Open a store that `write_sample` wrote; the image stays on disk.

    Nuclei keep the order of ``shapes/nucleus_boundaries``, cells that of the table.

    Raises
    ------
    UserError
        If it is no such store, is damaged, or its slide (where it only refers to one) is gone or another.
    """
    path = Path(path)
    attributes = read_attributes(path, FORMAT)
    if attributes.get("content", "") not in ("", content_hash(path)):
        raise UserError(
            f"{path}: is damaged (its content is not what was written); delete it and run read_sample again"
        )
    try:
        table = read_zarr(path / "tables" / "table")
        nuclei = gpd.read_parquet(path / "shapes" / REGION / "shapes.parquet")
    except (OSError, KeyError, ValueError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{path}: is damaged ({message}); delete it and run read_sample again") from error
    table.obs_names = table.obs_names.astype(object)
    table.obs["cell_id"] = table.obs["cell_id"].astype(object)
    nuclei["cell_id"] = nuclei["cell_id"].astype(object).where(nuclei["cell_id"].notna(), None)
    matrix = attributes["he_to_morphology"]
    return Sample(
        attributes["sample"],
        table,
        nuclei,
        _slide(path, attributes["image"]),
        float(attributes["um_per_px"]),
        attributes["tissue"],
        None if matrix is None else np.array(matrix),
        attributes["provenance"],
    )


def open_image(path: str | Path) -> tuple[Slide, dict[str, Any]]:
    """Open the slide of a store that `write_sample` wrote, without its cells; with the store's attributes.

    Raises
    ------
    UserError
        As `open_sample`.
    """
    attributes = read_attributes(Path(path), FORMAT)
    return _slide(Path(path), attributes["image"]), attributes


def _slide(path: Path, image: dict[str, Any]) -> Slide:
    if image["copied"]:
        slide = StoreSlide(path / "images" / "he_image")
        if image.get("all_shards"):
            slide.check_shards()
        return slide
    outside = Path(os.path.normpath(path.resolve() / image["path"]))
    if not outside.exists():
        raise UserError(f"{path}: refers to the slide {outside}, which is gone; bring it back or run read_sample again")
    if identifying_file(outside).stat().st_size != image["bytes"]:
        raise UserError(f"{path}: refers to the slide {outside}, which has changed since; run read_sample again")
    return StoreSlide(outside) if outside.is_dir() else open_slide(outside)
