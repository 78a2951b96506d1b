"""Provenance of a sample: sources, checksums, versions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stnuclei import __version__
from stnuclei.files import sha256
from stnuclei.progress import progress

_LIBRARIES = ("spatialdata", "anndata", "zarr", "tifffile", "openslide-python", "pyarrow", "shapely", "geopandas")


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
