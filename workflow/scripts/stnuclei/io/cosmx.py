"""CosMx flat-file folders, through spatialdata_io."""

from __future__ import annotations

import numpy as np
from anndata import AnnData

from stnuclei.config.user_table import split_landmarks
from stnuclei.errors import UserError
from stnuclei.io.alignment import read_alignment, scale_of
from stnuclei.io.elements import Elements
from stnuclei.io.inputs import SampleInputs, find_alignment
from stnuclei.io.raw_folders import build_aligned, read_folder
from stnuclei.io.sample import Sample

_TABLES = ("*_exprMat_file.csv", "*_metadata_file.csv", "*_fov_positions_file.csv")
_NEEDED = (*_TABLES, "CellComposite", "CellLabels")


def read_cosmx(given: SampleInputs) -> Sample:
    """Read a CosMx flat-file folder; the alignment takes H&E px to the run's global pixels.

    Outlines are traced in ``CellLabels``, one image a field of view.
    """
    data = read_folder(given.path, "cosmx", _NEEDED, transcripts=False)
    if not len(data.labels):
        raise UserError(f"{given.path}: CellLabels has no image of a field of view in the counts; copy the run again")
    elements = Elements(None, tuple(sorted(data.labels)), "labels", "table")
    files = [path for pattern in _TABLES for path in sorted(given.path.glob(pattern))]
    pixel_um = _pixel_um(given, data.tables["table"])
    return build_aligned(given, data, elements, np.diag([1 / pixel_um, 1 / pixel_um, 1.0]), files)


def _pixel_um(given: SampleInputs, table: AnnData) -> float:
    """Size of a global pixel, um: by the cells' areas in both units, else by the given H&E pixel and the alignment.

    It is 0.12 um of newer instruments and was 0.18 of the first, so it is not assumed.
    """
    if {"Area", "Area.um2"} <= set(table.obs):
        ratio = table.obs["Area.um2"].to_numpy(np.float64) / table.obs["Area"].to_numpy(np.float64)
        if np.isfinite(ratio).any():
            return float(np.sqrt(np.nanmedian(ratio)))
    if given.he_um_per_px is None:
        raise UserError(
            f"{given.path}: metadata_file has no Area.um2 to tell how large a pixel is; give the H&E's in column "
            "he_um_per_px"
        )
    path = find_alignment(given.path, given.he_alignment)
    if split_landmarks(str(path))[1] == "um":
        raise UserError(f"{path}: um are not known of a run without Area.um2; give the run's landmarks in global px")
    # Read with a pixel of 0.15 um, between the instruments' two: the check of the scale then refuses neither.
    return given.he_um_per_px / scale_of(read_alignment(path, 0.15).matrix)
