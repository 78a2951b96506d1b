"""sample.zarr read back, lazily."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
from anndata.io import read_zarr

from stnuclei.errors import first_line
from stnuclei.io.attributes import read_attributes
from stnuclei.io.open_image import FORMAT, stored_slide
from stnuclei.io.sample import Sample
from stnuclei.io.store import REGION, check_content


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
    check_content(path, attributes)
    try:
        table = read_zarr(path / "tables" / "table")
        nuclei = gpd.read_parquet(path / "shapes" / REGION / "shapes.parquet")
    except (OSError, KeyError, ValueError) as error:
        raise FORMAT.damaged(path, first_line(error)) from error
    table.obs_names = table.obs_names.astype(object)
    table.obs["cell_id"] = table.obs["cell_id"].astype(object)
    nuclei["cell_id"] = nuclei["cell_id"].astype(object).where(nuclei["cell_id"].notna(), None)
    matrix = attributes["he_to_morphology"]
    return Sample(
        attributes["sample"],
        table,
        nuclei,
        stored_slide(path, attributes["image"]),
        float(attributes["um_per_px"]),
        attributes["tissue"],
        None if matrix is None else np.array(matrix),
        attributes["provenance"],
    )
