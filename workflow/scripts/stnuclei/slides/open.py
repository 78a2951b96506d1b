"""Opening of a slide file with the library that reads its format."""

from __future__ import annotations

from pathlib import Path

from stnuclei.config.slide_files import slide_problem
from stnuclei.errors import UserError
from stnuclei.slides.openslide_file import OpenslideSlide
from stnuclei.slides.slide import Slide
from stnuclei.slides.tiff import TiffSlide


def open_slide(path: str | Path) -> Slide:
    """Open an H&E slide: whatever tifffile or openslide reads as RGB.

    Parameters
    ----------
    path
        Flat or pyramidal (OME-, Big-)TIFF, SVS, NDPI, or another format of openslide.

    Raises
    ------
    UserError
        If it is not there, cannot be opened, is no 8-bit RGB image, or is cut short.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such H&E image; give it in column he_image")
    if problem := slide_problem(path):
        raise UserError(f"{path}: {problem}")
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:2] in (b"II", b"MM") and path.suffix.lower() not in (".ndpi", ".mrxs", ".vms", ".scn", ".bif"):
        return TiffSlide(path)
    return OpenslideSlide(path)
