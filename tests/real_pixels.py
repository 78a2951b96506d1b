"""Xenium bundles of real H&E pixels and real count profiles, paired by class (see tests/data/README.md).

``python tests/real_pixels.py FOLDER`` writes ``nucls`` (ten patches in eight orientations) and ``nucls_held_out``
(the five others).
"""

from __future__ import annotations

import sys
from pathlib import Path

import anndata
import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import find_objects
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from paths import DATA
from stnuclei.simulate.images import write_ome
from stnuclei.simulate.segmentation import PIXEL_UM, Segmentation, _expand, _measure
from stnuclei.simulate.transcripts import features, scatter
from stnuclei.simulate.xenium import (
    cell_names,
    count_features,
    layout_of,
    write_cells,
    write_experiment,
    write_matrix,
    write_polygons,
    write_transcripts,
)

#: Pixel size that is stated for the H&E; that of the patches is not recorded, 0.25 um is what CellViT++ trains with.
HE_UM = 0.25
PATCHES = {
    "nucls": [f"train_{number}" for number in range(1, 11)],
    "nucls_held_out": [f"test_{number}" for number in range(1, 6)],
}
#: Point class of NuCLS -> our class.
CLASSES = {0: "Neoplastic", 1: "Connective", 2: "Inflammatory", 3: "Unknown"}
GAP_PX, BORDER_PX, VERTICES = 16, 64, 24


def make_bundle(folder: Path, name: str = "nucls", seed: int = 19, patches: int | None = None) -> pd.DataFrame:
    """Write the bundle of some patches (the first `patches`) into `folder`; gives cell_id and class of every cell."""
    rng = np.random.default_rng([seed, len(name)])
    folder.mkdir(parents=True)
    image, instances, classes = mosaic(PATCHES[name][:patches])
    cells = segmentation(instances, classes)
    counts, genes = draw_counts([str(kind) for kind in cells.cell_types], rng)
    form, panel = layout_of("xoa3"), features(genes, "xoa3")
    transcripts = scatter(counts, panel, cells, rng)
    counted = count_features(transcripts, len(cells.cell_types), panel)
    ids, prefix = cell_names(len(cells.cell_types), form, rng)
    write_cells(folder / "cells.parquet", cells, counted, panel, ids, form)
    write_matrix(folder / "cell_feature_matrix.h5", counted, panel, ids)
    write_polygons(folder / "nucleus_boundaries.parquet", cells.nucleus_polygons, cells.nucleus_cell, ids, form)
    write_polygons(folder / "cell_boundaries.parquet", cells.cell_polygons, np.arange(len(prefix)), ids, form)
    write_transcripts(folder / "transcripts.parquet", transcripts, panel, ids, form)
    facts = {"cells": len(ids), "genes": len(genes), "transcripts": len(transcripts), "transcripts_per_100um": 0.0}
    facts["transcripts_per_cell"] = len(transcripts) / len(ids)
    write_experiment(folder / "experiment.xenium", name, "Breast", facts, form)
    write_ome(folder / f"{name}_he_image.ome.tif", image, HE_UM, f"{name} H&E", jpeg=90)
    scale = HE_UM / PIXEL_UM
    (folder / f"{name}_he_imagealignment.csv").write_text(f"{scale!r},0.0,0.0\n0.0,{scale!r},0.0\n0.0,0.0,1.0\n")
    truth = pd.DataFrame({"cell_id": ids, "label": cells.cell_types})
    truth.to_csv(folder / "annotation.csv", index=False)
    names = sorted(set(cells.cell_types))
    pd.DataFrame({"label": names, "class": names}).to_csv(folder / "annotation_classes.tsv", sep="\t", index=False)
    return truth


def read_patch(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (256, 256, 3) RGB, instances (256, 256), and the class of instance k at index k."""
    folder = DATA / "nucls"
    image = cv2.cvtColor(cv2.imread(str(folder / f"{name}.png")), cv2.COLOR_BGR2RGB)
    instances = cv2.imread(str(folder / f"{name}_instances.png"), cv2.IMREAD_UNCHANGED).astype(np.int32)
    points = pd.read_csv(folder / f"{name}_points.csv")
    count = int(instances.max())
    rows, columns = np.indices(instances.shape)
    area = np.maximum(np.bincount(instances.ravel(), minlength=count + 1), 1)
    x = np.bincount(instances.ravel(), columns.ravel(), count + 1) / area
    y = np.bincount(instances.ravel(), rows.ravel(), count + 1) / area
    distance, nearest = cKDTree(points[["x", "y"]]).query(np.column_stack([x, y]))
    kinds = np.array([CLASSES[kind] for kind in points["class"]], dtype=object)[nearest]
    kinds[distance > 12] = "Unknown"  # 3 um: a nucleus without a point of its own
    return image, instances, kinds


def mosaic(names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All patches in eight orientations on white: pixels, instances from 1, and their classes (index 0: background)."""
    side = 256 + GAP_PX
    shape = (2 * BORDER_PX + len(names) * side, 2 * BORDER_PX + 8 * side)
    image, instances = np.full((*shape, 3), 243, np.uint8), np.zeros(shape, np.int32)
    classes: list[str] = [""]
    for row, name in enumerate(names):
        pixels, ids, kinds = read_patch(name)
        for column in range(8):
            box = np.s_[BORDER_PX + row * side :, BORDER_PX + column * side :]
            turned, turned_ids = (np.rot90(array, column % 4) for array in (pixels, ids))
            if column >= 4:
                turned, turned_ids = turned[:, ::-1], turned_ids[:, ::-1]
            image[box][:256, :256] = turned
            instances[box][:256, :256] = np.where(turned_ids > 0, turned_ids + len(classes) - 1, 0)
            classes += list(kinds[1:])
    return image, instances, np.array(classes, dtype=object)


def segmentation(instances: np.ndarray, classes: np.ndarray) -> Segmentation:
    """Nuclei and cells on the morphology grid; each nucleus is a cell of its own."""
    scale = HE_UM / PIXEL_UM
    shape = tuple(int(np.ceil(side * scale)) for side in instances.shape)
    mask, polygons, kept = np.zeros(shape, np.int32), [], []
    for label, box in enumerate(find_objects(instances), start=1):
        ring = box and outline(instances[box] == label, (box[1].start, box[0].start), scale)
        if ring is not None:
            polygons.append(ring)
            kept.append(label)
    for number, ring in enumerate(polygons, start=1):
        cv2.fillPoly(mask, [ring[:-1].astype(np.int32)], number)
    mask = mask.astype(np.uint32)
    owner = np.arange(len(polygons))
    types = [str(classes[label]) for label in kept]
    cells = _expand(mask, owner, 5.0)
    return _measure(polygons, owner, np.array(kept), types, mask, cells, VERTICES)


def outline(window: np.ndarray, corner: tuple[int, int], scale: float) -> np.ndarray | None:
    """Closed ring (VERTICES + 1, 2) int64 of one nucleus in morphology px; None where it is a speck."""
    found, _ = cv2.findContours(window.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(found, key=cv2.contourArea)[:, 0] + np.array(corner) + 0.5
    if cv2.contourArea(points.astype(np.float32)) < 16:  # 1 um2
        return None
    closed = np.vstack([points, points[:1]])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    steps = np.linspace(0, way[-1], VERTICES, endpoint=False)
    ring = np.column_stack([np.interp(steps, way, closed[:, axis]) for axis in (0, 1)]) * scale
    ring = np.round(ring).astype(np.int64)
    return np.vstack([ring, ring[:1]])


def draw_counts(classes: list[str], rng: np.random.Generator) -> tuple[csr_matrix, list[str]]:
    """Counts (cells, genes) drawn from real cells of the same class: the mean of three profiles, a real total."""
    source = anndata.read_h5ad(DATA / "janesick_breast" / "rep1_matched_3878cells_313genes.h5ad")
    table = pd.read_csv(DATA / "janesick_breast" / "janesick2023_xenium_breast_labels.tsv", sep="\t")
    kind = source.obs["cell_type"].map(dict(zip(table["label"], table["pannuke_class"], strict=True))).to_numpy()
    counts = np.asarray(source.X.todense() if hasattr(source.X, "todense") else source.X, dtype=np.float64)
    fine = source.obs["cell_type"].to_numpy().astype(str)
    rows = np.zeros((len(classes), counts.shape[1]), np.int32)
    for index, name in enumerate(classes):
        # A nucleus whose class is not known gets the profile of any cell.
        first = int(rng.choice(np.flatnonzero(kind == name) if name != "Unknown" else len(kind)))
        alike = rng.choice(np.flatnonzero(fine == fine[first]), 3)
        profile = counts[alike].sum(axis=0) + 1e-9
        rows[index] = rng.multinomial(max(15, int(counts[first].sum())), profile / profile.sum())
    return csr_matrix(rows), list(source.var_names)


if __name__ == "__main__":
    for made in PATCHES:
        make_bundle(Path(sys.argv[1]) / made, made)
