"""Malignancy of epithelium: words for slides, one and two kinds of epithelium, proliferation, chance."""

import numpy as np
import pytest
from scipy import sparse

from stnuclei.config.labels import EvidenceSettings
from stnuclei.config.samples import DISEASES
from stnuclei.labels.evidence.malignancy import LabelledCells, MalignancyGenes, malignant_epithelium, slide_kind

N_GENES = 80
CYCLE = np.arange(N_GENES) >= 75
GENES = np.arange(60)  # epithelial ones
EVIDENCE = np.where(np.arange(N_GENES) < 60, np.random.default_rng(7).normal(size=N_GENES), 0.0)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("normal", "normal"), ("Healthy", "normal"), ("healthy tissue", "normal"), ("non-diseased", "normal"),
        ("tumor-adjacent normal", "normal"), ("non-malignant", "normal"), ("none", "normal"),
        ("Cancer", "tumour"), ("invasive ductal carcinoma", "tumour"), ("tumour", "tumour"), ("Melanoma", "tumour"),
        ("", "open"), (None, "open"), ("colitis", "open"), ("treated", "open"),
        ("benign", "unlikely"), ("inflamed", "unlikely"), ("diseased", "unlikely"), ("benign tumour", "unlikely"),
    ],
)  # fmt: skip
def test_words_of_the_samples_table(words, kind):
    assert slide_kind(words) == kind


def test_every_disease_of_the_samples_table_has_its_kind():
    kinds = {disease: slide_kind(disease) for disease in DISEASES}
    assert kinds == {
        "cancer": "tumour", "normal": "normal", "benign": "unlikely",
        "inflamed": "unlikely", "diseased": "unlikely", "treated": "open",
    }  # fmt: skip


def _slide(lean, dividing=1.0, seed=0, cells=100):
    """Counts of groups of epithelium that lean to genes with high (1) or low (-1) evidence, and of stroma.

    Groups of epithelium come first, each with `cells` cells; `dividing` multiplies the cycle genes of the first.
    """
    rng = np.random.default_rng(seed)
    base = rng.gamma(4, 0.25, N_GENES)
    rates = [base * np.exp(0.8 * value * EVIDENCE) for value in lean]
    rates[0] = np.where(CYCLE, dividing * rates[0], rates[0])
    # Stroma divides as often as epithelium does: its cycle genes have the same fraction of its fewer transcripts.
    factor = np.where(CYCLE, 0.3, np.where(np.arange(N_GENES) < 60, 0.1, 1.0))
    stroma = rng.gamma(4, 0.25, N_GENES) * factor
    means = np.repeat([*rates, stroma], cells, axis=0)
    groups = np.repeat(np.arange(len(lean) + 1), cells)
    label = np.where(groups < len(lean), "Epithelial", "Connective")
    return sparse.csr_matrix(rng.poisson(2 * means).astype(np.float32)), label, groups


def _test(lean, kind="open", genes=GENES, **slide):
    counts, label, groups = _slide(lean, **slide)
    return _judge(LabelledCells(counts, label, groups), genes, kind=kind)


def _judge(cells, columns=GENES, evidence=EVIDENCE, **given):
    genes = MalignancyGenes(evidence, columns, CYCLE)
    return malignant_epithelium(cells, genes, "Epithelial", n_categories=3, **given)


def test_two_epithelia_are_told_apart():
    outcome = _test([1, -1])
    assert outcome.present and "two epithelia" in outcome.why
    assert (outcome.malignant == np.repeat([True, False], 100)).mean() > 0.95


def test_one_kind_of_epithelium_gets_one_decision():
    leaning = _test([1, 1])
    assert leaning.present and leaning.malignant.all() and "one kind" in leaning.why
    other = _test([-1, -1])
    assert not other.present and not other.malignant.any()


def test_proliferation_speaks_for_malignancy():
    quiet, growing = _test([0.0], seed=3), _test([0.0], dividing=6.0, seed=3)
    assert growing.score > quiet.score + 1
    assert growing.proliferation > quiet.proliferation + 1


def test_the_samples_table_decides():
    normal = _test([1, -1], kind="normal")
    assert not normal.present and not normal.malignant.any() and not normal.undecided.any()
    assert _test([-1, -1], kind="tumour").malignant.all()
    slight = [_test([0.25], kind=kind, seed=5) for kind in ("open", "unlikely")]
    assert slight[0].probability[0] > slight[1].probability[0]  # a disease that is no cancer asks for more


def test_small_groups_that_lean_are_not_called_malignant_on_their_own():
    counts, label, groups = _slide([1, -1])
    kept = np.r_[0:10, 100:300]  # ten of the leaning cells, all others
    cells = LabelledCells(counts[kept], label[kept], groups[kept])
    assert not _judge(cells).present
    tumour = _judge(cells, kind="tumour")
    assert tumour.malignant[:10].mean() > 0.8 and tumour.malignant[10:].mean() < 0.1


def test_near_the_threshold_cells_are_undecided():
    outcome = _test([0.0, 0.0], seed=11)
    near = abs(outcome.probability - 0.5) < 0.2
    assert (outcome.undecided == near).mean() > 0.5
    sure = _test([1, 1])
    assert not sure.undecided.any()


def test_malignant_genes_dealt_at_random_seldom_pass():
    passed = 0
    for seed in range(30):
        counts, label, groups = _slide([0.0, 0.0, 0.0], seed=seed)
        evidence = np.random.default_rng(seed).permutation(EVIDENCE)
        settings = EvidenceSettings(malignant_threshold=1.645)
        passed += _judge(LabelledCells(counts, label, groups), evidence=evidence, settings=settings).present
    assert passed <= 6  # 1.5 expected of a standard score; more than 6 has probability 0.001


def test_too_small_panels_call_nothing_malignant():
    outcome = _test([1, 1], genes=GENES[:5])
    assert not outcome.present and "cannot tell" in outcome.why
    counts, label, groups = _slide([1])
    none = _judge(LabelledCells(counts, np.full(len(label), "Connective"), groups))
    assert not none.present and len(none.probability) == 0


def test_groups_that_are_malignant_only_by_their_company_are_undecided(monkeypatch):
    """The middle group lies nearer to the upper epithelium, but would not pass as malignant by its own score."""
    counts, label, groups = _slide([1, 1, 0.15, -1, -1], seed=2)
    module = "stnuclei.labels.evidence.malignancy."
    monkeypatch.setattr(module + "_marker_scores", lambda *_: np.array([2.5, 2.5, 0.6, -2.0, -2.0]))
    monkeypatch.setattr(module + "_proliferation", lambda *_: np.zeros(5))
    outcome = _judge(LabelledCells(counts, label, groups))
    clear = np.r_[0:200, 300:500]
    assert outcome.present and outcome.malignant[:200].mean() > 0.95 and outcome.malignant[300:].mean() < 0.05
    assert outcome.undecided[200:300].mean() > 0.5 and outcome.undecided[clear].mean() < 0.1
    assert outcome.malignant[200:300].mean() < 0.5, "its own score decides its label"


def test_a_given_tumour_is_malignant_where_no_group_passes_by_its_own_score(monkeypatch):
    counts, label, groups = _slide([1, -1], seed=2)
    module = "stnuclei.labels.evidence.malignancy."
    monkeypatch.setattr(module + "_marker_scores", lambda *_: np.array([0.9, -1.5]))
    monkeypatch.setattr(module + "_proliferation", lambda *_: np.zeros(2))
    cells = LabelledCells(counts, label, groups)
    assert not _judge(cells).present
    given = _judge(cells, kind="tumour")
    assert given.malignant[:100].mean() > 0.9 and given.malignant[100:].mean() < 0.1
    assert given.undecided[:100].all()


def test_one_cycle_gene_alone_is_no_proliferation():
    counts, label, groups = _slide([0.0], seed=3)
    dense = counts.toarray()
    dense[:100, np.flatnonzero(CYCLE)[0]] *= 30
    quiet, one_gene = (
        _judge(LabelledCells(sparse.csr_matrix(values), label, groups)) for values in (counts.toarray(), dense)
    )
    assert abs(one_gene.proliferation - quiet.proliferation) < 0.7
