"""The morphology image (DAPI and stains) of a Xenium bundle, wherever its version put it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from stnuclei.errors import UserError, first_line
from stnuclei.io.experiment import Experiment

_KEYS = ("morphology_focus_filepath", "morphology_mip_filepath")
#: XOA 4: ch0000_dapi.ome.tif; XOA 2 and 3: morphology_focus_0000.ome.tif; XOA 1: one file beside the tables.
_FIRST = ("morphology_focus/ch0000_*.ome.tif", "morphology_focus/morphology_focus_0000.ome.tif")
_SINGLE = ("morphology_focus.ome.tif", "morphology_mip.ome.tif")


@dataclass(frozen=True)
class Morphology:
    """Path and form of the morphology image.

    Attributes
    ----------
    dapi
        File of the DAPI channel.
    files
        All channels' files, DAPI first.
    channels
        Their names, as far as the file names or the version tell them.
    shape
        (height, width), morphology_px.
    """

    dapi: Path
    files: tuple[Path, ...]
    channels: tuple[str, ...]
    shape: tuple[int, int]


def find_morphology(folder: Path, experiment: Experiment) -> Morphology | None:
    """Find the morphology image; None where the bundle was copied without it, which reading nuclei does not need.

    Raises
    ------
    UserError
        If it is there but cannot be opened.
    """
    dapi = _dapi(folder, experiment.raw)
    if dapi is None:
        return None
    try:
        with tifffile.TiffFile(dapi, _multifile=False) as file:
            page = file.pages.first
            shape = (int(page.imagelength), int(page.imagewidth))
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            f"{dapi}: cannot be opened as TIFF ({first_line(error, 100)}); copy the morphology image again"
        ) from error
    files = (dapi,) if dapi.parent == folder else tuple(sorted(dapi.parent.glob("*.ome.tif")))
    return Morphology(dapi, files, tuple(_channel(path) for path in files), shape)


def _dapi(folder: Path, raw: dict[str, Any]) -> Path | None:
    images = raw.get("images")
    stated = [images[key] for key in _KEYS if isinstance(images, dict) and isinstance(images.get(key), str)]
    # xeniumranger and copies rename: what experiment.xenium states is tried first and may be gone.
    candidates = [folder / name for name in stated if name and (folder / name).is_file()]
    candidates += [path for pattern in _FIRST for path in sorted(folder.glob(pattern))]
    candidates += [folder / name for name in _SINGLE if (folder / name).is_file()]
    return candidates[0] if candidates else None


def _channel(path: Path) -> str:
    named = re.match(r"ch\d{4}_(.+)\.ome\.tif", path.name)
    numbered = re.match(r"morphology_focus_(\d{4})\.ome\.tif", path.name)
    standard = ("DAPI", "ATP1A1/CD45/E-Cadherin", "18S", "AlphaSMA/Vimentin")
    if named:
        return named.group(1)
    if numbered and int(numbered.group(1)) < len(standard):
        return standard[int(numbered.group(1))]
    return "DAPI" if numbered is None else numbered.group(1)
