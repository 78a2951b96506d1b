"""Input of a segmentation: a slide, a sample's store, another SpatialData store or a folder of pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr

from stnuclei.errors import UserError
from stnuclei.io.open_image import identifying_file, open_image
from stnuclei.slides.ome_zarr import StoreSlide
from stnuclei.slides.open import open_slide
from stnuclei.slides.slide import PLAUSIBLE_UM, Slide

PICTURES = (".png", ".jpg", ".jpeg")
_TOLERANCE = 0.02


@dataclass(frozen=True)
class SlideInput:
    """Slide, or folder of pictures, to be segmented.

    Parameters
    ----------
    format
        ``slide``, ``sample``, ``spatialdata`` or ``pictures``.
    path, name
        Where it is, what messages call it.
    um_per_px
        Size of a pixel.
    slide
        Its pixels; None for pictures.
    identity
        Plain values that change where the pixels do: of a file its length and time of change.
    image
        Name of the image in a SpatialData store.
    pictures
        The files, for pictures.
    """

    format: str
    path: Path
    name: str
    um_per_px: float
    slide: Slide | None
    identity: dict[str, Any]
    image: str | None = None
    pictures: list[Path] = field(default_factory=list)

    def require_slide(self) -> Slide:
        """Pixels of a slide; an error of ours where this is a folder of pictures."""
        if self.slide is None:
            raise ValueError(f"{self.path} is a folder of pictures, not a slide")
        return self.slide


def input_format(path: str | Path) -> str:
    """Format of a path: ``slide``, ``sample``, ``spatialdata``, ``patches``, ``pictures``.

    Raises
    ------
    UserError
        If it is none of them.
    """
    path = Path(path)
    if path.is_file():
        return "slide"
    if not path.is_dir():
        raise UserError(f"{path}: no such slide, store or folder of pictures")
    if (path / "zarr.json").is_file() or (path / ".zgroup").is_file():
        name = str(dict(_group(path).attrs).get("format", ""))
        if name == "stnuclei-patches":
            return "patches"
        ours: Any = _group(path).attrs.get("stnuclei", {})
        return "sample" if ours.get("format") else "spatialdata"
    if _pictures(path):
        return "pictures"
    raise UserError(f"{path}: holds neither a zarr store nor {', '.join(PICTURES)} pictures")


def open_slide_input(
    path: str | Path, um_per_px: float | None = None, override: bool = False, image: str | None = None
) -> SlideInput:
    """Open what is to be segmented and settle the size of its pixels.

    Parameters
    ----------
    path
        A slide, a store, a folder.
    um_per_px
        Size of a pixel where the source does not state it.
    override
        Believe `um_per_px` even where the source states something else.
    image
        Name of the image in a SpatialData store that has several.

    Raises
    ------
    UserError
        If it cannot be opened, the size of pixels is not known or not sure.
    """
    path = Path(path)
    form = input_format(path)
    if form == "patches":
        raise UserError(f"{path}: is a store of patches; predict_patches is for those")
    if form == "pictures":
        files = _pictures(path)
        um = settle_um(path, {}, um_per_px, override)
        listed = json.dumps([[file.name, *_stat(file)] for file in files])
        identity = {"format": form, "files": len(files), "sha256": hashlib.sha256(listed.encode()).hexdigest()}
        return SlideInput(form, path, path.name, um, None, identity, pictures=files)
    if form == "slide":
        slide, identity = open_slide(path), {"file": _stat(path)}
        stated = dict(slide.stated_um)
    elif form == "sample":
        slide, attributes = open_image(path)
        stated = {"the sample's store": float(attributes["um_per_px"])}
        identity = {"store": json.loads(json.dumps(attributes["image"])), "written": _stat(path / "zarr.json")}
    else:
        group = _image_group(path, image)
        image = group.name
        slide, identity = StoreSlide(group), {"image": group.name, "written": _stat(identifying_file(group))}
        stated = dict(slide.stated_um)
    _check_rgb(path, slide)
    um = settle_um(path, stated, um_per_px, override)
    return SlideInput(
        form, path, path.stem if form == "slide" else path.name, um, slide, {**identity, "format": form}, image
    )


def settle_um(path: Path, stated: Mapping[str, float], given: float | None, override: bool = False) -> float:
    """Size of a pixel, um: what the source states, checked against what was given; never guessed.

    Raises
    ------
    UserError
        If nothing is known, or the numbers are more than 2 % apart and nobody has chosen.
    """
    if given is not None and not PLAUSIBLE_UM[0] <= given <= PLAUSIBLE_UM[1]:
        raise UserError(f"{path}: um_per_px {given:g} is no pixel size of an H&E slide; 0.25 is usual at 40x")
    if given is not None and override:
        return float(given)
    numbers = {**stated, **({} if given is None else {"um_per_px": float(given)})}
    if not numbers:
        raise UserError(
            f"{path}: does not say how large its pixels are; give um_per_px (often 0.25 at 40x, 0.5 at 20x), "
            "which the scanner or whoever exported it knows"
        )
    if max(numbers.values()) > (1 + _TOLERANCE) * min(numbers.values()):
        listed = ", ".join(f"{value:.4f} by {origin}" for origin, value in numbers.items())
        raise UserError(
            f"{path}: the size of its pixels is not sure: {listed} um; find out which is right, give it as um_per_px "
            "and set override_um_per_px"
        )
    return float(next(iter(numbers.values())))


def in_memory(slide: Slide) -> Slide | np.ndarray:
    """The slide itself, or its pixels where it is small and stored without tiles: each look would decode all of it."""
    untiled = slide.info.get("tile", "") is None
    return slide[:] if untiled and np.prod(slide.shape) <= 1 << 30 else slide


def read_picture(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB; what is transparent is white, as glass.

    Raises
    ------
    UserError
        If it cannot be decoded.
    """
    try:
        pixels = _decoded(np.fromfile(path, np.uint8)) if path.stat().st_size else None
    except (cv2.error, MemoryError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else "out of memory"
        raise UserError(
            f"{path}: is too large for a picture, or damaged ({reason}); give it as a slide (TIFF)"
        ) from error
    if pixels is None:
        raise UserError(f"{path}: cannot be decoded as a picture; export it again")
    return np.ascontiguousarray(pixels[..., ::-1])


def _decoded(content: np.ndarray) -> np.ndarray | None:
    """Pixels (H, W, 3) uint8 BGR of a file's bytes, on white; None where it is no picture."""
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR)
    # Read as colours alone, a transparent pixel has whatever colour its writer left there, black as a rule.
    whole = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if bytes(content[1:4]) == b"PNG" else None
    if pixels is None or whole is None or whole.ndim == 2 or whole.shape[2] != 4:
        return pixels
    opaque = whole[..., 3:] / (255 if whole.dtype == np.uint8 else 65535)
    return np.rint(255 + (pixels - 255.0) * opaque).astype(np.uint8)


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _group(path: Path) -> zarr.Group:
    try:
        return zarr.open_group(path, mode="r")
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: is a damaged zarr store ({str(error)[:100]})") from error


def _image_group(store: Path, wanted: str | None) -> Path:
    """Folder of the image of a SpatialData store."""
    folder = store / "images"
    names = sorted(p.name for p in folder.iterdir() if identifying_file(p) != p) if folder.is_dir() else []
    if wanted is not None and wanted not in names:
        raise UserError(f"{store}: has no image {wanted!r}; it has {', '.join(names) or 'none'}")
    if wanted is None and len(names) != 1:
        raise UserError(f"{store}: has {len(names)} images ({', '.join(names) or 'none'}); name the H&E with `image`")
    return folder / (wanted or names[0])


def _check_rgb(path: Path, slide: Slide) -> None:
    pixels = slide.read(0, 0, 1, 0, 1)
    if pixels.shape != (1, 1, 3) or pixels.dtype != np.uint8:
        raise UserError(f"{path}: its image has {pixels.shape[-1]} channels of {pixels.dtype}; give 8-bit RGB")
