"""Which epithelium is malignant: a test calibrated on the panel's own epithelial genes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from stnuclei.labels.chance import PermutationScore, critical_score
from stnuclei.labels.smoothing import smoothed_blocks

_NORMAL = re.compile(r"normal|health|control|non-?\s?(?:malignan|diseas|tumou?r|cancer|neoplas)|^no(?:ne)?$|unaffected")
_TUMOUR = re.compile(r"cancer|tumou?r|malignan|carcinom|neoplas|metasta|melanoma|sarcoma|lymphoma|blastoma|glioma")
LEAST_GENES = 15  # with fewer epithelial genes on the panel, the test could not find anything


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
        Standard score of each epithelial cell, float64: above 0 its expression leans to genes of malignant cells.
    slide
        Standard score of all cells above 0 together, NaN without any.
    critical
        What `slide` must exceed.
    present
        Whether the slide has malignant epithelium.
    genes
        Number of epithelial genes on the panel that the test used.
    why
        The decision in words.
    """

    scores: np.ndarray
    slide: float
    critical: float
    present: bool
    genes: int
    why: str


def malignant_epithelium(
    shares: sparse.csc_matrix,
    mean: sparse.csr_matrix | None,
    steps: int,
    reference: np.ndarray,
    evidence: np.ndarray,
    epithelial_genes: np.ndarray,
    cells: np.ndarray,
    *,
    kind: str,
    level: float,
) -> Malignancy:
    """Test epithelial cells for malignancy.

    Among the panel's epithelial genes, do those expressed above the slide's background lean to genes reported for
    malignant cells rather than for the tissue's normal epithelium? The standard score against random pairing of
    the same genes answers it for every cell, so a panel of many cancer genes does not make every epithelium a tumour.
    For the slide the cells above zero are tested together; where a random pairing would reach that
    more often than `level`, the epithelium stays normal, unless the samples table says that the slide is a tumour.

    Parameters
    ----------
    shares, mean, steps
        See `smoothed_blocks`.
    reference
        Background of each gene, (genes,).
    evidence
        From `malignancy_evidence`, (genes,).
    epithelial_genes
        Places of the genes that the slide's epithelium or the marker tables call epithelial.
    cells
        Rows of the epithelial cells.
    kind
        From `slide_kind`.
    level
        Share of random pairings that may pass.
    """
    critical = critical_score(level)
    scores, slide = np.zeros(len(cells)), float("nan")
    if len(cells) and len(epithelial_genes) >= LEAST_GENES and np.ptp(evidence[epithelial_genes]) > 0:
        scores, slide = _test(shares, mean, steps, reference, evidence, epithelial_genes, cells)
    present, why = _decide(kind, slide, critical, level)
    return Malignancy(scores, slide, critical, present, len(epithelial_genes), why)


def _test(
    shares: sparse.csc_matrix,
    mean: sparse.csr_matrix | None,
    steps: int,
    reference: np.ndarray,
    evidence: np.ndarray,
    genes: np.ndarray,
    cells: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Scores of the cells, and of those above zero together."""
    each = PermutationScore(evidence[genes, None], len(cells))
    place = np.empty(len(reference), dtype=np.int64)
    place[genes] = np.arange(len(genes))
    for block, values in smoothed_blocks(shares, mean, steps, genes, cells):
        each.add(place[block], values - reference[block])
    scores = each.scores()[:, 0]
    leaning = cells[scores > 0]
    if not len(leaning):
        return scores, float("nan")
    average = np.asarray(shares[leaning][:, genes].mean(axis=0)).ravel()
    together = PermutationScore(evidence[genes, None], 1)
    together.add(np.arange(len(genes)), (average - reference[genes])[None, :])
    return scores, float(together.scores()[0, 0])


def _decide(kind: str, slide: float, critical: float, level: float) -> tuple[bool, str]:
    if kind == "normal":
        return False, "the samples table says the slide is normal"
    if kind == "tumour":
        return True, "the samples table says the slide is a tumour"
    if not np.isfinite(slide):
        return False, "no epithelium leans to genes of malignant cells, or the panel cannot tell"
    if slide > critical:
        return (
            True,
            f"malignant evidence {slide:.1f} exceeds the {critical:.1f} that chance reaches 1 in {1 / level:.0f}",
        )
    return (
        False,
        f"malignant evidence {slide:.1f} does not exceed the {critical:.1f} that chance reaches 1 in {1 / level:.0f}",
    )
