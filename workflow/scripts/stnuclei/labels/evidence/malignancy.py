"""Which epithelium is malignant: a rank test calibrated on the panel's own epithelial genes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from stnuclei.labels.evidence.null_model import permutation_scores
from stnuclei.labels.evidence.smoothing import SimilarCells, group_means

_NORMAL = re.compile(r"normal|health|control|non-?\s?(?:malignan|diseas|tumou?r|cancer|neoplas)|^no(?:ne)?$|unaffected")
_TUMOUR = re.compile(r"cancer|tumou?r|malignan|carcinom|neoplas|metasta|melanoma|sarcoma|lymphoma|blastoma|glioma")
_LEAST_GENES = 15  # with fewer epithelial genes on the panel, the test could not find anything
_PERMUTATIONS = 999
_CELLS_AT_ONCE = 20_000
# Two groups of epithelium are told apart where their scores differ by more than chance does on both sides.
_CHANCE = float(norm.isf(0.05))


def slide_kind(disease: str | None) -> str:
    """``normal``, ``tumour`` or ``unsaid`` from the words of a samples table."""
    text = (disease or "").strip().lower()
    if _NORMAL.search(text):
        return "normal"
    return "tumour" if _TUMOUR.search(text) else "unsaid"


@dataclass(frozen=True)
class Malignancy:
    """Outcome of the test.

    Parameters
    ----------
    scores
        Standard score of each epithelial cell, float64: positive where its expression leans to genes of malignant
        cells.
    threshold
        Score above which a cell is malignant.
    slide
        Standard score of the clusters that lean so, together; NaN without any.
    chance
        Share of random pairings of genes and evidence in which the slide's score would be as high; NaN as above.
    present
        Whether the slide has malignant epithelium.
    genes
        Number of epithelial genes on the panel that the test used.
    why
        The decision in words.
    """

    scores: np.ndarray
    threshold: float
    slide: float
    chance: float
    present: bool
    genes: int
    why: str

    @property
    def malignant(self) -> np.ndarray:
        """Which of the epithelial cells are malignant, bool."""
        return (self.scores > self.threshold) & self.present


def malignant_epithelium(
    expression: SimilarCells,
    reference: np.ndarray,
    evidence: np.ndarray,
    genes: np.ndarray,
    cells: np.ndarray,
    clusters: np.ndarray,
    *,
    kind: str = "unsaid",
    level: float = 0.05,
    seed: int = 0,
) -> Malignancy:
    """Test epithelial cells for malignancy.

    Among the panel's epithelial genes, do those the cell expresses most above the slide's background lean to genes
    reported for malignant cells rather than for the tissue's normal epithelium? The standard score of the rank
    correlation, against random pairing of the same genes, answers it for every cell, so a panel full of cancer genes
    does not make every epithelium a tumour, nor does one loud gene.

    The slide is then tested as a whole: the clusters that lean to malignant genes are pooled, and the same is done
    with the evidence dealt out at random. Where chance does as well more often than `level`, all epithelium stays
    normal, unless the samples table says that the slide is a tumour.

    Parameters
    ----------
    expression
        Expression of all cells.
    reference
        Background of each gene, (genes of the panel,).
    evidence
        From `malignancy_evidence`, (genes of the panel,).
    genes
        Places of the genes that the slide's epithelium or the marker tables call epithelial.
    cells
        Rows of the epithelial cells.
    clusters
        Cluster of every cell, -1 for none.
    kind
        From `slide_kind`.
    level
        Share of random pairings that may pass.
    seed
        Seed of the random pairings.
    """
    weights = np.asarray(evidence, dtype=np.float64)[genes]
    if not len(cells) or len(genes) < _LEAST_GENES or np.ptp(weights) == 0:
        return Malignancy(
            np.zeros(len(cells)), 0.0, np.nan, np.nan, False, len(genes), "the panel cannot tell malignant epithelium"
        )
    scores = np.empty(len(cells))
    for part, values in expression.by_cells(cells, genes):
        values -= reference[genes].astype(np.float32)
        for rows in np.array_split(np.arange(part.start, part.stop), len(values) // _CELLS_AT_ONCE + 1):
            scores[rows] = rank_scores(values[rows - part.start], weights[:, None])[:, 0]
    groups = np.full(len(clusters), -1, dtype=np.int64)
    groups[cells] = np.maximum(clusters[cells], 0)
    _, sizes, means = group_means(expression.shares[:, genes], groups)
    slide, chance = _slide_test(means - reference[genes], sizes, weights, seed)
    present, why = _decide(kind, slide, chance, level)
    return Malignancy(scores, split(scores), slide, chance, present, len(genes), why)


def rank_scores(deviations: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Standard scores of the rank correlation of each row of `deviations` (rows, genes) with `evidence` (genes, k)."""
    return permutation_scores(rankdata(deviations, axis=1), evidence)


def split(scores: np.ndarray) -> float:
    """Score that parts malignant from normal epithelium: zero, or half-way where the slide shows both.

    Two groups are found by 2-means. They count as two kinds of epithelium only where their means are further apart
    than chance on both sides, and where the lower one does not itself exceed chance.
    """
    low, high = np.quantile(scores, [0.02, 0.98])
    for _ in range(50):
        upper = scores > (low + high) / 2
        if upper.all() or not upper.any():
            return 0.0
        low, high = scores[~upper].mean(), scores[upper].mean()
    apart = high - low > 2 * _CHANCE and low < _CHANCE < high
    return float((low + high) / 2) if apart else 0.0


def _slide_test(means: np.ndarray, sizes: np.ndarray, weights: np.ndarray, seed: int) -> tuple[float, float]:
    """Score of the clusters that lean to malignant genes, pooled, and how often chance does as well."""
    dealt = np.random.default_rng(seed).permuted(np.tile(weights, (_PERMUTATIONS, 1)), axis=1).T
    columns = np.column_stack([weights, dealt])
    leaning = rank_scores(means, columns) > 0
    pooled = np.full(columns.shape[1], -np.inf)
    for column in np.flatnonzero(leaning.any(axis=0)):
        rows = leaning[:, column]
        profile = np.average(means[rows], axis=0, weights=sizes[rows])
        pooled[column] = rank_scores(profile[None, :], columns[:, [column]])[0, 0]
    if not np.isfinite(pooled[0]):
        return float("nan"), float("nan")
    return float(pooled[0]), float((1 + (pooled[1:] >= pooled[0]).sum()) / (1 + _PERMUTATIONS))


def _decide(kind: str, slide: float, chance: float, level: float) -> tuple[bool, str]:
    if kind == "normal":
        return False, "the samples table says the slide is normal"
    if not np.isfinite(slide):
        return False, "no epithelium leans to genes of malignant cells"
    text = f"malignant evidence {slide:.1f}, which chance reaches with probability {chance:.3f} on this panel"
    if kind == "tumour":
        return True, f"the samples table says the slide is a tumour; {text}"
    return chance <= level, text + ("" if chance <= level else f" (more than {level:g}): not taken for malignant")
