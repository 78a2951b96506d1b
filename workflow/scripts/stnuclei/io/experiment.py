"""experiment.xenium: which software made the run, and the size of a morphology pixel."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stnuclei.errors import UserError

#: Versions of Xenium Onboard Analysis (and xeniumranger) whose layout is known.
SUPPORTED = (1, 4)


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
