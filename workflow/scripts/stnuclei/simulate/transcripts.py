"""Transcripts of a simulated slide: those the count matrix holds, and those it must leave out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix

from stnuclei.simulate.segmentation import PIXEL_UM, Segmentation

#: Control features: name prefix, how many, feature type in the matrix, codeword category in transcripts.
CONTROLS: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "xoa1": (
        ("NegControlProbe_", 20, "Negative Control Probe", "negative_control_probe"),
        ("NegControlCodeword_05", 41, "Negative Control Codeword", "negative_control_codeword"),
        ("BLANK_0", 60, "Blank Codeword", "unassigned_codeword"),
    ),
    "xoa3": (
        ("NegControlProbe_000", 20, "Negative Control Probe", "negative_control_probe"),
        ("NegControlCodeword_05", 41, "Negative Control Codeword", "negative_control_codeword"),
        ("UnassignedCodeword_03", 60, "Unassigned Codeword", "unassigned_codeword"),
    ),
}


@dataclass(frozen=True)
class Features:
    """Rows of the count matrix: genes first, then controls.

    Parameters
    ----------
    names, types, categories
        One entry a feature: its name, the matrix' feature type, and the codeword category.
    genes
        How many of them are genes.
    """

    names: list[str]
    types: list[str]
    categories: list[str]
    genes: int


def features(genes: list[str], layout: str) -> Features:
    """Features of a panel under a layout (``xoa1`` or ``xoa3``)."""
    controls = [
        (f"{prefix}{k:02d}", kind, category) for prefix, n, kind, category in CONTROLS[layout] for k in range(1, n + 1)
    ]
    names, types, categories = zip(*controls, strict=True)
    return Features(
        [*genes, *names],
        ["Gene Expression"] * len(genes) + list(types),
        ["predesigned_gene"] * len(genes) + list(categories),
        len(genes),
    )


def scatter(
    counts: csr_matrix, panel: Features, cells: Segmentation, rng: np.random.Generator, nuclear: float = 0.68
) -> pd.DataFrame:
    """Assign to patches every counted transcript, and those that do not count.

    Parameters
    ----------
    counts
        Genes of the cells, (cells, genes): exactly the transcripts with quality 20 and more that lie in a cell.
    panel
        Names behind the columns, and the controls.
    cells
        Masks in morphology px.
    rng
        Where the numbers come from.
    nuclear
        Share of a cell's transcripts that lie in its nucleus.

    Returns
    -------
    One row a transcript: ``cell`` (row of the cell, -1 none), ``feature``, ``x, y`` (um), ``z`` (um), ``qv``,
    ``in_nucleus``, ``nucleus_distance`` (um), in the order of fields of view.
    """
    entries = counts.tocoo()
    cell, gene = (np.repeat(axis, entries.data) for axis in (entries.row, entries.col))
    counted = len(cell)
    # Transcripts of low quality follow the good ones; controls are rare and anywhere; some lie outside cells.
    low = rng.choice(counted, round(0.11 * counted))
    controls = rng.integers(panel.genes, len(panel.names), round(0.004 * counted))
    outside = gene[rng.choice(counted, round(0.035 * counted))]
    cell = np.concatenate([cell, cell[low], rng.choice(cell, len(controls)), np.full(len(outside), -1)])
    feature = np.concatenate([gene, gene[low], controls, outside])
    qv = np.full(len(cell), 40.0)
    good = 40 - rng.exponential(6.0, len(cell))
    qv = np.where(rng.uniform(size=len(cell)) < 0.72, qv, np.clip(good, 20, 40))
    qv[counted : counted + len(low)] = rng.uniform(0, 19.9, len(low))
    x, y = _positions(cell, cells, nuclear, rng)
    frame = pd.DataFrame({"cell": cell, "feature": feature, "x": x, "y": y, "qv": qv.astype(np.float32)})
    frame["z"] = np.clip(rng.normal(14.0, 2.2, len(frame)), 8, 22)
    _annotate(frame, cells)
    fov = (frame.y // 200).astype(int) * 100 + (frame.x // 200).astype(int)
    return frame.iloc[np.lexsort([frame.x, frame.y // 5, fov])].reset_index(drop=True)


def _positions(
    cell: np.ndarray, cells: Segmentation, nuclear: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random points of each transcript's cell (or of no cell), at 1/64 um like the instrument's; float64 um."""
    width = cells.cell_mask.shape[1]
    nucleus_owner = np.concatenate([[0], cells.nucleus_cell + 1])[cells.nucleus_mask]
    in_cell = np.where(cells.nucleus_mask > 0, 0, cells.cell_mask)
    px = np.empty(len(cell), np.int64)
    wants = rng.uniform(size=len(cell)) < nuclear
    has_nucleus = np.append(np.bincount(nucleus_owner.ravel(), minlength=len(cells.cell_types) + 1)[1:] > 0, False)
    has_rest = np.append(np.bincount(in_cell.ravel(), minlength=len(cells.cell_types) + 1)[1:] > 0, False)
    inside = (cell >= 0) & has_nucleus[cell] & (wants | ~has_rest[cell])
    rest = (cell >= 0) & ~inside
    for mask, who in ((nucleus_owner, inside), (in_cell, rest)):
        px[who] = _pick(mask, cell[who] + 1, rng)
    empty = np.flatnonzero(cells.cell_mask.ravel() == 0)
    px[cell < 0] = rng.choice(empty, int((cell < 0).sum()))
    x, y = (px % width + rng.uniform(0.02, 0.98, len(px)), px // width + rng.uniform(0.02, 0.98, len(px)))
    return tuple(np.clip(np.round(v * PIXEL_UM * 64) / 64, 1e-3, None) for v in (x, y))


def _pick(mask: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random flat index of `mask` for every wanted label."""
    where = np.flatnonzero(mask.ravel())
    owner = mask.ravel()[where]
    where = where[np.argsort(owner, kind="stable")]
    size = np.bincount(owner, minlength=int(label.max(initial=0)) + 1)
    start = np.concatenate([[0], np.cumsum(size)])
    return where[start[label] + (rng.uniform(size=len(label)) * size[label]).astype(np.int64)]


def _annotate(frame: pd.DataFrame, cells: Segmentation) -> None:
    """Add overlap with a nucleus and distance to the nearest one to each transcript; on every fourth pixel."""
    j = np.minimum((frame.x / PIXEL_UM).astype(int), cells.nucleus_mask.shape[1] - 1)
    i = np.minimum((frame.y / PIXEL_UM).astype(int), cells.nucleus_mask.shape[0] - 1)
    frame["in_nucleus"] = (cells.nucleus_mask[i, j] > 0).astype(np.uint8)
    distance = distance_transform_edt(cells.nucleus_mask[::4, ::4] == 0) * 4 * PIXEL_UM
    frame["nucleus_distance"] = np.where(frame.in_nucleus, 0, distance[i // 4, j // 4]).astype(np.float32)
