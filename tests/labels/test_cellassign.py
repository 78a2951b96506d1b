"""CellAssign against its published model."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import nbinom

from stnuclei.config.labels import CellassignSettings
from stnuclei.labels import LabelContext
from stnuclei.labels.baselines.cellassign import ScviFit, cellassign_probabilities, mixture_probabilities
from stnuclei.labels.baselines.count_mixture import CountMixture
from stnuclei.labels.baselines.signatures import category_genes
from stnuclei.markers import load_markers
from stnuclei.taxonomy import Taxonomy


def _table(counts, genes):
    counts = np.asarray(counts)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(genes)))


def test_posterior_worked_by_hand():
    # log mu = log s + base + rho * exp(log delta); dispersion phi = sum_b a_b exp(-(mu - v_b)^2 / (2 (v_2 - v_1)^2)).
    torch = pytest.importorskip("torch")
    from scvi.external.cellassign._module import CellAssignModule

    knots = np.linspace(0, 9, 10)
    module = CellAssignModule(2, torch.eye(2), basis_means=knots)
    with torch.no_grad():
        module.b_g_0.copy_(torch.tensor([0.0, 0.5]))
        module.delta_log.copy_(torch.log(torch.tensor([[0.5, 1.0], [1.0, 0.7]])))
        module.theta_logit.copy_(torch.log(torch.tensor([0.25, 0.75])))
        outputs = module.generative(
            x=torch.tensor([[3.0, 1.0]]), size_factor=torch.tensor([[1.5]]), batch_index=torch.zeros(1, 1)
        )

    def log_likelihood(count, mu):
        phi = np.exp(-((mu - knots) ** 2) / (2 * (knots[1] - knots[0]) ** 2)).sum()
        return nbinom.logpmf(count, phi, phi / (phi + mu))

    base = 1.5 * np.exp([0.0, 0.5])
    first = log_likelihood(3, base[0] * np.exp(0.5)) + log_likelihood(1, base[1]) + np.log(0.25)
    second = log_likelihood(3, base[0]) + log_likelihood(1, base[1] * np.exp(0.7)) + np.log(0.75)
    expected = np.exp([first, second]) / np.exp([first, second]).sum()
    np.testing.assert_allclose(outputs["gamma"].numpy()[0], expected, rtol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_finds_the_kinds_from_every_seed(seed):
    rng = np.random.default_rng(10)
    kind = rng.integers(0, 3, 400)
    means = np.full((400, 12), 0.4)
    for k in range(3):
        means[kind == k, 3 * k : 3 * k + 3] = 4.0
    counts = rng.poisson(means)
    counts[0] = 0
    sets = {f"k{k}": [f"g{3 * k + j}" for j in range(3)] for k in range(3)} | {"absent": ["z"]}
    table = _table(counts, [f"g{i}" for i in range(12)])
    found = cellassign_probabilities(table, sets, ScviFit(200, 8, 1e-2, 3, 128, "signatures"), seed)
    assert (found.to_numpy()[1:].argmax(1) == kind[1:]).mean() > 0.97
    assert found.iloc[0].sum() == 0  # a cell without counts has no posterior
    np.testing.assert_allclose(found.iloc[1:].sum(1), 1, atol=1e-5)


def _three_groups(n_cells=600, excess=10.0, seed=3):
    """Counts of three groups, each with three markers among many listed genes that do not differ."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n_cells)
    means = rng.gamma(2.0, 0.15, 40)[None] * np.ones((n_cells, 1))
    for k in range(3):
        means[group == k, 3 * k : 3 * k + 3] *= excess
    counts = rng.poisson(means * rng.gamma(4.0, 0.25, (n_cells, 1)))
    counts[0] = 0
    listed = {0: range(9, 24), 1: range(14, 29), 2: range(20, 38)}
    sets = {f"k{k}": [f"g{3 * k + j}" for j in range(3)] + [f"g{i}" for i in listed[k]] for k in range(3)}
    return _table(counts, [f"g{i}" for i in range(40)]), group, sets


def test_mixture_finds_groups_though_most_listed_genes_do_not_differ():
    table, group, sets = _three_groups()
    labels = mixture_probabilities(table, sets | {"absent": ["z"]})
    assert (labels.to_numpy()[1:].argmax(1) == group[1:]).mean() > 0.95
    assert labels.iloc[0].sum() == 0 and not labels["absent"].any()
    np.testing.assert_allclose(labels.iloc[1:].sum(1), 1, atol=1e-9)


def test_an_excess_demanded_of_every_listed_gene_collapses():
    table, group, sets = _three_groups()
    free, demanded = (mixture_probabilities(table, sets, min_excess=excess).to_numpy() for excess in (0.0, 2.0))
    assert (free[1:].argmax(1) == group[1:]).mean() > 0.95
    assert (demanded[1:].argmax(1) == group[1:]).mean() < 0.75


def test_a_slide_of_tumour_alone_is_not_dealt_out_to_two_categories():
    # Both sets hold the genes of the kind, the tumour's three more that all its cells express.
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 400)
    means = np.full((400, 20), 0.3)
    means[group == 0, :9] = 3.0
    means[group == 1, 9:14] = 3.0
    table = _table(rng.poisson(means), [f"g{i}" for i in range(20)])
    sets = {"epithelial": [f"g{i}" for i in range(6)], "immune": [f"g{i}" for i in range(9, 14)]}
    sets["tumour"] = [f"g{i}" for i in range(9)]
    labels = mixture_probabilities(table, sets, optional="epithelial").idxmax(axis=1).to_numpy()
    assert (labels[group == 0] == "tumour").mean() > 0.95 and (labels[group == 1] == "immune").mean() > 0.95


def test_log_likelihood_is_the_negative_binomials():
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, (6, 4))
    model = CountMixture(sparse.csr_matrix(counts, dtype=float), np.ones(6), np.eye(4, 2) > 0)
    means, phi = rng.gamma(2.0, 0.5, (4, 2)), np.array([0.5, 1.0, 2.0, 8.0])
    expected = np.stack([nbinom.logpmf(counts, phi, phi / (phi + means[:, k])).sum(1) for k in range(2)], 1)
    scores = model._log_likelihoods(means, phi)
    np.testing.assert_allclose(scores[:, 0] - scores[:, 1], expected[:, 0] - expected[:, 1])


def test_the_papers_gene_sets_hold_those_of_the_default():
    default, paper = CellassignSettings(), CellassignSettings(cancer_set="A3", max_list_size=None)
    empty = pd.DataFrame({"cell_id": [], "cluster": []})
    context = LabelContext("Lung", load_markers(), Taxonomy.load("pannuke"), empty, pd.DataFrame())
    panel = sorted(set(context.markers.for_tissue("Lung")["symbol"]))
    small, large = (category_genes(context, panel, settings) for settings in (default, paper))
    assert all(set(small[name]) <= set(large[name]) for name in small if name != "Neoplastic")
    assert set(small["Epithelial"]) < set(large["Epithelial"])
    assert len(large["Neoplastic"]) > len(small["Neoplastic"])
