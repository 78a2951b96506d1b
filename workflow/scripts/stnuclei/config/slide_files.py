"""Slide files looked at before the first job: their first bytes alone, without a library that reads slides."""

from __future__ import annotations

import struct
from pathlib import Path

#: First bytes of the formats that tifffile and openslide read -> layout of the first directory's offset in a TIFF.
_TIFF = {
    b"II*\0": (4, "<I"),
    b"MM\0*": (4, ">I"),
    b"II+\0": (8, "<Q"),
    b"MM\0+": (8, ">Q"),
}
#: Zeiss CZI, Sakura svslide, Hamamatsu VMS and VMU.
_OPENSLIDE = (b"ZISRAWFILE", b"SQLite format 3\0", b"[Virtual Microscope", b"[Uncompressed Virtual")
#: Bytes of a TIFF's directory with a single entry.
_SMALLEST_INDEX = 18
_DICOM = (128, b"DICM")
_JPEG = b"\xff\xd8\xff"
#: First bytes, in lower case, of what is given in place of a slide -> what it is, and what to do.
_OTHERS = (
    (_JPEG, "is a JPEG picture, not a slide; export the slide as a tiled TIFF at full resolution"),
    (b"\x89png", "is a PNG picture, not a slide; export the slide as a tiled TIFF at full resolution"),
    (b"pk\3\4", "is a zip archive; unpack it and give the slide in it"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it and give the slide in it"),
    (b"%pdf", "is a PDF document; give the scanner's file"),
    (b"\x89hdf", "is an HDF5 file, not a slide; give the scanner's file or a tiled TIFF"),
    (b"par1", "is a parquet table, not a slide; give the scanner's file or a tiled TIFF"),
    (b"<!doctype", "is a web page, not a slide; download the slide again, signed in where that is needed"),
    (b"<html", "is a web page, not a slide; download the slide again, signed in where that is needed"),
    (b"version https://git-lfs", "is a pointer of git LFS, not the slide; fetch it with git lfs pull"),
    (bytes(16), "begins with zeros, as a copy that failed does; copy the slide again"),
)


def slide_problem(path: str | Path) -> str | None:
    """Clause on a file that can be no slide: absent, a folder, empty, cut before its index, or of another kind.

    Returns
    -------
    None where nothing can be said against it; whether its pixels can be read is seen when it is opened.
    """
    path = Path(path)
    if path.is_dir():
        return "is a folder; give the slide's file in it"
    if not path.is_file():
        return "is not there"
    size = path.stat().st_size
    if not size:
        return "is empty; copy the slide again"
    try:
        with open(path, "rb") as file:
            begin = file.read(256)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if begin[:4] in _TIFF:
        return _cut_short(begin, size)
    if path.suffix.lower() == ".mrxs" and begin.startswith(_JPEG):
        return None if path.with_suffix("").is_dir() else f"needs its folder {path.stem} beside it; copy both"
    if begin.startswith(_OPENSLIDE) or begin[_DICOM[0] :].startswith(_DICOM[1]):
        return None
    known = (words for start, words in _OTHERS if begin.lower().startswith(start))
    return next(known, "is of a format that neither tifffile nor openslide knows; export a tiled TIFF")


def _cut_short(begin: bytes, size: int) -> str | None:
    """Clause on a TIFF whose first directory, often the last bytes of the file, lies behind the file's end."""
    at, layout = _TIFF[begin[:4]]
    if size < at + struct.calcsize(layout):
        return f"is cut short ({size:,} bytes); copy the slide again"
    (offset,) = struct.unpack_from(layout, begin, at)
    if offset + _SMALLEST_INDEX > size:
        return f"is cut short ({size:,} bytes, its index is at {offset:,}); copy the slide again"
    return None
