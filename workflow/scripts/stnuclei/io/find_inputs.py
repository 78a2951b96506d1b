"""The H&E slide and its alignment, looked for in the bundle and beside it."""

from __future__ import annotations

from pathlib import Path

from stnuclei.errors import UserError

_HE = (
    "*he_image*.ome.tif",
    "*he_image*.ome.tiff",
    "*he_image*.tif",
    "*he_image*.tiff",
    "*he_image*.svs",
    "*he_image*.ndpi",
)
_ALIGNMENT = ("*he_imagealignment*.csv", "*he*alignment*.zip", "*he*keypoints*.csv")


def find_he(folder: Path, given: str | Path | None) -> Path:
    """Path of the H&E slide: the one given, else the one in the bundle or beside it.

    Raises
    ------
    UserError
        If there is none, or more than one could be meant.
    """
    return Path(given) if given else _only(folder, _HE, "H&E image (*he_image*.ome.tif)", "he_image")


def find_alignment(folder: Path, given: str | Path | None) -> str | Path:
    """Path of the alignment file, or the word ``identity`` where it was said.

    Raises
    ------
    UserError
        If there is none, or more than one could be meant.
    """
    if given:
        return given
    what = "H&E alignment (*he_imagealignment.csv)"
    return _only(
        folder, _ALIGNMENT, what, "he_alignment", " (or identity, where the slide lies on the morphology as it is)"
    )


def _only(folder: Path, patterns: tuple[str, ...], what: str, column: str, more: str = "") -> Path:
    for place in (folder, folder.resolve().parent):
        found = sorted({path for pattern in patterns for path in place.glob(pattern) if path.is_file()})
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found[:4])
            raise UserError(f"{place}: could mean {len(found)} files by {what}: {names}; name one in column {column}")
    raise UserError(f"{folder}: no {what} in it or beside it; name it in column {column}{more}")
