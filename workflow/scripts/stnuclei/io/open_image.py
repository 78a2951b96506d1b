"""The slide of a sample.zarr, without its cells: neither anndata nor geopandas is imported for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stnuclei.errors import UserError
from stnuclei.io.attributes import StoreFormat, read_attributes
from stnuclei.slides.ome_zarr import StoreSlide
from stnuclei.slides.open import open_slide
from stnuclei.slides.slide import Slide

#: The attributes stand under a key of their own: spatialdata writes its version beside them.
FORMAT = StoreFormat("stnuclei-sample", 1, "a sample", "read_sample", key="stnuclei")


def open_image(path: str | Path) -> tuple[Slide, dict[str, Any]]:
    """Open the slide of a store that `write_sample` wrote, without its cells; with the store's attributes.

    Raises
    ------
    UserError
        As `open_sample`.
    """
    attributes = read_attributes(Path(path), FORMAT)
    return stored_slide(Path(path), attributes["image"]), attributes


def stored_slide(path: Path, image: dict[str, Any]) -> Slide:
    """Slide of a sample's store: its copy inside, or the file it refers to.

    Raises
    ------
    UserError
        If the file is gone, or another one by its size.
    """
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


def identifying_file(slide: Path) -> Path:
    """File whose size tells whether a slide has changed: the slide itself, or the metadata of one inside a store."""
    files = (slide / name for name in ("zarr.json", ".zattrs"))
    return next((file for file in files if file.is_file()), slide)
