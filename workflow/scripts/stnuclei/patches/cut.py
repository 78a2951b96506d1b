"""Cutting of a slide into patches, block by block: nuclei painted, pixels read once, every loss counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stnuclei.config.inputs import CutSettings
from stnuclei.errors import UserError
from stnuclei.files import scratch_folder
from stnuclei.patches.accounting import Accounting, Fate
from stnuclei.patches.bands import BandNuclei, NucleusBands
from stnuclei.patches.grid import PatchGrid, TissueClasses
from stnuclei.patches.instance_map import number_patch
from stnuclei.patches.verdicts import Verdict, tissue_verdict, within_regions
from stnuclei.patches.write import PatchBlock, write_patches
from stnuclei.progress import Progress
from stnuclei.slides.prefetch import prefetch_map
from stnuclei.slides.regions import pixel_ratio, read_region
from stnuclei.slides.slide import SlideOrArray

if TYPE_CHECKING:
    from stnuclei.io.regions import Regions
    from stnuclei.io.sample import Sample


@dataclass(frozen=True)
class Cutting:
    """All that cutting a block needs beside its nuclei.

    Parameters
    ----------
    slide
        (Y, X, 3) uint8, read by slices.
    grid
        The patches.
    ratio
        he_px a patch_px is wide.
    verdict
        Judges patches by the tissue map: (n, 2) corners -> (n,) `Fate` codes, 0 kept.
    min_nuclei
        A patch of fewer is dropped.
    drop_cut
        Leave nuclei cut by a patch's edge out.
    """

    slide: SlideOrArray
    grid: PatchGrid
    ratio: float
    verdict: Verdict
    min_nuclei: int
    drop_cut: bool


@dataclass(frozen=True)
class Cut:
    """Result of cutting a block: its patches (None where all were dropped), the fates of patches and nuclei."""

    block: PatchBlock | None
    patches: np.ndarray
    nuclei: np.ndarray
    nuclei_fate: np.ndarray


def cut_patches(
    sample: Sample,
    out: str | Path,
    *,
    tissue_map: TissueClasses | None = None,
    correction: np.ndarray | None = None,
    regions: Regions | None = None,
    seed: int = 0,
    threads: int = 1,
    **settings: Any,
) -> dict[str, Any]:
    """Cut a sample's slide into patches with the ids of their nuclei and write the patch store.

    Parameters
    ----------
    sample
        From `stnuclei.io.open_sample`.
    out
        The store's folder.
    tissue_map
        From `stnuclei.quality.find_tissue`; none: the whole slide counts as tissue.
    correction
        (3, 3) he_px -> he_px that moves the nuclei (`stnuclei.quality.load_correction`).
    regions
        From `stnuclei.io.regions.read_regions`: patches whose centre lies outside are dropped; none: all.
    seed
        Written down with the settings; nothing here is random.
    threads
        Blocks worked on at once. The store does not depend on it.
    **settings
        um_per_px, size, stride, min_tissue, min_nuclei, border, ...: see `CutSettings`.

    Returns
    -------
    The counts in the store's attributes: patches, grid, dropped (by reason), nuclei (rows), nuclei_in, nuclei_placed,
    nuclei_lost (by reason), bytes, bytes_per_patch, seconds.

    Raises
    ------
    UserError
        If a setting cannot be used, the pixel sizes do not go together, or no patch is left.
    """
    chosen = CutSettings(**settings)
    chosen.check_slide(sample.name, float(sample.um_per_px))
    cutting = _prepare(sample, tissue_map, regions, chosen)
    accounting = Accounting(len(sample.boundaries), cutting.grid)
    inputs = {"tissue_map": tissue_map is not None, "seed": seed, **_frame_of(correction, regions)}
    cells = sample.cell_ids
    with scratch_folder(out) as folder:
        nuclei = NucleusBands(cutting.grid.band_edges(), folder)
        placed = nuclei.deal(sample.boundaries, _to_patches(correction, cutting.ratio), _cells(sample, cells))
        written = write_patches(
            out,
            _blocks(cutting, nuclei, placed, accounting, f"cutting {sample.name}", threads),
            _attributes(sample, len(cells), cutting, {**chosen.to_dict(), **inputs}),
            size=chosen.size,
            compress_image=chosen.compress_image,
            extra=lambda: {"counts": accounting.finished(sample.name)},
        )
    print(accounting.sentence(sample.name, written["counts"]), flush=True)
    return written["counts"]


def _frame_of(correction: np.ndarray | None, regions: Regions | None) -> dict[str, Any]:
    """The correction and the regions as the store's attributes have them."""
    matrix = None if correction is None else np.asarray(correction, float).tolist()
    return {"correction": matrix, **({} if regions is None else {"regions": list(regions.names)})}


def _prepare(
    sample: Sample, tissue_map: TissueClasses | None, regions: Regions | None, settings: CutSettings
) -> Cutting:
    """The grid and the verdict on patches."""
    ratio = pixel_ratio(float(sample.um_per_px), settings.um_per_px)
    height, width = (max(1, math.floor(length / ratio + 1e-6)) for length in sample.he.shape[:2])
    grid = PatchGrid(width, height, settings.size, settings.stride)
    verdict = tissue_verdict(tissue_map, grid.size, ratio, settings)
    return Cutting(
        slide=sample.he,
        grid=grid,
        ratio=ratio,
        verdict=verdict if regions is None else within_regions(regions, verdict, grid.size, ratio),
        min_nuclei=settings.min_nuclei,
        drop_cut=settings.border == "drop",
    )


def _to_patches(correction: np.ndarray | None, ratio: float) -> np.ndarray:
    """Matrix (3, 3) that takes nuclei from he_px to patch_px."""
    return np.diag([1 / ratio, 1 / ratio, 1.0]) @ (np.eye(3) if correction is None else np.asarray(correction))


def _cells(sample: Sample, ids: pa.Array) -> np.ndarray:
    """Row of the table for each nucleus, int32; -1 where it has no cell."""
    if pc.count_distinct(ids).as_py() < len(ids):
        raise UserError(f"sample {sample.name}: cell ids occur twice in its table; read the sample again")
    return sample.boundaries.rows_in(ids).astype(np.int32)


def _attributes(sample: Sample, n_cells: int, cutting: Cutting, settings: dict[str, Any]) -> dict[str, Any]:
    um = float(sample.um_per_px)
    return {
        "sample": sample.name,
        "tissues": [sample.tissue],
        "um_per_px": um if cutting.ratio == 1 else settings["um_per_px"],
        "he_um_per_px": um,
        "he_px_per_px": cutting.ratio,
        "n_cells": n_cells,
        "settings": settings,
    }


def _blocks(
    cutting: Cutting,
    nuclei: NucleusBands,
    placed: Iterable[tuple[int, np.ndarray]],
    accounting: Accounting,
    label: str,
    threads: int,
) -> Iterator[PatchBlock]:
    """Patches of all blocks in order; the next blocks are worked on while these are written."""
    for first, bounds in placed:
        accounting.place(first, bounds)
    bar = Progress(len(cutting.grid), label, "patches")
    for cut in prefetch_map(lambda job: cut_block(cutting, *job), _jobs(cutting.grid, nuclei), threads):
        accounting.add(cut.patches, cut.nuclei, cut.nuclei_fate)
        bar.update(len(cut.patches))
        if cut.block is not None:
            yield cut.block
    bar.close()


def _jobs(grid: PatchGrid, nuclei: NucleusBands) -> Iterator[tuple[BandNuclei, np.ndarray]]:
    """Each block with the nuclei of its band."""
    for number, blocks in enumerate(grid.bands()):
        band = nuclei.read(number)
        for corners in blocks:
            yield band, corners


def cut_block(cutting: Cutting, nuclei: BandNuclei, corners: np.ndarray) -> Cut:
    """Cut the patches of one block.

    Parameters
    ----------
    cutting
        The slide and the settings.
    nuclei
        All that meet the block, and others.
    corners
        (n, 2) int64, top-left (x, y) of the patches, patch_px.
    """
    size, outlines = cutting.grid.size, nuclei.outlines
    (x0, y0), (x1, y1) = corners.min(0).tolist(), (corners.max(0) + size).tolist()
    rows = outlines.within(x0, y0, x1, y1)
    labels = outlines.paint(rows, x0, y0, x1 - x0, y1 - y0)
    fates = cutting.verdict(corners)
    fate_of = np.full(len(rows), Fate.NO_PIXEL, np.uint8)
    bounds, slot = outlines.bounds[rows], np.zeros(len(rows) + 1, np.int32)
    kept: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
    for i, (x, y) in enumerate(corners.tolist()):
        ids = np.empty((size, size), np.uint16)
        view = labels[y - y0 : y - y0 + size, x - x0 : x - x0 + size]
        shown, centroids, cut_off = number_patch(view, bounds, x, y, cutting.drop_cut, slot, ids)
        _check_ids(len(shown), size)
        if fates[i] == Fate.KEPT and len(shown) < cutting.min_nuclei:
            fates[i] = Fate.FEW_NUCLEI
        fate_of[shown] = np.minimum(fate_of[shown], fates[i])
        fate_of[cut_off] = np.minimum(fate_of[cut_off], fates[i] or Fate.CUT)
        if fates[i] == Fate.KEPT:
            kept.append((i, ids, rows[shown], centroids))
    block = _with_pixels(cutting, nuclei, corners, kept) if kept else None
    return Cut(block, fates, nuclei.row[rows], fate_of)


def _check_ids(n: int, size: int) -> None:
    if n > np.iinfo(np.uint16).max:
        raise UserError(f"patches: {n:,} nuclei in one patch of {size} px are more than 65,535; choose a smaller size")


def _with_pixels(
    cutting: Cutting,
    nuclei: BandNuclei,
    corners: np.ndarray,
    kept: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]],
) -> PatchBlock:
    """Read the pixels the kept patches need, in one go, and cut them."""
    size = cutting.grid.size
    origin = corners[[i for i, *_ in kept]]
    (x0, y0), (x1, y1) = origin.min(0).tolist(), (origin.max(0) + size).tolist()
    pixels = read_region(cutting.slide, x0, y0, x1 - x0, y1 - y0, cutting.ratio)
    images = np.empty((len(kept), size, size, 3), np.uint8)
    for i, (x, y) in enumerate((origin - (x0, y0)).tolist()):
        images[i] = pixels[y : y + size, x : x + size]
    rows = np.concatenate([shown for _, _, shown, _ in kept])
    return PatchBlock(
        image=images,
        instances=np.stack([ids for _, ids, _, _ in kept]),
        origin=origin.astype(np.int32),
        tissue=np.zeros(len(kept), np.uint8),
        count=np.array([len(shown) for _, _, shown, _ in kept], np.int64),
        cell_index=nuclei.cell[rows],
        nucleus_index=nuclei.row[rows],
        centroid=np.concatenate([centroids for *_, centroids in kept]),
    )
