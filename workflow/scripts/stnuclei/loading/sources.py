"""What a model is trained on: a patch store and a label set of its nuclei."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One patch store and the labels of its nuclei.

    Parameters
    ----------
    patches
        ``patches.zarr``.
    labels
        ``labels/{method}.parquet`` of the same sample; none: every nucleus is Unknown, only its outline is learned.
    """

    patches: Path
    labels: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patches", Path(self.patches))
        object.__setattr__(self, "labels", Path(self.labels) if self.labels else None)
