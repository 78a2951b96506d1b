"""Counts of the simulated cells: negative binomial around programmes, with ambient and neighbours' transcripts."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from stnuclei.simulate.organs import Organ
from stnuclei.simulate.panel import panel, programmes, weights

#: Transcripts of a typical cell, relative to the tissue's median: big cells hold more.
_DEPTH = {
    "Tumour": 1.5, "Proliferating tumour": 1.8, "CD4 T cell": 0.6, "CD8 T cell": 0.6, "B cell": 0.6,
    "Plasma cell": 1.0, "Macrophage": 1.0, "Mast cell": 0.8, "Endothelial": 0.9, "Pericyte": 0.8, "Dead": 0.3,
}  # fmt: skip

_MEDIAN_TRANSCRIPTS = 170.0  # of a cell
_AMBIENT, _SPILL = 0.05, 0.12  # fractions of a cell's transcripts from the whole slide and from its nearest neighbours
_EMPTY = 0.02  # fraction of cells without any transcript


def profiles(organ: Organ) -> tuple[list[str], list[str], np.ndarray]:
    """Expression profile of each cell type.

    Returns
    -------
    Cell types, genes, and float64 (types, genes): fractions of a cell's transcripts, each row summing to 1.
    """
    genes, types = panel(organ), sorted(organ.classes())
    column_of = {gene: k for k, gene in enumerate(genes)}
    members = programmes(organ)
    # One fixed strength a gene, the same in every slide of the organ: some markers are loud, some faint.
    wobble = np.exp(0.30 * np.random.default_rng(2604).standard_normal(len(genes)))
    matrix = np.full((len(types), len(genes)), 0.002)
    for row, cell_type in enumerate(types):
        for name, weight in weights(organ, cell_type).items():
            columns = [column_of[gene] for gene in members[name]]
            loudness = np.linspace(1.5, 0.5, len(columns))  # programmes name their loudest genes first
            matrix[row, columns] += weight * loudness * wobble[columns]
    return types, genes, matrix / matrix.sum(axis=1, keepdims=True)


def draw_counts(
    organ: Organ, cell_types: list[str], xy: np.ndarray, rng: np.random.Generator
) -> tuple[csr_matrix, list[str]]:
    """Draw the count matrix of one slide.

    Parameters
    ----------
    organ
        Gives panel and profiles.
    cell_types
        Fine type of every cell.
    xy
        Centroids in um, (n, 2).
    rng
        Where the numbers come from.

    Returns
    -------
    Counts, int32 CSR (cells, genes), and the genes.
    """
    types, genes, profile = profiles(organ)
    row = np.array([types.index(cell_type) for cell_type in cell_types])
    expected = profile[row] * rng.gamma(2.0, 0.5, (len(row), len(genes)))  # negative binomial: dispersion 0.5 a gene
    near = cKDTree(xy).query(xy, k=min(4, len(xy)))[1][:, 1:]
    mean = profile[row].mean(axis=0)
    fraction = (1 - _AMBIENT - _SPILL) * expected + _AMBIENT * mean + _SPILL * profile[row[near]].mean(axis=1)
    size = np.array([_DEPTH.get(cell_type, 0.9) for cell_type in cell_types])
    size = _MEDIAN_TRANSCRIPTS * size * np.exp(0.45 * rng.standard_normal(len(row)))
    size[rng.permutation(len(row))[: round(_EMPTY * len(row))]] = 0.0
    counts = rng.poisson(fraction * size[:, None]).astype(np.int32)
    return csr_matrix(counts), genes
