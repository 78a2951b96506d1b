"""Malignancy of epithelium: marker evidence and proliferation of its groups, and two epithelia against each other."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit
from scipy.stats import rankdata

from stnuclei.config.labels import EvidenceSettings
from stnuclei.labels.evidence.naive_bayes import naive_bayes
from stnuclei.labels.evidence.null_model import permutation_scores
from stnuclei.labels.evidence.profiles import fractions, group_counts

_NORMAL = re.compile(r"normal|health|control|non-?\s?(?:malignan|diseas|tumou?r|cancer|neoplas)|^no(?:ne)?$|unaffected")
_UNLIKELY = re.compile(r"benign|inflam|diseased")
_TUMOUR = re.compile(r"cancer|tumou?r|malignan|carcinom|neoplas|metasta|melanoma|sarcoma|lymphoma|blastoma|glioma")
_AGAINST = 1.5  # added to the threshold where the disease named is no cancer: stronger evidence is asked for
_LEAST_GENES = 15  # with fewer epithelial genes on the panel, marker evidence is noise
_LEAST_GROUP = 10  # cells
_MOST_EVIDENCE = 2.5  # standard scores; beyond it evidence counts no more, so that groups of a tumour stay together
_MOST_PROLIFERATION = 2.0  # log ratio, for the same reason
_USUAL_GENES = 100  # epithelial genes of a panel of 300; standard scores grow with the root of their number
_PSEUDO_COUNTS = 1.0  # of each cycle gene, so that ten cells with two transcripts are not called proliferating
_APART = 2.0  # difference of two epithelia's scores (marker evidence has a standard deviation of 1 by chance)
_CHOSEN = _APART / 2  # added to the threshold for the upper of two epithelia: by so much it is higher by choice alone
_SLOPE = 3.0  # of the logistic curve from a score to a probability
# Classes are given as alternatives where the more probable one has at most this probability.
UNDECIDED = 0.75


def slide_kind(disease: str | None) -> str:
    """``normal``, ``tumour``, ``unlikely`` (a disease that is no cancer) or ``open``, from the samples table's word."""
    text = (disease or "").strip().lower()
    for kind, pattern in (("normal", _NORMAL), ("unlikely", _UNLIKELY), ("tumour", _TUMOUR)):
        if pattern.search(text):
            return kind
    return "open"


@dataclass(frozen=True)
class Malignancy:
    """Outcome of the malignancy test.

    Parameters
    ----------
    probability
        Probability of being malignant for each epithelial cell, float64.
    present
        True if the slide has malignant epithelium.
    score
        Mean score of the epithelium called malignant, of all epithelium where none is; NaN where none could be scored.
    proliferation
        Log ratio of cycle transcripts, epithelium to other cells; NaN as above.
    genes
        Number of epithelial genes on the panel that the test used.
    why
        The decision in words.
    """

    probability: np.ndarray
    present: bool
    score: float
    proliferation: float
    genes: int
    why: str

    @property
    def malignant(self) -> np.ndarray:
        """Cells called malignant, bool."""
        return self.probability > 0.5

    @property
    def undecided(self) -> np.ndarray:
        """Cells whose malignancy is uncertain, bool."""
        return np.maximum(self.probability, 1 - self.probability) <= UNDECIDED


@dataclass(frozen=True)
class LabelledCells:
    """Cells with the categories found so far.

    Parameters
    ----------
    counts
        (cells, genes) raw counts.
    label
        (cells,) category.
    group
        (cells,) int, component of the mixture.
    """

    counts: sparse.csr_matrix
    label: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class MalignancyGenes:
    """Genes of the panel that speak of malignancy.

    Parameters
    ----------
    evidence
        (genes,) log-odds, from `malignancy_evidence`.
    epithelial
        Columns of epithelial genes.
    cycle
        (genes,) bool, from `cycle_genes`.
    """

    evidence: np.ndarray
    epithelial: np.ndarray
    cycle: np.ndarray


def malignant_epithelium(
    labelled: LabelledCells,
    genes: MalignancyGenes,
    epithelial: str,
    *,
    n_categories: int,
    kind: str = "open",
    settings: EvidenceSettings | None = None,
) -> Malignancy:
    """Probability of malignancy of epithelial cells.

    Each group of epithelial cells gets a score: the standard score of its expression (above the other lineages')
    against the malignancy log-odds of the panel's epithelial genes, by permutation, plus the median log ratio of its
    cycle genes to those of the other lineages. Tumours lean to genes of malignant cells or proliferate, most do both.

    Groups are then parted into two by their scores. Where the two are further apart than `_APART`, the slide has two
    epithelia, and the upper one is malignant if its score exceeds the threshold by `_CHOSEN` and it makes up
    `malignant_fraction` of the epithelium (rare types such as ciliated cells lean by chance). Its groups whose own
    score does not exceed the threshold by as much are undecided; cells are assigned by their counts. Otherwise the
    epithelium is of one kind, and one decision holds for all of it.

    Parameters
    ----------
    labelled
        All cells of the slide.
    genes
        Their evidence.
    epithelial
        Category that is refined.
    n_categories
        Categories of the taxonomy that markers vote for (the background counts each once).
    kind
        From `slide_kind`: ``normal`` has no malignant cells, ``tumour`` has; ``open`` and ``unlikely`` are decided by
        the score, the latter with a higher threshold.
    settings
        ``malignant_threshold``, ``malignant_fraction`` and ``overdispersion``; None: the defaults.
    """
    settings = settings or EvidenceSettings()
    counts, label, evidence, columns = labelled.counts, labelled.label, genes.evidence, genes.epithelial
    cells = np.flatnonzero(label == epithelial)
    nothing = np.zeros(len(cells))
    if kind == "normal":
        return Malignancy(nothing, False, np.nan, np.nan, len(columns), "the samples table says the slide is normal")
    if not len(cells) or len(columns) < _LEAST_GENES or np.ptp(evidence[columns]) == 0:
        return Malignancy(nothing, False, np.nan, np.nan, len(columns), "the panel cannot tell malignant epithelium")
    names, member = np.unique(labelled.group[cells], return_inverse=True)
    sums = group_counts(counts[cells], member, len(names))
    sizes = np.bincount(member).astype(np.float64)
    background = _background(counts, label, epithelial, n_categories)
    marker = _marker_scores(np.sqrt(fractions(sums)) - background, evidence, columns)
    growth = _proliferation(sums, counts, label != epithelial, genes.cycle)
    scores = marker + growth
    usable = sizes >= min(_LEAST_GROUP, sizes.max())
    parting = _two_kinds(scores[usable], sizes[usable])
    threshold = settings.malignant_threshold + (_AGAINST if kind == "unlikely" else 0)
    verdict = _verdict(scores, sizes, parting, kind, threshold, settings.malignant_fraction)
    if verdict.border is None:
        probability = np.full(len(cells), verdict.probability)
    else:
        side = _malignant_groups(scores, verdict, threshold)[member].astype(np.int64)
        # Cells start with their group's side; groups are mixtures, and naive Bayes moves cells across.
        probability = naive_bayes(counts[cells], member, side, 2, settings.overdispersion)[0][:, 1]
        # A group that does not pass by its own score is malignant only by its company.
        weak, upper = (scores <= threshold + _CHOSEN)[member], (scores > verdict.border)[member]
        probability[weak] = np.minimum(probability[weak], UNDECIDED)
        probability[weak & upper] = np.maximum(probability[weak & upper], 1 - UNDECIDED)
    pooled = float(np.average(growth, weights=sizes))
    return Malignancy(probability, verdict.present, verdict.score, pooled, len(columns), verdict.why)


@dataclass(frozen=True)
class _Verdict:
    """Decision on a slide; `border` is the score that parts two epithelia, None where one probability holds for all."""

    present: bool
    score: float
    probability: float
    border: float | None
    why: str


def _verdict(
    scores: np.ndarray,
    sizes: np.ndarray,
    parting: tuple[float, float] | None,
    kind: str,
    threshold: float,
    least_fraction: float,
) -> _Verdict:
    """Decide from the scores of the groups; `parting` holds the means of two kinds of epithelium."""
    pooled = float(np.average(scores, weights=sizes))
    given = "; the samples table says the slide is a tumour" if kind == "tumour" else ""
    if parting is not None:
        low, high = parting
        border = (low + high) / 2
        both_scores = f"two epithelia with scores {low:.1f} and {high:.1f}"
        fraction = float(sizes[scores > border].sum() / sizes.sum())
        if kind == "tumour" or (high > threshold + _CHOSEN and fraction >= least_fraction):
            why = f"{both_scores}, the upper one ({fraction:.0%}) is malignant{given}"
            # Where even the lower one exceeds the threshold by as much as two epithelia differ, both are malignant.
            shared = low > threshold + _APART
            return _Verdict(True, high, _logistic(low - threshold), None if shared else border, why)
        why = (
            f"two epithelia with scores {low:.1f} and {high:.1f}, neither taken for malignant (threshold {threshold:g})"
        )
        return _Verdict(False, pooled, min(_logistic(pooled - threshold), 0.5), None, why)
    present = kind == "tumour" or pooled > threshold
    probability = _logistic(pooled - threshold)
    if kind == "tumour":
        probability = max(probability, 1 - (1 - UNDECIDED) / 2)
    relation = "exceeds" if pooled > threshold else "does not exceed"
    why = f"one kind of epithelium, its score {pooled:.1f} {relation} {threshold:g}{given}"
    return _Verdict(present, pooled, probability, None, why)


def _malignant_groups(scores: np.ndarray, verdict: _Verdict, threshold: float) -> np.ndarray:
    """Groups on the malignant side, bool (groups,).

    Of two epithelia, groups of the upper one that pass by their own score; all of it where the upper one as a whole
    would not pass (the samples table says that the slide is a tumour).
    """
    if verdict.border is None:
        return np.full(len(scores), verdict.probability > 0.5)
    passing = scores > threshold + _CHOSEN if verdict.score > threshold + _CHOSEN else True
    return (scores > verdict.border) & passing


def _background(counts: sparse.csr_matrix, label: np.ndarray, epithelial: str, n_categories: int) -> np.ndarray:
    """Sum of the other categories' mean profiles (roots of fractions) over the number of categories, (genes,)."""
    others = [name for name in np.unique(label.astype(str)) if name != epithelial]
    number = {name: i for i, name in enumerate(others)}
    groups = np.array([number.get(name, -1) for name in label.astype(str)], dtype=np.int64)
    profiles = fractions(group_counts(counts, groups, len(others)))
    return np.sqrt(profiles).sum(axis=0) / max(n_categories, 1)


def _marker_scores(deviations: np.ndarray, evidence: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Marker evidence for malignancy, (rows,): mean of the standard scores by value and by rank, clipped.

    By value, the most expressed genes decide; by rank, all epithelial genes count alike. Either alone errs more often
    (benchmarks/results/label_methods.md).
    """
    values, weights = deviations[:, genes], evidence[genes][:, None]
    both = permutation_scores(values, weights) + permutation_scores(rankdata(values, axis=1), weights)
    scores = both[:, 0] / 2 * min(np.sqrt(_USUAL_GENES / len(genes)), 1)
    return np.clip(scores, -_MOST_EVIDENCE, _MOST_EVIDENCE)


def _proliferation(sums: np.ndarray, counts: sparse.csr_matrix, other: np.ndarray, cycle: np.ndarray) -> np.ndarray:
    """Log ratio of the groups' cycle transcripts to those of other lineages, median over genes, clipped, (groups,).

    Dividing cells raise all cycle genes; a single one may be high for another reason, as CENPF in ciliated cells.
    """
    rest = group_counts(counts, np.where(other, 0, -1), 1)[0]
    if not cycle.any() or rest.sum() == 0:
        return np.zeros(len(sums))
    expected = sums.sum(axis=1, keepdims=True) * rest[cycle] / rest.sum()
    ratio = np.median(np.log((sums[:, cycle] + _PSEUDO_COUNTS) / (expected + _PSEUDO_COUNTS)), axis=1)
    return np.clip(ratio, -_MOST_PROLIFERATION, _MOST_PROLIFERATION)


def _two_kinds(scores: np.ndarray, sizes: np.ndarray) -> tuple[float, float] | None:
    """Means of two kinds of epithelium (weighted 2-means), None where they are not `_APART`."""
    low, high = scores.min(), scores.max()
    for _ in range(50):
        upper = scores > (low + high) / 2
        if upper.all() or not upper.any():
            return None
        low = np.average(scores[~upper], weights=sizes[~upper])
        high = np.average(scores[upper], weights=sizes[upper])
    return (float(low), float(high)) if high - low >= _APART else None


def _logistic(score: float) -> float:
    """Probability of malignancy of a score above the threshold."""
    return float(expit(_SLOPE * score))
