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


def ome_pixel_size(metadata: str, width: int, height: int) -> float | None:
    """Size of a pixel, um, that the metadata states for the image of this size; None where it states none."""
    pixels = _pixels(metadata, width, height)
    if pixels is None:
        return None
    unit = _UM.get(pixels.get("PhysicalSizeXUnit", "µm"))
    return float(pixels.get("PhysicalSizeX", "nan")) * unit if unit and pixels.get("PhysicalSizeX") else None


def fluorescence_channels(metadata: str, width: int, height: int) -> list[str]:
    """Names of the channels of fluorescence in the image of this size; none where a channel holds the colours."""
    pixels = _pixels(metadata, width, height)
    channels = [] if pixels is None else [tag for tag in pixels.iter() if tag.tag.endswith("Channel")]
    return [_name(tag) for tag in channels if tag.get("SamplesPerPixel", "1") == "1" and _is_fluorescence(tag)]


def _is_fluorescence(channel: ElementTree.Element) -> bool:
    # Wavelengths prove nothing: scanners note them for the lamp of a bright field, too.
    names = f"{channel.get('Name', '')} {channel.get('Fluor', '')}"
    return channel.get("ContrastMethod") == "Fluorescence" or _DYES.search(names) is not None


def _name(channel: ElementTree.Element) -> str:
    return channel.get("Name") or channel.get("Fluor") or channel.get("ID") or "?"


def _pixels(metadata: str, width: int, height: int) -> ElementTree.Element | None:
    """The first ``Pixels`` of this size."""
    try:
        root = ElementTree.fromstring(metadata)
    except ElementTree.ParseError:
        return None
    wanted = (str(width), str(height))
    found = (tag for tag in root.iter() if tag.tag.endswith("Pixels"))
    return next((tag for tag in found if (tag.get("SizeX"), tag.get("SizeY")) == wanted), None)
