"""Paths of the tables that ship with the package: markers, taxonomies, annotations, published figures."""

from __future__ import annotations

import os
from pathlib import Path

from stnuclei.errors import UserError

#: In a wheel (setup.py copies them there), and in a clone.
_FOLDERS = (Path(__file__).resolve().parent / "shipped", Path(__file__).resolve().parents[3] / "resources")


def resource(*names: str) -> Path:
    """Path of a shipped resource, e.g. ``resource("taxonomies", "pannuke.yaml")``.

    The folder is the one ``STNUCLEI_RESOURCES`` names, else the package's.

    Raises
    ------
    UserError
        If there is no such file or folder.
    """
    given = os.environ.get("STNUCLEI_RESOURCES")
    root = Path(given) if given else next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[-1])
    path = root.joinpath(*names)
    if not path.exists():
        raise UserError(f"resource {'/'.join(names)} is not in {root}: set STNUCLEI_RESOURCES to the resources folder")
    return path
