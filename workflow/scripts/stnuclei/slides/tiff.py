"""TIFF slides through tifffile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from stnuclei.errors import UserError
from stnuclei.joblog import without_messages
from stnuclei.slides.ome_xml import fluorescence_channels, ome_images, ome_pixel_size
from stnuclei.slides.slide import PLAUSIBLE_UM, Slide
from stnuclei.slides.tiles import TileCache, TiledLevel, is_tiled_rgb

#: A level stored as one compressed piece is decoded whole; larger ones than this would need the memory of the slide.
_LARGEST_PIECE = 1 << 30


class TiffSlide(Slide):
    """A TIFF whose largest RGB series is the slide.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UserError
        If it cannot be opened, holds no 8-bit RGB image, or ends before its last tile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # tifffile logs what it cannot read, and then goes on or raises; what is raised is told in one sentence.
            with without_messages("tifffile"):
                self._tiff = tifffile.TiffFile(path)
                series = max(self._tiff.series, key=lambda series: np.prod(series.shape, dtype=np.int64))
        except (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            raise UserError(f"{path}: cannot be opened as TIFF ({message}); copy or export the slide again") from error
        self._axes = _rgb_axes(path, series)
        height, width = (int(series.shape[axis]) for axis in self._axes[:2])
        images = ome_images(self._tiff.ome_metadata, width, height)
        _check_stain(path, images)
        pyramid = [level for level in series.levels if _same_picture(level, series, self._axes)]
        self.levels = tuple((level.shape[self._axes[0]], level.shape[self._axes[1]]) for level in pyramid)
        for level in pyramid:
            _check_whole(path, level)
        cache = TileCache()
        self._levels = [
            TiledLevel(level, k, cache) if is_tiled_rgb(level) else _StoredLevel(series, level, self._axes)
            for k, level in enumerate(pyramid)
        ]
        self.stated_um = _stated_um(images, series.keyframe)
        page = series.keyframe
        self.info = {
            "library": f"tifffile {tifffile.__version__}",
            "axes": series.axes,
            "compression": tifffile.COMPRESSION(page.compression).name,
            "tile": [page.tilelength, page.tilewidth] if page.is_tiled else None,
        }

    def _read(self, level: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return self._levels[level].read(y0, y1, x0, x1)

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


class _StoredLevel:
    """One level in any layout (strips, planes, a page a colour), through tifffile's zarr store."""

    def __init__(
        self, series: tifffile.TiffPageSeries, level: tifffile.TiffPageSeries, axes: tuple[int, int, int]
    ) -> None:
        import zarr

        # Any: tifffile names its zarr store only where it is imported after zarr.
        store: Any = series.aszarr(level=series.levels.index(level), maxworkers=1)
        self._array, self._axes = zarr.open_array(store, mode="r"), axes

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels (y1 - y0, x1 - x0, 3) uint8 of a region inside the level."""
        y, x, s = self._axes
        index: list[int | slice] = [0] * self._array.ndim
        index[y], index[x], index[s] = slice(y0, y1), slice(x0, x1), slice(0, 3)
        pixels = np.asarray(self._array[tuple(index)])
        kept = sorted((y, x, s))
        return np.ascontiguousarray(pixels.transpose([kept.index(axis) for axis in (y, x, s)]))


def _rgb_axes(path: Path, series: tifffile.TiffPageSeries) -> tuple[int, int, int]:
    """Positions of y, x and colour among the series' axes."""
    axes, shape = series.axes, series.shape
    if series.dtype != np.uint8:
        raise UserError(f"{path}: pixels are {series.dtype}, an H&E slide has 8-bit RGB; is this the morphology image?")
    if "Y" not in axes or "X" not in axes:
        raise UserError(f"{path}: axes {axes} of shape {shape} name no y and x; export the slide as OME-TIFF")
    y, x = axes.index("Y"), axes.index("X")
    colour = [k for k in range(len(axes)) if k not in (y, x) and shape[k] > 1]
    if len(colour) != 1 or shape[colour[0]] not in (3, 4) or axes[colour[0]] in "ZT":
        raise UserError(f"{path}: axes {axes} of shape {shape} are no RGB image; give the H&E, 3 channels of 8 bit")
    return y, x, colour[0]


def _check_stain(path: Path, images: list[ElementTree.Element]) -> None:
    """Refuse three or four channels of 8 bit that are no colours."""
    channels = fluorescence_channels(images[0]) if images else []
    if channels:
        raise UserError(
            f"{path}: its channels are of fluorescence ({', '.join(channels)[:80]}); give the H&E of the section"
        )


def _same_picture(level: tifffile.TiffPageSeries, series: tifffile.TiffPageSeries, axes: tuple[int, int, int]) -> bool:
    """True if a level is the slide made smaller and not, say, a label picture."""
    if len(level.shape) != len(series.shape) or level.dtype != series.dtype:
        return False
    factors = [series.shape[k] / level.shape[k] for k in axes[:2]]
    return level.shape[axes[2]] == series.shape[axes[2]] and abs(factors[0] / factors[1] - 1) < 0.05


def _check_whole(path: Path, level: tifffile.TiffPageSeries) -> None:
    size = path.stat().st_size
    for page in level.pages:
        if page is None:
            raise UserError(f"{path}: a plane of the image is missing; copy or export the slide again")
        ends = np.add(page.dataoffsets, page.databytecounts) if len(page.dataoffsets) else np.zeros(1, int)
        if len(page.dataoffsets) == 0 or ends.max() > size:
            raise UserError(f"{path}: is cut short ({size:,} bytes, its tiles reach {ends.max():,}); copy it again")
    key = level.keyframe
    piece = key.tilelength * key.tilewidth * key.samplesperpixel * key.bitspersample // 8 if key.is_tiled else 0
    if piece > _LARGEST_PIECE:
        raise UserError(
            f"{path}: one tile of {key.tilewidth} x {key.tilelength} px would take {piece / 1e9:.1f} GB of memory; "
            "save the slide with tiles of 256 to 4096 px"
        )
    if not key.is_tiled and len(key.dataoffsets) == 1 and not key.is_memmappable and key.nbytes > _LARGEST_PIECE:
        raise UserError(
            f"{path}: {key.nbytes / 1e9:.1f} GB of pixels are compressed in one piece, which cannot be read in parts; "
            "save the slide as a tiled TIFF"
        )


def _stated_um(images: list[ElementTree.Element], page: tifffile.TiffPage) -> dict[str, float]:
    stated: dict[str, float] = {}
    if um := ome_pixel_size(images):
        stated["OME PhysicalSizeX"] = um
    if aperio := re.search(r"MPP\s*=\s*([0-9.]+)", page.description or ""):
        stated["Aperio MPP"] = float(aperio.group(1))
    if not stated:
        stated |= _from_resolution(page)
    # 72 dpi is what writers put who know nothing; it would be a pixel of 353 um.
    return {where: um for where, um in stated.items() if PLAUSIBLE_UM[0] <= um <= PLAUSIBLE_UM[1]}


def _from_resolution(page: tifffile.TiffPage) -> dict[str, float]:
    um = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
    resolution = page.resolution[0]
    return {"TIFF XResolution": um / resolution} if um and resolution > 0 else {}
