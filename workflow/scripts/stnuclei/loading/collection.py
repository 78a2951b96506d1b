"""Several sources as one numbered collection of patches: counts, classes and tissues, without reading a pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stnuclei.config.inputs import same_pixels
from stnuclei.errors import UserError
from stnuclei.loading.loader import PatchLoader, ReadSettings
from stnuclei.loading.sources import Source, labels_of, tissue_ids
from stnuclei.patches import PatchStore
from stnuclei.taxonomy import Taxonomy


@dataclass(frozen=True)
class Collection:
    """Contents of all patches of several sources: classes present, tissue, nuclei.

    Parameters
    ----------
    sources
        In the order of the patch numbers: patch i of source s has number ``first[s] + i``.
    first
        int64 (n_sources + 1,): number of each source's first patch, then the number of patches.
    presence
        bool (N, n_classes): column c - 1 says whether class c is in the patch (an undecided nucleus counts as its most
        probable class).
    tissue
        int64 (N,): index into `tissues`.
    tissues
        Names of all tissues, sorted.
    nuclei
        Nuclei of each class over all patches, int64 (n_classes + 1,); the last counts Unknown.
    hashes
        For each source a hash of its pixels, nuclei and their classes.
    um_per_px
        Size of a pixel of all patches, um.
    """

    sources: tuple[Source, ...]
    first: np.ndarray
    presence: np.ndarray
    tissue: np.ndarray
    tissues: tuple[str, ...]
    nuclei: np.ndarray
    hashes: tuple[str, ...]
    um_per_px: float

    @classmethod
    def open(
        cls,
        sources: Sequence[Source],
        taxonomy: Taxonomy,
        tissues: Sequence[str] | None = None,
        um_per_px: float | None = None,
    ) -> Collection:
        """Read counts, classes and tissues of the sources.

        Parameters
        ----------
        sources
            At least one.
        taxonomy
            Gives the class ids.
        tissues
            Tissue names to use (a validation set uses the training set's; a tissue not among them gets index 0 and is
            of no consequence there); none: those of the sources.
        um_per_px
            Pixel size that the patches must have (a validation set: the training set's); none: one and the same.

        Raises
        ------
        UserError
            If there are no sources, or not a patch in all of them, or their pixels differ in size.
        """
        sources = tuple(sources)
        if not sources:
            raise UserError("training: there is no source of patches; name at least one sample in the model's groups")
        stores = [PatchStore(source.patches) for source in sources]
        first = np.cumsum([0, *(len(store) for store in stores)], dtype=np.int64)
        if first[-1] == 0:
            raise UserError(f"training: no patch in {', '.join(str(s.patches) for s in sources)}")
        um = _pixel_size(stores, um_per_px)
        names = tuple(tissues) if tissues is not None else tuple(sorted({t for s in stores for t in s.tissues}))
        contents = [_content(store, source, taxonomy) for store, source in zip(stores, sources, strict=True)]
        return cls(
            sources,
            first,
            np.concatenate([presence for presence, _, _ in contents]),
            np.concatenate([tissue_ids(store, names) for store in stores]),
            names,
            np.sum([nuclei for _, nuclei, _ in contents], axis=0),
            tuple(value for _, _, value in contents),
            um,
        )

    def __len__(self) -> int:
        return int(self.first[-1])

    def loader(self, taxonomy: Taxonomy, batch_size: int, threads: int, sweep: int = 0) -> PatchLoader:
        """A loader of these patches; set its ``sampler`` before each pass."""
        nothing = np.zeros(0, np.int64)
        reading = ReadSettings(threads=threads, sweep=sweep)
        return PatchLoader(self.sources, taxonomy, batch_size, nothing, tissues=self.tissues, reading=reading)

    def name_of(self, index: int) -> str:
        """Name of a patch for messages: ``store[row]``."""
        source = int(np.searchsorted(self.first, index, side="right")) - 1
        return f"{self.sources[source].patches}[{int(index) - int(self.first[source])}]"

    def fingerprint(self) -> str:
        """Hash of everything the run learns from, so that a continued run notices other pixels, masks or labels."""
        return hashlib.sha256(repr((self.hashes, self.tissues)).encode()).hexdigest()[:16]


def _pixel_size(stores: Sequence[PatchStore], wanted: float | None) -> float:
    """Pixel size of all stores, um."""
    first = stores[0].um_per_px if wanted is None else wanted
    for store in stores:
        if not same_pixels(store.um_per_px, first):
            raise UserError(
                f"training: {store.path} has patches of {store.um_per_px:g} um/px and others have {first:g}; cut all "
                "with one patches.um_per_px (PanNuke's have 0.25)"
            )
    return first


def _content(store: PatchStore, source: Source, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray, str]:
    """Presence (n, n_classes), nuclei by class (n_classes + 1,) and content hash of one source."""
    n_classes = taxonomy.n_outputs - 1
    offset = np.asarray(store.offset)
    presence = np.zeros((len(store), n_classes), dtype=bool)
    if source.labels is None:
        return presence, np.array([0] * n_classes + [int(offset[-1])]), store.content_hash
    labels = labels_of(store, source, taxonomy)
    classes = labels.classes
    patch = np.repeat(np.arange(len(store)), np.diff(offset))
    known = classes > 0
    presence[patch[known], classes[known] - 1] = True
    counts = np.bincount(classes[known], minlength=n_classes + 1)[1:]
    labelled = hashlib.sha256(store.content_hash.encode() + classes.astype(np.int64).tobytes())
    labelled.update(labels.confidence.tobytes())
    if labels.allowed is not None:
        labelled.update(labels.allowed.tobytes())
    return presence, np.append(counts, len(classes) - counts.sum()), labelled.hexdigest()
