"""Tiles of a slide: the grid, the network's maps of each tile, and windows put together from them.

A tile is what the network sees: a core, in which each pixel of the slide lies exactly once, and a halo around it that
only gives the network surroundings. Maps are used of the core alone, so every pixel of the slide has one value: two
windows that both show a nucleus show the same nucleus, and none is lost or doubled at a border.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stnuclei.cellvit.nucleus_tokens import TokenGrid
from stnuclei.errors import UserError

#: Pixels around a core in which its nuclei and their neighbours are seen whole: 32 um at 0.25 um/px, two large nuclei.
MARGIN = 128
#: Nuclei this near to a border (network px) are compared across it as well: one side may see them a little larger.
NEAR = 16
#: Width of what is swept from top to bottom at once: bounds the memory on slides of any width.
STRIP_PX = 49_152


@dataclass(frozen=True)
class Strip:
    """Columns of tiles swept together: `begin` to `end` (exclusive); one more column on each side is seen."""

    number: int
    begin: int
    end: int


@dataclass(frozen=True)
class TileGrid:
    """Tiles of a slide, in pixels of the network.

    Parameters
    ----------
    width, height
        Slide.
    tile
        Side of what the network sees, a multiple of 16.
    overlap
        Width of the halo on each side of the core.
    strip_px
        Greatest width of a strip.

    Raises
    ------
    UserError
        If the tile is no multiple of 16, or leaves too small a core.
    """

    width: int
    height: int
    tile: int = 1024
    overlap: int = 64
    strip_px: int = STRIP_PX

    def __post_init__(self) -> None:
        if self.tile % 16 or self.overlap < 0 or self.core < MARGIN:
            raise UserError(
                f"prediction: tiles of {self.tile} px with an overlap of {self.overlap} px cannot be; a tile is a "
                f"multiple of 16 and {MARGIN} px or more wider than two overlaps, 1024 and 64 are usual"
            )

    @property
    def core(self) -> int:
        """Side of a core."""
        return self.tile - 2 * self.overlap

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.core)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return -(-self.width // self.core)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Top-left corner (x, y) of a core."""
        return column * self.core, row * self.core

    def strips(self) -> list[Strip]:
        """Strips from left to right, as equal in width as possible."""
        count = max(1, -(-self.columns * self.core // max(self.strip_px, self.core)))
        ends = np.linspace(0, self.columns, count + 1).round().astype(int).tolist()
        return [Strip(k, ends[k], ends[k + 1]) for k in range(count)]


@dataclass(frozen=True)
class TileMaps:
    """Maps of a core, or of its lower rows.

    Parameters
    ----------
    foreground
        (h, w) bool, False outside the slide.
    hv
        (2, h, w) float32.
    types
        (C, h, w) float16 class probabilities: half the memory, and their third digit is kept.
    tokens
        Tokens of all that the network saw, halo included; None where nobody asked for them, or where they are not
        needed any more.
    """

    foreground: np.ndarray
    hv: np.ndarray
    types: np.ndarray
    tokens: TokenGrid | None = None

    def lower(self) -> TileMaps:
        """Copy of the last `MARGIN` rows: all that the row of tiles below needs."""
        rows = np.s_[..., -MARGIN:, :]
        return TileMaps(self.foreground[rows].copy(), self.hv[rows].copy(), self.types[rows].copy())


Neighbours = Mapping[tuple[int, int], TileMaps]


def window(neighbours: Neighbours, core: int) -> TileMaps:
    """Maps of a core and `MARGIN` px around it.

    Parameters
    ----------
    neighbours
        (row, column) steps from the tile, (0, 0) being itself -> maps; tiles without tissue are missing and count as
        empty.
    core
        Side of a core.

    Returns
    -------
    Maps of side ``core + 2 * MARGIN``.
    """
    side, channels = core + 2 * MARGIN, len(neighbours[0, 0].types)
    out = TileMaps(
        np.zeros((side, side), bool),
        np.zeros((2, side, side), np.float32),
        np.zeros((channels, side, side), np.float16),
    )
    target = {-1: slice(0, MARGIN), 0: slice(MARGIN, MARGIN + core), 1: slice(MARGIN + core, None)}
    # The maps above may be cut to their lower rows, so they are counted from the end.
    source = {-1: slice(-MARGIN, None), 0: slice(None), 1: slice(0, MARGIN)}
    for (dy, dx), maps in neighbours.items():
        pairs = ((out.foreground, maps.foreground), (out.hv, maps.hv), (out.types, maps.types))
        for whole, piece in pairs:
            whole[..., target[dy], target[dx]] = piece[..., source[dy], source[dx]]
    return out
