"""The malignancy test: words for slides, the split, and what chance gives."""

import numpy as np
import pytest
from scipy import sparse

from stnuclei.labels.evidence.malignancy import malignant_epithelium, slide_kind, split
from stnuclei.labels.evidence.smoothing import SimilarCells


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("normal", "normal"), ("Healthy", "normal"), ("healthy tissue", "normal"), ("non-diseased", "normal"),
        ("tumor-adjacent normal", "normal"), ("non-malignant", "normal"), ("none", "normal"),
        ("Cancer", "tumour"), ("invasive ductal carcinoma", "tumour"), ("tumour", "tumour"), ("Melanoma", "tumour"),
        ("", "unsaid"), (None, "unsaid"), ("colitis", "unsaid"), ("treated", "unsaid"),
    ],
)  # fmt: skip
def test_words_of_the_samples_table(words, kind):
    assert slide_kind(words) == kind


def test_split_is_zero_for_one_kind_and_half_way_for_two():
    rng = np.random.default_rng(0)
    assert split(rng.normal(2.5, 0.5, 1000)) == 0
    assert split(rng.normal(-2.5, 0.5, 1000)) == 0
    both = np.concatenate([rng.normal(3, 0.5, 900), rng.normal(-2, 0.5, 100)])
    assert split(both) == pytest.approx(0.5, abs=0.2)
    assert split(np.concatenate([rng.normal(7, 0.5, 500), rng.normal(2.5, 0.5, 500)])) == 0  # both malignant
    assert split(np.full(10, 1.0)) == 0


def _epithelium(lean, seed=0, n_cells=200, n_genes=60):
    """Cells whose expression leans to genes with high (1) or low (-1) evidence, or to none (0)."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(size=n_genes)
    means = np.exp(0.8 * np.asarray(lean)[:, None] * evidence) * 0.2 * rng.gamma(4, 0.25, n_genes)
    shares = np.sqrt(rng.poisson(means) / 60)
    return SimilarCells(sparse.csc_matrix(shares.astype(np.float32)), None, 0), evidence


def test_malignant_and_normal_epithelium_are_told_apart():
    lean = np.repeat([1, -1], 100)
    expression, evidence = _epithelium(lean)
    genes, cells, clusters = np.arange(60), np.arange(200), np.repeat([0, 1], 100)
    found = malignant_epithelium(expression, np.zeros(60), evidence, genes, cells, clusters)
    assert found.present and found.chance <= 0.05
    assert (found.malignant == (lean > 0)).mean() > 0.95
    normal = malignant_epithelium(expression, np.zeros(60), evidence, genes, cells, clusters, kind="normal")
    assert not normal.present and not normal.malignant.any()


def test_chance_passes_as_often_as_the_level_says():
    genes, cells, clusters = np.arange(60), np.arange(200), np.repeat(np.arange(4), 50)
    passed = 0
    for seed in range(30):
        expression, evidence = _epithelium(np.zeros(200), seed)
        found = malignant_epithelium(expression, np.zeros(60), evidence, genes, cells, clusters, level=0.05)
        passed += found.present
    assert passed <= 6  # 1.5 expected; more than 6 has probability 0.001


def test_too_small_panels_call_nothing_malignant():
    expression, evidence = _epithelium(np.ones(200))
    found = malignant_epithelium(expression, np.zeros(60), evidence, np.arange(5), np.arange(200), np.zeros(200, int))
    assert not found.present and "cannot tell" in found.why
    none = malignant_epithelium(expression, np.zeros(60), evidence, np.arange(60), np.arange(0), np.zeros(200, int))
    assert not none.present
