"""Stores in memory, with what the scores ask of patch and prediction stores."""

from __future__ import annotations

import numpy as np


class Store:
    """Patches and predictions in one: label maps, classes, probabilities."""

    um_per_px = 0.25

    def __init__(self, maps, classes=None, tissues=("Colon",), tissue=None, probability=0.75):
        self.instances = [np.asarray(m, np.uint16) for m in maps]
        counts = [int(m.max(initial=0)) for m in self.instances]
        self.offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        total = int(self.offset[-1])
        self.classes = np.ones(total, np.int8) if classes is None else np.asarray(classes, np.int8)
        self.cell_index = self.nucleus_index = np.arange(total, dtype=np.int32)
        self.tissues, self.probability = list(tissues), probability
        self.tissue = np.zeros(len(maps), np.uint8) if tissue is None else np.asarray(tissue, np.uint8)
        self.image = [np.full((*m.shape, 3), 200, np.uint8) for m in self.instances]

    def __len__(self):
        return len(self.instances)

    def nuclei(self, i):
        own = self.classes[self.offset[i] : self.offset[i + 1]]
        rows = np.zeros(len(own), [("class", "i1"), ("class_probability", "f4")])
        rows["class"], rows["class_probability"] = own, self.probability
        return rows


def grid(n=4, size=64, side=10):
    """`n` x `n` squares of `side` px."""
    out = np.zeros((size, size), np.uint16)
    step = size // n
    for k in range(n * n):
        y, x = (k // n) * step + 2, (k % n) * step + 2
        out[y : y + side, x : x + side] = k + 1
    return out
