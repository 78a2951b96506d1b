"""Pictures small enough for a page: scaled down, photographs as JPEG, charts as PNG of few colours."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

from PIL import Image

from stnuclei.errors import UserError, first_line
from stnuclei.progress import progress
from stnuclei.reporting.content import Page

MAX_SIDE = 1500  # px; a page is at most 1,100 px wide
_FEW_COLORS = 4000  # a chart has fewer, a photograph more
#: Pixels above which a picture is refused before it is decoded (1.2 GB as RGB). Ours have 30 million at most, but any
#: file that lies in the results is drawn.
MOST_PIXELS = 400_000_000


def shrink(path: Path, max_side: int = MAX_SIDE, quality: int = 80) -> tuple[bytes, str, tuple[int, int]]:
    """Encode a picture for the report.

    Parameters
    ----------
    path
        PNG or JPEG.
    max_side
        px; larger pictures are scaled down.
    quality
        Of JPEG.

    Returns
    -------
    The encoded picture, its ending (``jpg`` or ``png``) and its size (width, height), px.

    Raises
    ------
    UserError
        If it is damaged or has more than `MOST_PIXELS`.
    """
    image = _read(path)
    image.thumbnail((max_side, max_side * 2), Image.Resampling.LANCZOS)
    photograph = image.resize((200, 200)).getcolors(_FEW_COLORS) is None
    buffer = io.BytesIO()
    if photograph:
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    else:
        image.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue(), "jpg" if photograph else "png", image.size


def _read(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow itself warns from 90 million pixels on and refuses 180: less than a contact sheet may have.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS // 2
            try:
                opened = Image.open(path)
            finally:
                Image.MAX_IMAGE_PIXELS = before
        with opened:
            return opened.convert("RGB") if opened.mode != "RGBA" else _on_white(opened)
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: is no picture for the report ({first_line(error)}); make it again or move it away"
        ) from error


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def data_uri(content: bytes, ending: str) -> str:
    """The picture as text that stands in the page itself."""
    kind = {"jpg": "jpeg"}.get(ending, ending)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


class EncodedPictures:
    """Every picture of a report, encoded once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[bytes, str, tuple[int, int]]] = {}

    def __getitem__(self, path: Path) -> tuple[bytes, str, tuple[int, int]]:
        if path not in self._known:
            self._known[path] = shrink(path)
        return self._known[path]

    def __len__(self) -> int:
        return len(self._known)

    def size(self, pages: list[Page]) -> int:
        """Bytes that the pictures of some pages take in a page that holds them itself."""
        paths = {image.path for page in pages for section in page.sections for image in section.pictures}
        listed = progress(sorted(paths), label="pictures of the report", unit="pictures")
        return sum(len(self[path][0]) * 4 // 3 for path in listed)
