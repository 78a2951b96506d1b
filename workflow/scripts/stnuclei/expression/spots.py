"""HEST-1k samples of spots (Visium and the like): a patch round each spot, and the spots' counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData, read_h5ad

from stnuclei.errors import UserError
from stnuclei.expression.counting import PatchCounts
from stnuclei.io.features import is_control_name
from stnuclei.patches import PatchBlock, write_patches
from stnuclei.progress import progress
from stnuclei.slides import Slide, open_slide
from stnuclei.slides.regions import pixel_ratio, read_region

_BLOCK = 64  # patches held at a time


@dataclass(frozen=True)
class Spots:
    """Spots of one slide.

    Parameters
    ----------
    name
        Name of the sample in messages and stores.
    counts
        CSR int32 (spots, genes), controls left out.
    genes
        Names, each once.
    xy
        (spots, 2) float64 centres, he_px.
    slide
        The H&E slide.
    um_per_px
        Size of its pixels, um.
    diameter_um
        Of a spot.
    distance_um
        From a spot's centre to the nearest other one's.
    """

    name: str
    counts: sp.csr_matrix
    genes: np.ndarray
    xy: np.ndarray
    slide: Slide
    um_per_px: float
    diameter_um: float
    distance_um: float


def read_spots(folder: str | Path, id: str, name: str | None = None) -> Spots:  # noqa: A002 the dataset's word for it
    """Read the spots of one HEST-1k sample: ``st/{id}.h5ad``, ``metadata/{id}.json``, ``wsis/{id}.tif``.

    Spots off the tissue (``in_tissue`` 0) and control features are left out; a gene named twice is added up.

    Parameters
    ----------
    folder
        HEST-1k's folder.
    id
        The sample's id.
    name
        Its name in messages and stores (the id).

    Raises
    ------
    UserError
        If a file is missing or damaged, the pixel size or the spots' size is not said, or spots lie off the slide.
    """
    folder, name = Path(folder), name or id
    files = {
        subfolder: folder / subfolder / f"{id}.{end}"
        for subfolder, end in (("st", "h5ad"), ("metadata", "json"), ("wsis", "tif"))
    }
    for subfolder, path in files.items():
        if not path.is_file():
            raise UserError(f"spots {name}: {path} is not there; download {subfolder} of sample {id} of HEST-1k")
    table = _tissue_spots(files["st"])
    slide = open_slide(files["wsis"])
    try:
        metadata = json.loads(files["metadata"].read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{files['metadata']}: is no JSON ({str(error)[:80]}); download it again") from error
    um = _positive(metadata, "pixel_size_um_estimated")
    if um is None:
        raise UserError(f"{files['metadata']}: pixel_size_um_estimated is not said, and nothing else is to be trusted")
    diameter = _positive(metadata, "spot_diameter") or _diameter_px(table) * um
    if not diameter > 0:
        raise UserError(f"{files['metadata']}: spot_diameter is not said, nor spot_diameter_fullres in {files['st']}")
    xy = np.asarray(table.obsm["spatial"], np.float64)
    _check_positions(files, xy, slide, diameter / um / 2)
    counts, genes = _counts(files["st"], table)
    return Spots(name, counts, genes, xy, slide, um, diameter, _nearest(xy) * um)


def _check_positions(files: dict[str, Path], xy: np.ndarray, slide: Slide, radius: float) -> None:
    """Refuse spots that do not touch the slide: bins at its edge have their centre up to half a bin beyond."""
    height, width = slide.shape[:2]
    outside = ~((xy > -radius) & (xy < (width + radius, height + radius))).all(axis=1)
    if outside.any():
        raise UserError(
            f"{files['st']}: {int(outside.sum()):,} of {len(xy):,} spots lie off the slide {files['wsis'].name} "
            f"({width} x {height} px); table and slide are of different samples"
        )


def _tissue_spots(path: Path) -> AnnData:
    try:
        table = read_h5ad(path)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0][:120]}); download it again") from error
    if "spatial" not in table.obsm:
        raise UserError(f"{path}: has no obsm['spatial'], the spots' places on the slide; download it again")
    if "in_tissue" in table.obs:
        table = table[table.obs["in_tissue"].to_numpy().astype(int) == 1]
    if not table.n_obs:
        raise UserError(f"{path}: no spot lies in tissue (in_tissue); choose another sample")
    return table


def _positive(metadata: dict[str, Any], key: str) -> float | None:
    value = metadata.get(key)
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def _diameter_px(table: AnnData) -> float:
    stored = table.uns.get("spatial", {})
    diameters = [entry.get("scalefactors", {}).get("spot_diameter_fullres") for entry in stored.values()]
    return float(next((diameter for diameter in diameters if diameter), 0.0))


def _nearest(xy: np.ndarray) -> float:
    from scipy.spatial import cKDTree

    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1])) if len(xy) > 1 else 0.0


def _counts(path: Path, table: AnnData) -> tuple[sp.csr_matrix, np.ndarray]:
    counts = sp.csr_matrix(table.X)
    if counts.data.size and (counts.data.min() < 0 or np.any(counts.data != np.floor(counts.data))):
        raise UserError(f"{path}: X holds values that are no counts; give the sample's raw counts")
    names = np.asarray(table.var_names.astype(str))
    kept = np.flatnonzero(~is_control_name(names))
    code, genes = pd.factorize(names[kept])
    gather = sp.csr_matrix((np.ones(len(kept)), (kept, code)), shape=(len(names), len(genes)))
    return (counts @ gather).astype(np.int32).tocsr(), np.asarray(genes)


def cut_spots(spots: Spots, out: str | Path, *, tissue: str, um_per_px: float = 0.5, size: int = 224) -> dict[str, Any]:
    """Cut a patch round each spot and write them as a patch store without nuclei.

    Parameters
    ----------
    spots
        From `read_spots`.
    out
        The store's folder.
    tissue
        Written down with the patches.
    um_per_px, size
        Pixel size (um) and side (px) of the patches; HEST-1k's own patches have 0.5 and 224.

    Returns
    -------
    The store's attributes; patch i is spot i.

    Raises
    ------
    UserError
        If a patch would not hold its spot, or the slide is coarser than half the pixel size asked for.
    """
    if size * um_per_px < spots.diameter_um:
        raise UserError(
            f"spots {spots.name}: patches of {size * um_per_px:g} um do not hold a spot of {spots.diameter_um:g} um; "
            "set expression.spot_patches.size or .um_per_px higher"
        )
    if spots.um_per_px > 2 * um_per_px:
        raise UserError(
            f"spots {spots.name}: the slide has {spots.um_per_px:.3f} um/px, {um_per_px:g} cannot be made from it; set "
            "expression.spot_patches.um_per_px higher"
        )
    ratio = pixel_ratio(spots.um_per_px, um_per_px)
    origin = np.round(spots.xy / ratio - size / 2).astype(np.int32)
    attrs = {
        "sample": spots.name,
        "tissues": [tissue],
        "um_per_px": spots.um_per_px if ratio == 1 else um_per_px,
        "he_um_per_px": spots.um_per_px,
        "he_px_per_px": ratio,
        "n_cells": 0,
        "settings": {"size": size, "spot_um": spots.diameter_um, "distance_um": spots.distance_um},
    }
    return write_patches(out, _blocks(spots, origin, ratio, size), attrs, size=size)


def _blocks(spots: Spots, origin: np.ndarray, ratio: float, size: int) -> Iterator[PatchBlock]:
    nothing = np.zeros(0, np.int32)
    starts = range(0, len(origin), _BLOCK)
    for begin in progress(starts, label=f"cutting {spots.name}", unit=f"blocks of {_BLOCK}"):
        corners = origin[begin : begin + _BLOCK]
        images = [read_region(spots.slide, int(x), int(y), size, size, ratio) for x, y in corners]
        yield PatchBlock(
            image=np.stack(images),
            instances=np.zeros((len(corners), size, size), np.uint16),
            origin=corners,
            tissue=np.zeros(len(corners), np.uint8),
            count=np.zeros(len(corners), np.int64),
            cell_index=nothing,
            nucleus_index=nothing,
            centroid=np.zeros((0, 2), np.float32),
        )


def spot_counts(spots: Spots) -> PatchCounts:
    """The spots' counts as those of their patches; a spot's number of cells is not known, -1."""
    info = {"counted": "spots", "spot_um": spots.diameter_um, "distance_um": spots.distance_um}
    return PatchCounts(spots.counts, np.full(len(spots.xy), -1, np.int64), info)
