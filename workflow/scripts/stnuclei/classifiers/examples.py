"""Tokens joined with labels: the examples that a classifier learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.classifiers.token_store import TokenStore
from stnuclei.errors import UserError
from stnuclei.patches.classes import nucleus_labels
from stnuclei.taxonomy import Taxonomy


@dataclass(frozen=True)
class TokenSource:
    """Tokens of one patch set and the label table of its sample.

    Parameters
    ----------
    tokens
        ``tokens.zarr``.
    labels
        ``labels/{method}.parquet``.
    """

    tokens: Path
    labels: Path


@dataclass(frozen=True)
class Examples:
    """n nuclei with a label.

    Parameters
    ----------
    vectors
        (n, D) float16.
    classes
        (n,) int64, 0..K-1: the most probable class.
    allowed
        (n,) int32, bit k set where class k (from 0) is allowed.
    weight
        (n,) float32, of the nucleus in the loss, before class weights.
    patch
        (n,) int64: number of its patch, over all sources.
    """

    vectors: np.ndarray
    classes: np.ndarray
    allowed: np.ndarray
    weight: np.ndarray
    patch: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    def take(self, rows: np.ndarray) -> Examples:
        """Select rows, by indices or a mask."""
        return Examples(*(array[rows] for array in (self.vectors, self.classes, self.allowed, self.weight, self.patch)))


def read_examples(sources: Sequence[TokenSource], taxonomy: Taxonomy, label_weight: str = "none") -> Examples:
    """Read the labelled nuclei of all sources; nuclei that are Unknown are left out.

    Parameters
    ----------
    sources
        At least one.
    taxonomy
        Of the labels.
    label_weight
        ``confidence``: a nucleus weighs by the confidence of its label.

    Raises
    ------
    UserError
        If labels and tokens do not belong together, tokens differ in kind, or no nucleus has a label.
    """
    stores = [TokenStore(source.tokens) for source in sources]
    token_identity(stores)
    parts, patches = [], 0
    for source, store in zip(sources, stores, strict=True):
        labels = nucleus_labels(store, source.labels, taxonomy)
        rows = np.flatnonzero(labels.classes > 0)
        allowed = labels.single if labels.allowed is None else labels.allowed
        weight = labels.confidence[rows] if label_weight == "confidence" else np.ones(len(rows), np.float32)
        # Bit 0 is the background, which a head does not have.
        classes, sets = labels.classes[rows].astype(np.int64) - 1, allowed[rows] >> 1
        parts.append(Examples(store.read(rows), classes, sets, weight, store.patch[rows] + patches))
        patches += len(store.offset) - 1
    names = ("vectors", "classes", "allowed", "weight", "patch")
    joined = Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    if not len(joined):
        raise UserError(f"classifier: no nucleus of {', '.join(store.sample for store in stores)} has a label")
    return joined


def token_identity(stores: Sequence[TokenStore]) -> dict[str, Any]:
    """Model and choice of tokens that all stores share.

    Raises
    ------
    UserError
        If they differ.
    """
    found = {
        (store.attrs["model"]["sha256"], store.attrs["tokens"], store.attrs["nuclei"], store.dim) for store in stores
    }
    if len(found) != 1:
        raise UserError(
            f"classifier: the tokens of {', '.join(str(store.path) for store in stores)} are not of one model and one "
            "choice of tokens; take them again with the same settings"
        )
    checkpoint, tokens, nuclei, dim = found.pop()
    model = stores[0].attrs["model"]
    return {"checkpoint": checkpoint, "tokens": tokens, "nuclei": nuclei, "dim": dim, **{
        key: model[key] for key in ("architecture", "precision")
    }}  # fmt: skip
