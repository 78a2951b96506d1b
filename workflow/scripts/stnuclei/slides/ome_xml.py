"""What the OME-XML of a TIFF says of its image: the size of pixels, and whether it is fluorescence."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_UM = {"µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400.0}
#: Names of dyes, and of the stains of 10x's morphology images. Bright-field channels have none of them.
_DYES = re.compile(
    r"\b(dapi|hoechst|draq\d|syto\w*|fitc|tritc|txred|texas red|gfp|cy ?[2357]|(alexa ?(fluor)?|af) ?-?\d{3}"
    r"|opal ?\d{3}|atp1a1|18s|alphasma|vimentin|pan-?ck|pan-?cytokeratin|autofluorescence)\b",
    re.IGNORECASE,
)


def ome_images(metadata: str | None, width: int, height: int) -> list[ElementTree.Element]:
    """The metadata's ``Pixels`` of this size, in their order; none where it cannot be read."""
    try:
        root = ElementTree.fromstring(metadata or "")
    except ElementTree.ParseError:
        return []
    wanted = (str(width), str(height))
    found = (tag for tag in root.iter() if tag.tag.endswith("Pixels"))
    return [tag for tag in found if (tag.get("SizeX"), tag.get("SizeY")) == wanted]


def ome_pixel_size(images: list[ElementTree.Element]) -> float | None:
    """Size of a pixel, um, of the first image that states one; None where none does."""
    for pixels in images:
        unit = _UM.get(pixels.get("PhysicalSizeXUnit", "µm"))
        if unit and pixels.get("PhysicalSizeX"):
            return float(pixels.get("PhysicalSizeX", "nan")) * unit
    return None


def fluorescence_channels(image: ElementTree.Element) -> list[str]:
    """Names of an image's channels of fluorescence; none where a channel holds the colours."""
    channels = [tag for tag in image.iter() if tag.tag.endswith("Channel")]
    return [_name(tag) for tag in channels if tag.get("SamplesPerPixel", "1") == "1" and _is_fluorescence(tag)]


def _is_fluorescence(channel: ElementTree.Element) -> bool:
    # Wavelengths prove nothing: scanners note them for the lamp of a bright field, too.
    names = f"{channel.get('Name', '')} {channel.get('Fluor', '')}"
    return channel.get("ContrastMethod") == "Fluorescence" or _DYES.search(names) is not None


def _name(channel: ElementTree.Element) -> str:
    return channel.get("Name") or channel.get("Fluor") or channel.get("ID") or "?"
