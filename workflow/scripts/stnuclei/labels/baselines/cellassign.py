"""CellAssign: negative binomial mixture in which each category expresses its genes more (Zhang et al. 2019)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.labels.baselines.signatures import LONGEST_LIST, category_genes, labels_from_scores
from stnuclei.labels.baselines.topdown import topdown_scores
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels

_LEAST = 1e-4  # expression below which a gene's logarithm says nothing


def cellassign_probabilities(
    adata: anndata.AnnData,
    gene_sets: Mapping[str, Sequence[str]],
    *,
    n_fit: int = 10_000,
    max_epochs: int = 60,
    learning_rate: float = 1e-2,
    patience: int = 3,
    batch_size: int = 1024,
    seed: int = 0,
) -> pd.DataFrame:
    """Posterior of every category for every cell.

    The model of Zhang et al. 2019 (doi:10.1038/s41592-019-0529-1) as `scvi.external.CellAssign` fits it. Two things
    differ from its defaults, neither in the model: the start comes from the data (cells' best signature scores) where
    scvi-tools starts at random, which often ends in a poor optimum; and it is fitted on a random part of the cells
    until the validation loss no longer falls, then applied to all.

    Parameters
    ----------
    adata
        Cells x genes, raw counts.
    gene_sets
        Genes of each category (rho of the model); genes outside the panel are left out.
    n_fit
        Cells the model is fitted on.
    max_epochs, learning_rate, patience, batch_size
        Of the fit; `patience` epochs without a lower validation loss end it.
    seed
        Seed of the part, the order of batches and the start.

    Returns
    -------
    float64 table, cells x categories, rows sum to 1 (cells without a count on marker genes: 0 everywhere).
    """
    marks = _marks(adata, gene_sets)
    if marks.shape[1] < 2:
        return pd.DataFrame(0.0, index=adata.obs_names, columns=list(gene_sets))
    work = anndata.AnnData(
        sparse.csr_matrix(adata[:, marks.index].X, dtype=np.float32),
        obs=pd.DataFrame({"size_factor": _size_factors(adata)}, index=adata.obs_names),
        var=pd.DataFrame(index=marks.index),
    )
    filled = np.flatnonzero(np.asarray(work.X.sum(axis=1)).ravel() > 0)
    rng = np.random.default_rng(seed)
    part = np.sort(rng.choice(filled, min(n_fit, len(filled)), replace=False))
    fit = {"max_epochs": max_epochs, "lr": learning_rate, "early_stopping_patience": patience, "batch_size": batch_size}
    model = _fit(work[part].copy(), marks, topdown_scores(adata[part], gene_sets, seed=seed), fit, seed)
    probabilities = np.zeros((adata.n_obs, len(gene_sets)))
    columns = np.array([list(gene_sets).index(name) for name in marks.columns])
    for start in range(0, len(filled), 4 * batch_size):
        rows = filled[start : start + 4 * batch_size]
        probabilities[np.ix_(rows, columns)] = _posterior(model, work, rows)
    return pd.DataFrame(probabilities, index=adata.obs_names, columns=list(gene_sets))


def _marks(adata: anndata.AnnData, gene_sets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Rho of the model: 1 where a gene marks a category; genes that mark none or are never seen are left out."""
    seen = np.asarray((sparse.csr_matrix(adata.X) > 0).sum(axis=0)).ravel() > 0
    genes = adata.var_names[seen]
    marks = pd.DataFrame({name: genes.isin(list(members)).astype(int) for name, members in gene_sets.items()}, genes)
    marks = marks.loc[:, marks.any(axis=0)]
    return marks[marks.any(axis=1)]


def _size_factors(adata: anndata.AnnData) -> np.ndarray:
    totals = np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()
    return np.maximum(totals, 1.0) / max(totals.mean(), 1.0)


def _fit(part: anndata.AnnData, marks: pd.DataFrame, scores: pd.DataFrame, fit: dict[str, Any], seed: int) -> Any:
    """Fit on `part`, from a start that `scores` suggests."""
    import scvi  # tens of seconds of imports that only this method needs
    from scvi.external import CellAssign

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.seed = seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CellAssign.setup_anndata(part, size_factor_key="size_factor")
        model = CellAssign(part, marks)
        _start(model.module, part, marks, scores[marks.columns].to_numpy())
        model.train(
            **fit, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, logger=False, devices=1
        )
    return model


def _start(module: Any, part: anndata.AnnData, marks: pd.DataFrame, scores: np.ndarray) -> None:
    """Set base expression, excess and shares to what the cells' best signatures suggest."""
    import torch

    spread = np.where(scores.std(axis=0) > 0, scores.std(axis=0), 1.0)
    best = np.argmax((scores - scores.mean(axis=0)) / spread, axis=1)
    scaled = sparse.diags(1 / part.obs["size_factor"].to_numpy()) @ part.X
    inside = np.stack([np.asarray(scaled[best == k].mean(axis=0)).ravel() if (best == k).any() else
                       np.zeros(part.n_vars) for k in range(marks.shape[1])], axis=1)  # fmt: skip
    rho = marks.to_numpy() > 0
    # The base is the expression where a gene is no marker; markers of every category fall back to the mean.
    outside = np.where(rho, 0.0, inside).sum(axis=1) / np.maximum((~rho).sum(axis=1), 1)
    base = np.log(np.maximum(np.where(rho.all(axis=1), inside.min(axis=1), outside), _LEAST))
    excess = np.maximum(np.log(np.maximum(inside, _LEAST)) - base[:, None], module.min_delta)
    shares = np.bincount(best, minlength=marks.shape[1]) + 1.0
    with torch.no_grad():
        module.b_g_0.copy_(torch.as_tensor(base, dtype=torch.float32))
        module.delta_log.copy_(torch.as_tensor(np.log(excess), dtype=torch.float32))
        module.theta_logit.copy_(torch.as_tensor(np.log(shares / shares.sum()), dtype=torch.float32))


def _posterior(model: Any, work: anndata.AnnData, rows: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        outputs = model.module.generative(
            x=torch.as_tensor(work.X[rows].toarray()),
            size_factor=torch.as_tensor(work.obs["size_factor"].to_numpy(np.float32)[rows][:, None]),
            batch_index=torch.zeros(len(rows), 1, dtype=torch.int64),
        )
    return outputs["gamma"].cpu().numpy()


def label_cellassign(
    adata: anndata.AnnData,
    context: LabelContext,
    *,
    cancer_set: str = "REC2",
    min_fraction: float = 0.0,
    max_list_size: int | None = LONGEST_LIST,
    n_fit: int = 10_000,
    max_epochs: int = 60,
) -> Labels:
    """Method `cellassign`: the category with the highest `cellassign_probabilities`.

    Cells without a count on marker genes are Unknown.

    Settings: `category_genes` and `cellassign_probabilities`.
    """
    sets = category_genes(
        context, adata.var_names, cancer_set=cancer_set, min_fraction=min_fraction, max_list_size=max_list_size
    )
    scores = cellassign_probabilities(adata, sets, n_fit=n_fit, max_epochs=max_epochs, seed=context.seed)
    info = {"cancer_set": cancer_set, "genes": {name: len(genes) for name, genes in sets.items()}}
    return labels_from_scores(adata, context, scores, floor=0.0, info=info, probabilities=True)


register("cellassign", label_cellassign)
