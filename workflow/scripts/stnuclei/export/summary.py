"""Nuclei of a slide in numbers: by class, and by area of tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.files import atomic_write
from stnuclei.io.nuclei_file import NucleiFile

ALL = "all nuclei"


def summarise(nuclei: str | Path | NucleiFile) -> pd.DataFrame:
    """Count the nuclei of a slide.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened; read in pieces, five bytes a nucleus are kept.

    Returns
    -------
    One row a class in the taxonomy's order, then ``all nuclei``: slide, class, nuclei, fraction (of all nuclei),
    per_mm2 (of tissue; NaN where the area is not known), tissue_mm2, mean_probability (of the class it was given),
    median_area_um2.
    """
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    blocks = [np.zeros((3, 0), np.float32)]
    for batch in nuclei.arrow_batches(["class_id", "class_probability", "area_um2"]):
        blocks.append(np.stack([column.to_numpy().astype(np.float32) for column in batch.columns]))
    class_id, probability, area = np.concatenate(blocks, axis=1)
    taxonomy, mm2 = nuclei.taxonomy, nuclei.metadata.get("tissue_mm2")
    wanted = {entry.name: class_id == entry.id for entry in (*taxonomy.classes, taxonomy.unknown)}
    if not wanted[taxonomy.unknown.name].any():
        del wanted[taxonomy.unknown.name]
    rows = []
    for name, those in (wanted | {ALL: np.ones(len(class_id), bool)}).items():
        count = int(those.sum())
        rows.append(
            {
                "slide": nuclei.metadata["slide"],
                "class": name,
                "nuclei": count,
                "fraction": count / len(those) if len(those) else 0.0,
                "per_mm2": count / mm2 if mm2 else np.nan,
                "tissue_mm2": mm2 if mm2 else np.nan,
                "mean_probability": probability[those].mean(dtype=np.float64) if count else np.nan,
                "median_area_um2": float(np.median(area[those])) if count else np.nan,
            }
        )
    return pd.DataFrame(rows)


def write_summary(nuclei: str | Path | NucleiFile, path: str | Path) -> pd.DataFrame:
    """Write `summarise`'s table as tsv and give it back."""
    table = summarise(nuclei)
    with atomic_write(path) as aside:
        table.to_csv(aside, sep="\t", index=False, float_format="%.5g", lineterminator="\n")
    return table
