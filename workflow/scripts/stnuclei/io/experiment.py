"""Description of a Xenium bundle: experiment.xenium, and the morphology image wherever its version put it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from stnuclei.errors import UserError, first_line

#: Versions of Xenium Onboard Analysis (and xeniumranger) whose layout is known.
SUPPORTED = (1, 4)
_KEYS = ("morphology_focus_filepath", "morphology_mip_filepath")
#: XOA 4: ch0000_dapi.ome.tif; XOA 2 and 3: morphology_focus_0000.ome.tif; XOA 1: one file beside the tables.
_FIRST = ("morphology_focus/ch0000_*.ome.tif", "morphology_focus/morphology_focus_0000.ome.tif")
_SINGLE = ("morphology_focus.ome.tif", "morphology_mip.ome.tif")


@dataclass(frozen=True)
class Experiment:
    """Content of experiment.xenium.

    Attributes
    ----------
    version
        Numbers of the software that wrote the tables (xeniumranger where it ran last), None where the file says
        ``R&D``, ``N/A`` or nothing.
    software
        Its name and version as written.
    pixel_size
        um of a morphology pixel.
    raw
        The file's content.
    """

    version: tuple[int, ...] | None
    software: str
    pixel_size: float
    raw: dict[str, Any]


def read_experiment(folder: Path) -> Experiment:
    """Read experiment.xenium of a bundle.

    Raises
    ------
    UserError
        If it is missing or damaged, lacks the pixel size, or names a version that is not known.
    """
    path = folder / "experiment.xenium"
    if not path.is_file():
        raise UserError(_instead(folder))
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is no JSON ({str(error)[:80]}); copy it from the run's output folder") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: holds a {type(raw).__name__}, not the run's description; copy it again")
    return _interpret(path, raw)


def _interpret(path: Path, raw: dict[str, Any]) -> Experiment:
    size = raw.get("pixel_size")
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0.05 <= size <= 2:
        raise UserError(f"{path}: pixel_size is {size!r}, expected um of a morphology pixel (0.2125)")
    if "analysis_sw_version" not in raw:
        raise UserError(f"{path}: has no analysis_sw_version; copy the file from the run's output folder")
    ranger = raw.get("xenium_ranger")
    software = ranger.get("version") if isinstance(ranger, dict) else None
    software = str(software or raw["analysis_sw_version"])
    version = parse_version(software)
    if version and not SUPPORTED[0] <= version[0] <= SUPPORTED[1]:
        raise UserError(
            f"{path}: was written by {software}, versions {SUPPORTED[0]}.x to {SUPPORTED[1]}.x are supported; "
            "resegment with xeniumranger of a supported version, or update stnuclei"
        )
    return Experiment(version, software, float(size), raw)


def parse_version(text: str) -> tuple[int, ...] | None:
    """Numbers of a version such as ``Xenium-1.0.1`` or ``xenium-3.0.0.15``; None where there is none (``R&D``).

    Examples
    --------
    >>> parse_version("Xenium-1.0.1")
    (1, 0, 1)
    >>> parse_version("R&D") is None
    True
    """
    match = re.search(r"\d+(?:\.\d+){1,3}", text)
    return tuple(int(number) for number in match.group().split(".")) if match else None


def _instead(folder: Path) -> str:
    if (folder / "outs" / "experiment.xenium").is_file():
        return f"{folder}: holds no experiment.xenium, but {folder / 'outs'} does; give that folder"
    if any((folder / mark).exists() for mark in (".zgroup", "zarr.json", ".zattrs")):
        return f"{folder}: is a zarr store (SpatialData?), not a Xenium output folder; give the run's own output folder"
    if (folder / "wsis").is_dir():
        return f"{folder}: looks like HEST-1k, not a Xenium output folder; set platform hest"
    return f"{folder}: holds no experiment.xenium; give the Xenium output folder"


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
