"""Settings of cutting."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from stnuclei.errors import UserError

#: A slide coarser than the patches by more than this would have its pixels invented.
_MOST_ENLARGED = 4.0


@dataclass(frozen=True)
class CutSettings:
    """Settings of `cut_patches`.

    Parameters
    ----------
    um_per_px
        Pixel size of the patches. A slide within 0.5 % of it is taken as it is, and its own size is written down.
    size, stride
        Side of a patch and distance of neighbours, px.
    min_tissue
        Share of a patch that must be usable tissue.
    min_nuclei
        Patches of fewer nuclei are dropped.
    border
        ``keep`` or ``drop`` nuclei cut by a patch's edge.
    exclude_blurred, exclude_pen, max_spoiled
        Whether blurred tissue and pen marks are unusable, and the share of a patch's tissue they may make up.
    compress_image
        Compress pixels (zstd) as well as ids: a tenth smaller, slower to read.
    """

    um_per_px: float = 0.25
    size: int = 256
    stride: int = 256
    min_tissue: float = 0.05
    min_nuclei: int = 1
    border: str = "keep"
    exclude_blurred: bool = True
    exclude_pen: bool = True
    max_spoiled: float = 0.5
    compress_image: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be used.

        Raises
        ------
        UserError
            Naming the setting.
        """
        if self.border not in ("keep", "drop"):
            raise UserError(f"patches.border: {self.border!r} is neither keep nor drop")
        for name in ("min_tissue", "max_spoiled"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"patches.{name} must lie between 0 and 1, not {getattr(self, name)}")

    def check_slide(self, name: str, um_per_px: float) -> None:
        """Refuse a slide whose pixel size does not go together with the patches'."""
        if not (math.isfinite(um_per_px) and um_per_px > 0 and self.um_per_px > 0):
            raise UserError(
                f"sample {name}: um/px of the slide ({um_per_px}) and of patches ({self.um_per_px}) must be above 0"
            )
        if um_per_px / self.um_per_px > _MOST_ENLARGED:
            raise UserError(
                f"sample {name}: its slide has {um_per_px:g} um/px, patches of {self.um_per_px:g} um/px would be "
                f"enlarged {um_per_px / self.um_per_px:.1f} times; raise patches.um_per_px or give the full-resolution "
                "slide"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain content for the store's attributes."""
        return asdict(self)
