"""Vectors of predicted nuclei: classes by a cell classifier, embeddings for the output."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stnuclei.cellvit.classifier import CellClassifier
from stnuclei.cellvit.nuclei import NucleiTable
from stnuclei.cellvit.nucleus_tokens import TokenGrid, nucleus_vectors


@dataclass(frozen=True)
class TokenUse:
    """Uses that a segmentation makes of the tokens.

    Parameters
    ----------
    classifier
        Gives the nuclei their classes; None: the network's own branch does.
    embedding
        Length of the vector that is kept of each nucleus; 0: none is.
    """

    classifier: CellClassifier | None = None
    embedding: int = 0

    def __bool__(self) -> bool:
        return self.classifier is not None or self.embedding > 0

    def classes(self, channels: int) -> int:
        """Number of classes, background counted, of a network with so many channels."""
        return channels if self.classifier is None else len(self.classifier.classes)


def classified(
    table: NucleiTable, instances: np.ndarray, grid: TokenGrid | None, classifier: CellClassifier | None
) -> NucleiTable:
    """Table with the classes of a cell classifier in the place of the network's own.

    Parameters
    ----------
    table
        Nuclei of a label map.
    instances
        (H, W) label map.
    grid
        Tokens of the picture.
    classifier
        None: the table is given back as it is.
    """
    if classifier is None:
        return table
    if grid is None:
        raise ValueError("a classifier needs the encoder's tokens")
    vectors = nucleus_vectors(grid, instances, table.id, table.bbox, table.centroid, classifier.tokens)
    probabilities = classifier.probabilities(vectors)
    chosen = probabilities[:, 1:].argmax(1).astype(np.int8) + np.int8(1)
    likeliest = probabilities[np.arange(len(chosen)), chosen]
    return replace(table, class_id=chosen, class_probability=likeliest, class_probabilities=probabilities)


def embeddings(
    table: NucleiTable, rows: np.ndarray, instances: np.ndarray, grid: TokenGrid | None, use: TokenUse
) -> np.ndarray:
    """Mean token of each nucleus, weighted by its pixels: (n, `use.embedding`) float16 for rows of a table."""
    if not use.embedding or grid is None:
        return np.zeros((len(rows), 0), np.float16)
    vectors = nucleus_vectors(grid, instances, table.id[rows], table.bbox[rows], table.centroid[rows], "nucleus")
    return vectors.astype(np.float16)
