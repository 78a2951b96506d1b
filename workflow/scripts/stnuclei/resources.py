"""Where the tables that ship with the workflow lie."""

from __future__ import annotations

import os
from pathlib import Path

from stnuclei.errors import UserError


def resource(*parts: str) -> Path:
    """Path of a shipped resource, e.g. ``resource("taxonomies", "pannuke.yaml")``.

    The folder is ``resources`` at the top of the checkout, or the one ``STNUCLEI_RESOURCES`` names.

    Raises
    ------
    UserError
        If there is no such file or folder.
    """
    root = Path(os.environ.get("STNUCLEI_RESOURCES") or Path(__file__).resolve().parents[3] / "resources")
    path = root.joinpath(*parts)
    if not path.exists():
        raise UserError(f"resource {'/'.join(parts)} is not in {root}: set STNUCLEI_RESOURCES to the resources folder")
    return path
