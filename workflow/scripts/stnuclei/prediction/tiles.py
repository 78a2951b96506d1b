"""How a slide is tiled for the network: cells that each pixel lies in once, tiles that reach over them, strips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.errors import UserError

#: Pixels around a cell in which its nuclei and their neighbours are seen whole: 32 um at 0.25 um/px, two large nuclei.
MARGIN = 128
#: Width of what is swept from top to bottom at once: bounds the memory on slides of any width.
STRIP_PX = 49_152


@dataclass(frozen=True)
class Strip:
    """Columns of cells swept together: `begin` to `end` (exclusive) are its own, one more on each side is seen."""

    number: int
    begin: int
    end: int


@dataclass(frozen=True)
class TileGrid:
    """Cells of a slide, in pixels of the network.

    Parameters
    ----------
    width, height
        Slide.
    tile
        Side of what the network sees, a multiple of 16.
    overlap
        How far a tile reaches over its cell on each side: there the network lacks surroundings, so its maps are used
        of the cell only.
    strip_px
        Most width of a strip.

    Raises
    ------
    UserError
        If the tile cannot be.
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
        """Side of a cell."""
        return self.tile - 2 * self.overlap

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-self.height // self.core)

    @property
    def columns(self) -> int:
        """Columns of cells."""
        return -(-self.width // self.core)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Top-left corner (x, y) of a cell."""
        return column * self.core, row * self.core

    def strips(self) -> list[Strip]:
        """Strips from left to right, as equal as can be."""
        count = max(1, -(-self.columns * self.core // max(self.strip_px, self.core)))
        ends = np.linspace(0, self.columns, count + 1).round().astype(int).tolist()
        return [Strip(k, ends[k], ends[k + 1]) for k in range(count)]
