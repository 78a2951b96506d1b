"""CellAssign against its published model."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import nbinom

from stnuclei.labels.baselines.cellassign import cellassign_probabilities


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
    found = cellassign_probabilities(table, sets, n_fit=200, max_epochs=8, batch_size=128, seed=seed)
    assert (found.to_numpy()[1:].argmax(1) == kind[1:]).mean() > 0.97
    assert found.iloc[0].sum() == 0  # a cell without counts has no posterior
    np.testing.assert_allclose(found.iloc[1:].sum(1), 1, atol=1e-5)
