"""Patch stores with their labels: named by the user, and opened for the loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorstore as ts

from stnuclei.errors import UserError
from stnuclei.patches import NucleusLabels, PatchStore, nucleus_labels
from stnuclei.patches.arrays import SHARD, open_array
from stnuclei.taxonomy import Taxonomy


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


@dataclass
class OpenSource:
    """A patch store opened for reading single patches.

    Parameters
    ----------
    path
        patches.zarr.
    image, instances
        (N, P, P, 3) uint8 and (N, P, P) int32 (cast from uint16 on the way), unread.
    offset, labels
        Patch i has the nuclei ``offset[i]:offset[i + 1]`` of the labels.
    tissue
        int64 (N,), index into the names the loader was given.
    """

    path: Path
    image: ts.TensorStore
    instances: ts.TensorStore
    offset: np.ndarray
    labels: NucleusLabels
    tissue: np.ndarray

    def __len__(self) -> int:
        return len(self.tissue)

    def rows(self, i: int) -> slice:
        """Rows of patch i's nuclei."""
        return slice(self.offset[i], self.offset[i + 1])

    def files(self, shard: int) -> tuple[Path, Path]:
        """The two files that hold the patches ``shard * SHARD`` to ``(shard + 1) * SHARD``."""
        return self.path / "image" / "c" / f"{shard}/0/0/0", self.path / "instances" / "c" / f"{shard}/0/0"


def open_sources(
    sources: Sequence[Source], taxonomy: Taxonomy, tissues: Sequence[str] | None, context: ts.Context
) -> list[OpenSource]:
    """Open the sources.

    Raises
    ------
    UserError
        If one cannot be read, its labels belong to another sample, or patch sizes differ.
    """
    stores = [PatchStore(source.patches) for source in sources]
    names = list(tissues) if tissues is not None else sorted({t for store in stores for t in store.tissues})
    opened = [_open(store, source, taxonomy, names, context) for store, source in zip(stores, sources, strict=True)]
    sizes = {source.image.shape[1] for source in opened}
    if len(sizes) > 1:
        raise UserError(
            f"training: patches of {sorted(sizes)} px cannot be mixed; cut all samples with one patches.size"
        )
    return opened


def _open(
    store: PatchStore, source: Source, taxonomy: Taxonomy, tissues: Sequence[str], context: ts.Context
) -> OpenSource:
    offset = np.asarray(store.offset)
    labels = labels_of(store, source, taxonomy)
    image = open_array(store.path / "image", context)
    instances = open_array(store.path / "instances", context)
    for name, array in (("image", image), ("instances", instances)):
        if array.shape[0] != len(offset) - 1:
            raise UserError(
                f"{store.path / name}: holds {array.shape[0]:,} patches, nuclei_offset {len(offset) - 1:,}; delete the "
                "store and write it again with its rule"
            )
        shard = array.chunk_layout.write_chunk.shape
        if shard is None or shard[0] != SHARD:
            raise UserError(f"{store.path / name}: has other shards than ours; write it again with its rule")
    return OpenSource(store.path, image, ts.cast(instances, ts.int32), offset, labels, tissue_ids(store, tissues))


def tissue_ids(store: PatchStore, names: Sequence[str]) -> np.ndarray:
    """Index into `names` for each patch, int64 (N,); 0, of no consequence, for a tissue that only validation has."""
    return np.array([names.index(t) if t in names else 0 for t in store.tissues] or [0], np.int64)[store.tissue]


def labels_of(store: PatchStore, source: Source, taxonomy: Taxonomy) -> NucleusLabels:
    """Labels of a source's nuclei; all Unknown where it has no label set."""
    if source.labels is not None:
        return nucleus_labels(store, source.labels, taxonomy)
    n_nuclei = int(store.offset[-1])
    return NucleusLabels(np.full(n_nuclei, -1, np.int8), None, np.zeros(n_nuclei, np.float32))
