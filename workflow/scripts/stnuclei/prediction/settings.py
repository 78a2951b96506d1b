"""Settings of a slide's segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from stnuclei.errors import UserError

#: StageTimer of a segmentation, as they are timed.
READING, NETWORK, SEPARATION, MERGING = "reading", "network", "post-processing", "merging"
#: Slides coarser than the network's pixels by more than this factor are refused: interpolation shows no nuclei.
_MOST_ENLARGED = 4.0
#: Settings that change the speed and not the nuclei.
_SPEED = ("batch_size", "device", "threads", "compile")


@dataclass(frozen=True)
class SlideSettings:
    """Settings of `segment_slide`.

    Parameters
    ----------
    tile, overlap
        Side of a tile and width of its halo on each side, network pixels; maps are used of the core alone.
    batch_size
        Tiles the network sees at once; None: 8 on a GPU, 1 on a CPU (where a CellViT-256 takes 2 GB a tile).
    augmentation
        Test-time augmentation: average the maps over eight orientations of each tile, at eight times the work.
    device
        See `Predictor`; several names (or ``cuda:all``, every GPU visible) share the tiles.
    precision, compile
        See `Predictor`.
    threads
        For reading, for the arithmetic of a CPU, and for separating nuclei.
    damaged
        ``stop`` at a tile of the slide that cannot be decoded, or ``skip`` it and count it.
    network_um_per_px
        Pixel size the model was trained at: 0.25, but 0.5 for the official x20 checkpoints.
    simplify_px
        How far, in network pixels, an outline may be moved to save points; 0 keeps every step of the pixels.
    region
        x0, y0, x1, y1 in he_px: only nuclei whose centroid lies inside.
    """

    tile: int = 1024
    overlap: int = 64
    batch_size: int | None = None
    augmentation: bool = False
    device: str | Sequence[str] = "auto"
    precision: str = "auto"
    compile: bool = False
    threads: int = 1
    damaged: str = "stop"
    network_um_per_px: float = 0.25
    simplify_px: float = 0.3
    region: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises
        ------
        UserError
            Naming the setting.
        """
        if (self.batch_size is not None and self.batch_size < 1) or self.threads < 1:
            raise UserError(
                f"prediction: batch_size and threads must be at least 1, not {self.batch_size} and {self.threads}"
            )
        if self.damaged not in ("stop", "skip"):
            raise UserError(f"prediction.damaged: {self.damaged!r} is neither stop nor skip")
        if not self.network_um_per_px > 0 or not 0 <= self.simplify_px < 4:
            raise UserError(
                f"prediction: network_um_per_px must be above 0 and simplify_px between 0 and 4, not "
                f"{self.network_um_per_px} and {self.simplify_px}"
            )

    def check_slide(self, name: str, um_per_px: float) -> None:
        """Refuse a slide too coarse for the model."""
        if um_per_px / self.network_um_per_px > _MOST_ENLARGED:
            raise UserError(
                f"{name}: has {um_per_px:g} um/px, the model sees {self.network_um_per_px:g}; its pixels would be "
                f"enlarged {um_per_px / self.network_um_per_px:.1f} times; give the full-resolution slide"
            )

    def tiles_at_once(self, device: torch.device) -> int:
        """Batch size on a device."""
        return self.batch_size or (8 if device.type == "cuda" else 1)

    @property
    def devices(self) -> list[str]:
        """Names of devices."""
        if self.device == "cuda:all":
            return [f"cuda:{k}" for k in range(torch.cuda.device_count())] or ["cuda"]
        return self.device.split(",") if isinstance(self.device, str) else list(self.device)

    def to_dict(self) -> dict[str, Any]:
        """Settings that the nuclei depend on, as plain values."""
        content = {key: value for key, value in asdict(self).items() if key not in _SPEED}
        return content | {"region": None if self.region is None else [float(v) for v in self.region]}
