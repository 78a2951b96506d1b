"""`Sample`: the in-memory form that all readers return, and its provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stnuclei import __version__
from stnuclei.files import sha256
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.stored import ReadWhenAsked, Stored
from stnuclei.io.stored_cells import StoredCells
from stnuclei.progress import progress

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame

    from stnuclei.slides.slide import Slide

_LIBRARIES = ("spatialdata", "anndata", "zarr", "tifffile", "openslide-python", "pyarrow", "shapely", "geopandas")


@dataclass
class Sample:
    """One slide with its cells, their counts and their nuclei; what is on disk is read when it is asked for.

    Attributes
    ----------
    name
        What messages call it.
    table
        Cells x genes, raw counts (int32, CSR). ``obs`` is indexed by cell id and holds it as ``cell_id`` (str);
        ``obsm["spatial"]`` is the cell's centre (n_cells, 2) float64, (x, y) in he_px; ``obsm["protein"]`` where the
        run measured proteins.
    nuclei
        Polygons in he_px, one row a nucleus, columns ``cell_id`` (str, or None where it belongs to no cell) and
        ``geometry``; index 0..n-1. A cell may own several rows or none.
    he
        The H&E slide, (y, x, 3) uint8, read by slices.
    um_per_px
        Size of a slide pixel in um.
    tissue
        Organ, a name of the marker tables' tissue map.
    he_to_morphology
        (3, 3) float64, takes he_px (x, y, 1) to morphology_px; None where the sample brings none.
    provenance
        Where everything came from: platform, versions, files with checksums, how the pixel size was found, warnings.
    """

    name: str
    table: ReadWhenAsked[AnnData] = ReadWhenAsked()
    nuclei: ReadWhenAsked[GeoDataFrame] = ReadWhenAsked()
    he: Slide  # type: ignore[misc]  # the two above have no default, though mypy takes the descriptor for one
    um_per_px: float  # type: ignore[misc]
    tissue: str = ""
    he_to_morphology: np.ndarray | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def boundaries(self) -> NucleusBoundaries:
        """The nuclei in pieces; those of a store are never all in memory where only this is asked for."""
        held = vars(self)["nuclei"]
        return held if isinstance(held, NucleusBoundaries) else NucleusBoundaries.of_frame(held)

    @property
    def stored_table(self) -> AnnData | Stored[AnnData]:
        """The table; that of a store unread, for who reads it more than once rather than keep it."""
        held: AnnData | Stored[AnnData] = vars(self)["table"]
        return held

    @property
    def cell_ids(self) -> pa.Array:
        """Ids of the table's cells (n_cells,), text; those of a store are read without the counts."""
        held = vars(self)["table"]
        return held.cell_ids() if isinstance(held, StoredCells) else pa.array(held.obs_names, pa.string())

    def __repr__(self) -> str:
        height, width = self.he.shape[:2]
        return (
            f"Sample {self.name} ({self.tissue or 'tissue not said'}): {self.table.n_obs:,} cells x "
            f"{self.table.n_vars:,} genes, {len(self.boundaries):,} nuclei, H&E {width:,} x {height:,} px at "
            f"{self.um_per_px:.4f} um/px"
        )


def describe(*, name: str, files: Sequence[Path], checksums: bool, **facts: Any) -> dict[str, Any]:
    """Provenance of a sample, JSON-able.

    Parameters
    ----------
    name
        The sample.
    files
        What was read.
    checksums
        Whether to compute their SHA-256 (the slide's takes as long as reading it once).
    **facts
        Anything else worth keeping.
    """
    sources = {
        path.name: {
            "bytes": path.stat().st_size,
            **({"sha256": sha256(path)} if checksums else {}),
        }
        for path in (progress(files, label="checksums", unit="files") if checksums else files)
    }
    return {
        "sample": name,
        **facts,
        "sources": sources,
        "versions": {"stnuclei": __version__, **{library: version(library) for library in _LIBRARIES}},
    }
