"""A slide and a checkpoint in, nuclei with classes out: memory flat, tile row after tile row, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def segment_slide(
    checkpoint: str | Path,
    slide: str | Path,
    out: str | Path,
    *,
    um_per_px: float | None = None,
    tissue: Any = None,
    region: Sequence[float] | None = None,
    batch_size: int = 8,
    tile: int = 1024,
    overlap: int = 64,
    augmentation: bool = False,
    device: str | Sequence[str] = "auto",
    precision: str = "auto",
    threads: int = 1,
    damaged: str = "stop",
    compile: bool = False,
    network_um_per_px: float = 0.25,
    simplify_px: float = 0.3,
    image: str | None = None,
) -> dict[str, Any]:
    """Find the nuclei of a slide and write the folder `out`.

    The folder holds ``nuclei.parquet`` (GeoParquet, see `stnuclei.prediction.nuclei_file`; read it with `NucleiFile`)
    and, but for pictures, ``tissue.tif`` and ``tissue.png`` (`stnuclei.quality.TissueMap`). The parquet's key-value
    metadata ``stnuclei`` is a JSON object::

        slide (name), slide_path, source ("slide" | "sample" | "spatialdata" | "pictures"),
        slide_um_per_px, width, height (he_px; null for pictures), network_um_per_px, taxonomy (dict, see
        `Taxonomy.from_dict`), classes (names, background first), model (arch, architecture, epoch, tissues, provenance,
        precision, device, sha256), settings (dict), tissue_mm2 (tissue searched, blurred included;
        null for pictures), fingerprint,
        counts ({"nuclei": n, "by_class": {name: n}, "tiles": n, "tiles_damaged": n, "images": n})
    """
    raise NotImplementedError
