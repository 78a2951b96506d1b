"""sample.zarr read back, lazily."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stnuclei.errors import first_line
from stnuclei.io.attributes import read_attributes
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.open_image import FORMAT, stored_slide
from stnuclei.io.sample import Sample
from stnuclei.io.store import REGION, check_content
from stnuclei.io.stored_cells import StoredCells


def open_sample(path: str | Path) -> Sample:
    """Open a store that `write_sample` wrote; image, counts and outlines stay on disk until they are asked for.

    Nuclei keep the order of ``shapes/nucleus_boundaries``, cells that of the table.

    Raises
    ------
    UserError
        If it is no such store, is damaged, or its slide (where it only refers to one) is gone or another.
    """
    path = Path(path)
    attributes = read_attributes(path, FORMAT)
    check_content(path, attributes)
    try:
        nuclei = NucleusBoundaries.of_file(path / "shapes" / REGION / "shapes.parquet")
    except (OSError, ValueError) as error:
        raise FORMAT.damaged(path, first_line(error)) from error
    matrix = attributes["he_to_morphology"]
    return Sample(
        attributes["sample"],
        StoredCells(path),
        nuclei,
        stored_slide(path, attributes["image"]),
        float(attributes["um_per_px"]),
        attributes["tissue"],
        None if matrix is None else np.array(matrix),
        attributes["provenance"],
    )
