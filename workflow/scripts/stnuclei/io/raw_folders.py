"""Raw folders of instruments read through spatialdata_io, their H&E a file beside them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import tifffile

from stnuclei.config.user_table import alignment_files
from stnuclei.errors import UserError, first_line
from stnuclei.io.alignment import read_alignment, scale_of
from stnuclei.io.elements import Elements
from stnuclei.io.inputs import SampleInputs, find_alignment, find_he
from stnuclei.io.sample import Sample
from stnuclei.io.spatialdata_run import Run, build_sample
from stnuclei.joblog import quiet
from stnuclei.slides.open import open_slide

if TYPE_CHECKING:
    from spatialdata import SpatialData


def read_folder(folder: Path, reader: str, needed: Sequence[str], **options: Any) -> SpatialData:
    """Read a raw folder through spatialdata_io.

    Parameters
    ----------
    folder
        The run.
    reader
        Function of spatialdata_io.
    needed
        Patterns of files that must be there.
    **options
        For the reader.

    Raises
    ------
    UserError
        If a file is missing, or the reader fails.
    """
    import spatialdata_io

    absent = [pattern for pattern in needed if not any(folder.glob(pattern))]
    if absent:
        raise UserError(f"{folder}: holds no {absent[0]}; give the output folder of {reader} with {', '.join(needed)}")
    try:
        with quiet("ome_zarr"):
            return getattr(spatialdata_io, reader)(folder, **options)
    except Exception as error:  # whatever pandas, anndata, tifffile and the reader's own asserts raise on damaged files
        damaged = _damaged(folder, needed)
        raise UserError(
            f"{damaged or folder}: spatialdata_io.{reader} cannot read it ({first_line(error, 160)}); copy "
            f"{'it' if damaged else 'the run'} again"
        ) from error


def _damaged(folder: Path, needed: Sequence[str]) -> Path | None:
    """Path of the first file that cannot be opened at all: the readers' own errors seldom name it."""
    for pattern in needed:
        for path in sorted(folder.glob(pattern)):
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                try:
                    _open(file)
                except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, struct.error):
                    return file
    return None


def _open(path: Path) -> None:
    """Read the beginning of a file, all of a JSON."""
    if path.suffix == ".csv":
        pd.read_csv(path, nrows=5)
    elif path.suffix == ".parquet":
        pq.read_schema(path)
    elif path.suffix in (".geojson", ".json"):
        json.loads(path.read_text())
    elif path.suffix == ".h5":
        h5py.File(path, "r").close()
    elif path.suffix in (".tif", ".tiff"):
        tifffile.TiffFile(path).close()


def build_aligned(
    given: SampleInputs, data: SpatialData, elements: Elements, um_to_px: np.ndarray, files: list[Path]
) -> Sample:
    """Build a sample of a run whose H&E is a file aligned to its coordinate system ``global``.

    Parameters
    ----------
    given
        Inputs; the alignment takes H&E px to the units of ``global``.
    data, elements
        The run as spatialdata_io reads it.
    um_to_px
        (3, 3) from the run's um to ``global``.
    files
        What identifies the run.
    """
    alignment_path = find_alignment(given.path, given.he_alignment)
    unit_um = 1 / scale_of(um_to_px)
    alignment = read_alignment(alignment_path, unit_um, um_to_px)
    slide = open_slide(find_he(given.path, given.he_image))
    by_alignment = {f"alignment {Path(alignment_path).name}": alignment.um_per_px(unit_um)}
    reader = str(data.attrs.get("spatialdata_io_reader", "not said"))
    run = Run(
        source=given.path,
        platform=reader,
        software=f"spatialdata_io.{reader}",
        data=data,
        elements=elements,
        slide=slide,
        he={"global": alignment.matrix},
        stated=by_alignment | {f"{slide.path.name} {source}": um for source, um in slide.stated_um.items()},
        alignment={"kind": alignment.kind, "mirrored": alignment.mirrored, **alignment.info},
        files=[slide.path, *files, *alignment_files(alignment_path)],
        he_to_morphology=alignment.matrix,
    )
    return build_sample(given, run)
