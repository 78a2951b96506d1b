"""Pictures small enough for a page: scaled down, photographs as JPEG, charts as PNG of few colours."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from stnuclei.progress import progress
from stnuclei.reporting.content import Page

MAX_SIDE = 1500  # px; a page is at most 1,100 px wide
_FEW_COLORS = 4000  # a chart has fewer, a photograph more
Image.MAX_IMAGE_PIXELS = None  # contact sheets of whole slides are no decompression bombs


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
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB") if opened.mode != "RGBA" else _on_white(opened)
    image.thumbnail((max_side, max_side * 2), Image.Resampling.LANCZOS)
    photograph = image.resize((200, 200)).getcolors(_FEW_COLORS) is None
    buffer = io.BytesIO()
    if photograph:
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    else:
        image.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue(), "jpg" if photograph else "png", image.size


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
