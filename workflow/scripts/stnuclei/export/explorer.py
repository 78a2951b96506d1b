"""Nuclei of a Xenium run's slide for Xenium Explorer and Xenium Ranger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from stnuclei.errors import UserError
from stnuclei.evaluation.agreement import PAIRED
from stnuclei.export.geojson import join_features
from stnuclei.files import atomic_write
from stnuclei.io.alignment import apply
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.io.sample import Sample


def write_explorer(nuclei: NucleiFile, sample: Sample, pairs: pd.DataFrame, folder: str | Path) -> None:
    """Write a folder with ``cell_groups.csv`` and, where the sample has an alignment, ``nuclei.geojson``.

    Parameters
    ----------
    nuclei, sample
        As in `write_ranger_polygons`.
    pairs
        `Agreement.nuclei`.
    folder
        Written aside and renamed.
    """
    with atomic_write(folder, directory=True) as aside:
        write_cell_groups(pairs, aside / "cell_groups.csv")
        if sample.he_to_morphology is not None:
            write_ranger_polygons(nuclei, sample, aside / "nuclei.geojson")


def write_cell_groups(pairs: pd.DataFrame, path: str | Path) -> int:
    """Write the run's cells with the class predicted for their nucleus, as Xenium Explorer reads cell groups.

    Parameters
    ----------
    pairs
        `Agreement.nuclei`.
    path
        The csv, ``cell_id,group``: Explorer's Cells > Add group. Cells whose nucleus was not found are left out; a cell
        of several nuclei gets the class of the one predicted with the highest probability.

    Returns
    -------
    Cells written.
    """
    known = pairs[(pairs["status"] == PAIRED) & pairs["cell_id"].notna()]
    best = known.sort_values("class_probability", ascending=False, kind="stable").drop_duplicates("cell_id")
    cells = best.sort_values("nucleus_index")[["cell_id", "predicted"]].rename(columns={"predicted": "group"})
    with atomic_write(path) as aside:
        cells.to_csv(aside, index=False, lineterminator="\n")
    return len(cells)


def write_ranger_polygons(nuclei: str | Path | NucleiFile, sample: Sample, path: str | Path) -> None:
    """Write the outlines in um of the run's morphology frame, as Xenium Ranger imports a segmentation.

    ``xeniumranger import-segmentation --xenium-bundle RUN --nuclei nuclei.geojson --units microns`` counts the
    transcripts of each outline anew and writes a bundle that Xenium Explorer opens. Ranger ignores objects that are not
    of type ``cell``.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened; of the sample's own H&E.
    sample
        The run: its alignment takes he_px to morphology_px.
    path
        The GeoJSON, not compressed.

    Raises
    ------
    UserError
        If the sample has no alignment.
    """
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    um = sample.provenance.get("morphology_um_per_px")
    if sample.he_to_morphology is None or um is None:
        raise UserError(
            f"sample {sample.name}: has no alignment to a Xenium run, so its nuclei cannot be placed in Xenium Ranger"
        )
    columns = ["nucleus_id", "class", "class_probability", "area_um2", "geometry"]
    with atomic_write(path) as aside, open(aside, "wb") as file:
        file.write(b'{"type":"FeatureCollection","features":[\n')
        between = b""
        for batch in nuclei.arrow_batches(columns, 1 << 14):
            if len(batch):
                shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
                moved = to_microns(shapes, np.asarray(sample.he_to_morphology), float(um))
                file.write(between + join_features(moved, batch, nuclei, decimals=3, kind="cell"))
                between = b",\n"
        file.write(b"\n]}\n")


def to_microns(shapes: np.ndarray, he_to_morphology: np.ndarray, morphology_um: float) -> np.ndarray:
    """Outlines (n,) from he_px to um of the morphology image, whose origin is its top left corner."""
    points = apply(he_to_morphology, shapely.get_coordinates(shapes)) * morphology_um
    return shapely.set_coordinates(shapes.copy(), points)
