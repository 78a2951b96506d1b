"""Samples from SpatialData stores, whatever platform they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stnuclei.errors import UserError
from stnuclei.io.alignment import scale_of
from stnuclei.io.elements import Elements, affines, choose_elements, element_metadata, opened
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.sample import Sample
from stnuclei.io.spatialdata_run import Run, build_sample
from stnuclei.slides.ome_zarr import StoreSlide

if TYPE_CHECKING:
    from spatialdata import SpatialData

#: Coordinate systems that are in micrometers by their name.
_UM_SYSTEMS = ("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "microns", "micrometer", "micrometers")


def read_spatialdata(
    given: SampleInputs,
    *,
    he_element: str | None = None,
    nuclei_element: str | None = None,
    table_element: str | None = None,
    coordinate_system: str | None = None,
    um_per_px: float | None = None,
) -> Sample:
    """Read a SpatialData store; see `stnuclei.io.read_sample`."""
    store = given.path
    if given.he_image or given.he_alignment:
        raise UserError(f"{store}: a SpatialData store holds its H&E and alignment; leave he_image, he_alignment empty")
    if um_per_px is not None:
        given = replace(given, he_um_per_px=um_per_px)
    elements = choose_elements(store, he_element, nuclei_element, table_element)
    slide = StoreSlide(store / "images" / str(elements.he))
    with opened(store, elements) as data:
        he = affines(data[elements.he])
        run = Run(
            source=store,
            platform="spatialdata",
            software=str(data.attrs.get("spatialdata_io_reader", "not said")),
            data=data,
            elements=elements,
            slide=slide,
            he=he,
            stated=stated_um(data, elements, he) | slide.stated_um,
            alignment={"kind": "spatialdata"},
            files=_files(store, elements),
            he_to_morphology=_he_to_morphology(data, he),
        )
        return build_sample(given, run, coordinate_system)


def stated_um(data: SpatialData, elements: Elements, he: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Size of an H&E pixel by what a store states, um, by where it states it."""
    stated: dict[str, float] = {}
    ours = data.attrs.get("stnuclei") or {}
    if "um_per_px" in ours and elements.he == "he_image":
        stated["the store's stnuclei attributes"] = float(ours["um_per_px"])
    for system, matrix in he.items():
        if system.lower() in _UM_SYSTEMS:
            stated[f"coordinate system {system}"] = scale_of(matrix)
    nuclei = affines(data[elements.nuclei[0]])
    if data.attrs.get("spatialdata_io_reader") == "xenium" and elements.nuclei_type == "shapes" and "global" in he:
        # spatialdata_io keeps Xenium's outlines in um and scales them to morphology pixels by a transformation.
        um = scale_of(he["global"]) / scale_of(nuclei["global"])
        stated["outlines of spatialdata_io.xenium, which are in um"] = um
    return stated


def _he_to_morphology(data: SpatialData, he: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Matrix (3, 3) to morphology px where the store is known to have them: ours, or spatialdata_io's of Xenium."""
    if "morphology_px" in he:
        return he["morphology_px"]
    return he.get("global") if data.attrs.get("spatialdata_io_reader") == "xenium" else None


def _files(store: Path, elements: Elements) -> list[Path]:
    """Files whose checksums identify what was read, without reading all pixels."""
    outlines = store / "shapes" / elements.nuclei[0] / "shapes.parquet"
    files = [element_metadata(store, "images", str(elements.he))]
    return [*files, outlines] if outlines.is_file() else files
