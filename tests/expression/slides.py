"""Small slides for the expression tests: a sample in memory, its patches, its table."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from shapely.geometry import Point

from samples import make_sample, noise
from stnuclei.expression import PatchSource, count_cells, patch_table, write_table
from stnuclei.expression.counting import PatchCounts
from stnuclei.patches import PatchBlock, PatchStore, cut_patches, write_patches


def slide_of_noise(width=700, height=500, n=400, genes=12, um_per_px=0.25, seed=0, name="fake"):
    """Cells anywhere on a slide of noise, some with a nucleus (and some nuclei without a cell)."""
    random = np.random.default_rng(seed)
    xy = random.uniform((6, 6), (width - 6, height - 6), (n, 2))
    ids = np.array([f"c{i}" for i in range(n)], dtype=object)
    with_nucleus = np.flatnonzero(random.uniform(size=n) < 0.9)
    geometry = [Point(*xy[i]).buffer(random.uniform(3, 6)) for i in with_nucleus]
    owner = [None if i % 17 == 0 else ids[i] for i in with_nucleus]
    counts = sp.csr_matrix(random.poisson(2.0, (n, genes)).astype(np.int32))
    table = ad.AnnData(counts, obs=pd.DataFrame({"cell_id": ids}, index=ids))
    table.var_names = [f"G{k}" for k in range(genes)]
    table.obsm["spatial"] = xy
    return make_sample(name, noise(height, width, random), table, geometry, owner, um_per_px)


def cut(sample, path: Path, **settings) -> PatchStore:
    """Patches of 64 px unless said otherwise."""
    cut_patches(sample, path, **{"size": 64, "stride": 64, "min_nuclei": 0, **settings})
    return PatchStore(path)


def visible_slide(folder: Path, name: str, donor: str, side: int = 12, seed: int = 0, px: int = 32) -> PatchSource:
    """A slide whose patches differ visibly in one thing, smooth over the tissue: how much of them is dark.

    Genes S0..S5 follow it up or down with noise; genes R0..R5 are drawn without regard to place. Both kinds span the
    same abundances. Every patch has about the same total, so that depth tells nothing.
    """
    random = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(side * side), side)
    phase = random.uniform(0, 2 * np.pi, 2)
    level = 0.5 + 0.45 * np.sin(2 * np.pi * x / side + phase[0]) * np.cos(2 * np.pi * y / side + phase[1])
    images = np.full((len(level), px, px, 3), 225, np.uint8)
    dark = random.uniform(size=images.shape[:3]) < 0.1 + 0.7 * level[:, None, None]
    images[dark] = (110, 70, 140)
    origin = (np.column_stack([x, y]) * px).astype(np.int32)
    nothing = np.zeros(0, np.int32)
    n = len(level)
    zeros = np.zeros((n, px, px), np.uint16)
    nuclei = (np.zeros(n, np.int64), nothing, nothing, np.zeros((0, 2), np.float32))
    block = PatchBlock(images, zeros, origin, np.zeros(n, np.uint8), *nuclei)
    attrs = {"sample": name, "tissues": ["Breast"], "um_per_px": 0.5, "he_px_per_px": 1.0, "n_cells": 0}
    write_patches(folder / name / "patches.zarr", [block], {**attrs, "settings": {"stride": px}}, size=px)
    loud = np.array([60, 30, 15, 60, 30, 15])
    slope = np.array([1, 1, 1, -1, -1, -1])
    structured = loud * np.exp(slope * 1.2 * (level[:, None] - 0.5))
    at_random = loud * np.exp(random.normal(0, 0.4, (n, 6)))
    counts = random.poisson(np.hstack([structured, at_random]))
    rest = np.maximum(2000 - counts.sum(axis=1), 0)
    counts = sp.csr_matrix(np.column_stack([counts, rest]).astype(np.int32))
    genes = [*(f"S{k}" for k in range(6)), *(f"R{k}" for k in range(6)), "REST"]
    counted = PatchCounts(counts, np.zeros(n, np.int64), {"counted": "made"})
    store = PatchStore(folder / name / "patches.zarr")
    table = patch_table(store, counted, genes, donor=donor, controls=3, seed=seed)
    write_table(table, folder / name / "expression.h5ad")
    return PatchSource(folder / name / "patches.zarr", folder / name / "expression.h5ad")


def table_of(sample, store, **settings):
    """Table of a fake sample's cells."""
    settings = {"donor": "d1", **settings}
    return patch_table(store, count_cells(sample, store), sample.table.var_names, **settings)
