"""Visium HD output folders with nuclei segmented by Space Ranger (4 on), through spatialdata_io."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
from anndata import AnnData

from stnuclei.errors import UserError
from stnuclei.io.elements import Elements, affines
from stnuclei.io.inputs import SampleInputs, find_he
from stnuclei.io.pixel_size import settle
from stnuclei.io.raw_folders import read_folder
from stnuclei.io.sample import Sample, describe
from stnuclei.io.spatialdata_run import Run, build_sample
from stnuclei.slides.open import open_slide
from stnuclei.slides.slide import Slide

_SEGMENTED = (
    "segmented_outputs/filtered_feature_cell_matrix.h5",
    "segmented_outputs/nucleus_segmentations.geojson",
    "segmented_outputs/cell_segmentations.geojson",
)
_SCALES = "segmented_outputs/spatial/scalefactors_json.json"
_NEEDED = (
    *_SEGMENTED,
    _SCALES,
    "*feature_slice.h5",
    "**/*barcode_mappings.parquet",
    "binned_outputs/square_002um/filtered_feature_bc_matrix.h5",
)


#: What nuclei and counts can be, as spatialdata_io calls them behind the name of the run.
ELEMENTS = ("nucleus_segmentations", "cell_segmentations")


def read_visium_hd(
    given: SampleInputs, *, nuclei_element: str = ELEMENTS[0], table_element: str = ELEMENTS[1]
) -> Sample:
    """Read a Visium HD run.

    Outlines are in pixels of the microscope image, so there is no alignment to give.

    Parameters
    ----------
    given
        The inputs; with `nuclei`, the run need not have been segmented.
    nuclei_element
        Space Ranger's ``nucleus_segmentations``, or ``cell_segmentations``, which it grows around them.
    table_element
        Counts of the 2-um bins of each cell (``cell_segmentations``), or of those below its nucleus alone.
    """
    folder = given.path
    if given.he_alignment:
        raise UserError(f"{folder}: Visium HD nuclei are in H&E pixels already; leave he_alignment empty")
    slide = open_slide(_microscope_image(folder, given))
    if given.nuclei:
        return _slide_alone(given, slide)
    for column, name in (("nuclei_element", nuclei_element), ("table_element", table_element)):
        if name not in ELEMENTS:
            raise UserError(f"{folder}: Visium HD has no {name!r} (column {column}); it has {', '.join(ELEMENTS)}")
    with_nuclei = {"load_segmentations_only": True, "load_nucleus_segmentations": True}
    data = read_folder(folder, "visium_hd", _NEEDED, gex_only=True, **with_nuclei)
    nuclei = next(name for name in data.shapes if name.endswith(nuclei_element))
    # The coordinate system of full-resolution pixels is the one whose transformation changes nothing.
    full = [system for system, matrix in affines(data[nuclei]).items() if np.allclose(matrix, np.eye(3))]
    stated = {f"{slide.path.name} {source}": um for source, um in slide.stated_um.items()}
    run = Run(
        source=folder,
        platform="visium_hd",
        software="spatialdata_io.visium_hd",
        data=data,
        elements=Elements(None, (nuclei,), "shapes", table_element),
        slide=slide,
        he={system: np.eye(3) for system in full},
        stated={"scalefactors_json.json microns_per_pixel": _microns_per_pixel(folder / _SCALES), **stated},
        alignment={"kind": "visium_hd"},
        files=[slide.path, folder / _SCALES, *(folder / name for name in _SEGMENTED)],
    )
    return build_sample(given, run)


def _slide_alone(given: SampleInputs, slide: Slide) -> Sample:
    """The H&E and its pixel size, for nuclei that come from elsewhere: the run need not have been segmented."""
    path = next((path for path in sorted(given.path.rglob("scalefactors_json.json"))), given.path / _SCALES)
    derived = _microns_per_pixel(path)
    stated = {f"{slide.path.name} {source}": um for source, um in slide.stated_um.items()}
    chosen = (given.he_um_per_px, given.pixel_size_tolerance)
    size, record = settle(derived, f"{path.name} microns_per_pixel", stated, *chosen)
    provenance = describe(
        name=given.name,
        platform="visium_hd",
        tissue=given.tissue,
        software="Space Ranger",
        pixel_size=record,
        files=[slide.path, path],
        checksums=given.checksums,
        slide=slide.info,
        warnings=[],
    )
    nothing = gpd.GeoDataFrame({"cell_id": []}, geometry=[])
    return Sample(given.name, AnnData(np.zeros((0, 0))), nothing, slide, size, given.tissue, None, provenance)


def _microscope_image(folder: Path, given: SampleInputs) -> Path:
    images = sorted(path for path in (folder / "microscope_image").glob("*") if path.is_file())
    return images[0] if not given.he_image and len(images) == 1 else find_he(folder, given.he_image)


def _microns_per_pixel(path: Path) -> float:
    try:
        return float(json.loads(path.read_text())["microns_per_pixel"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: states no microns_per_pixel; copy it from the run's output folder") from error
