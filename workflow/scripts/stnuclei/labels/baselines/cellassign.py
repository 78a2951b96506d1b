"""CellAssign: negative binomial mixture in which each category expresses its genes more (Zhang et al. 2019)."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.config.labels import CellassignSettings
from stnuclei.labels.baselines.count_mixture import CountMixture
from stnuclei.labels.baselines.signatures import GeneSets, category_genes, describe_sets, labels_from_scores
from stnuclei.labels.baselines.topdown import topdown_scores
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels

_LEAST = 1e-4  # expression below which a gene's logarithm says nothing


@dataclass(frozen=True)
class ScviFit:
    """Fit of scvi-tools' model; the defaults are its own.

    Parameters
    ----------
    n_fit
        Cells the model is fitted on; None: all.
    max_epochs, learning_rate, patience, batch_size
        `patience` epochs without a lower validation loss end the fit.
    start
        ``random`` as in scvi-tools, or ``signatures``: parameters that the cells' best `topdown_scores` suggest.
    """

    n_fit: int | None = None
    max_epochs: int = 400
    learning_rate: float = 3e-3
    patience: int = 15
    batch_size: int = 1024
    start: Literal["random", "signatures"] = "random"


def mixture_probabilities(
    adata: anndata.AnnData,
    gene_sets: GeneSets,
    *,
    optional: str | None = None,
    min_excess: float = 0.0,
    n_iterations: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Posterior of every category for every cell, by `CountMixture`.

    The fit starts from the cells' best signature score. Where two categories share most of their genes (Epithelial and
    Neoplastic) that start deals the cells of one kind out to both, and a slide that has only one of them ends in the
    wrong one; so a second fit starts without the category `optional`, and the likelier of the two is taken.

    Parameters
    ----------
    adata, gene_sets
        As for `topdown_scores`.
    optional
        Category that may be absent from the slide; None: one fit.
    min_excess, n_iterations
        See `CountMixture`.
    seed
        Seed of the start.

    Returns
    -------
    float64 table, cells x categories, rows sum to 1 (cells without a count on marker genes: 0 everywhere).
    """
    probabilities = pd.DataFrame(0.0, index=adata.obs_names, columns=list(gene_sets))
    marks = _marks(adata, gene_sets)
    if marks.shape[1] < 2:
        return probabilities
    counts = sparse.csr_matrix(adata[:, marks.index].X, dtype=np.float64)
    filled = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() > 0)
    model = CountMixture(counts[filled], _size_factors(adata)[filled], marks.to_numpy() > 0, min_excess)
    scores = _standard(topdown_scores(adata, gene_sets, seed=seed)[marks.columns].to_numpy())[filled]
    fits = [model.fit(scores.argmax(axis=1), n_iterations)]
    if optional in marks.columns and marks.shape[1] > 2:
        scores[:, list(marks.columns).index(optional)] = -np.inf
        fits.append(model.fit(scores.argmax(axis=1), n_iterations))
    best = max(fits, key=lambda fit: fit.log_likelihood)
    probabilities.loc[adata.obs_names[filled], marks.columns] = best.posterior
    return probabilities


def _standard(scores: np.ndarray) -> np.ndarray:
    """Scores less their mean over cells, by their spread; columns that do not vary stay 0."""
    spread = scores.std(axis=0)
    return (scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def cellassign_probabilities(
    adata: anndata.AnnData, gene_sets: GeneSets, fit: ScviFit | None = None, seed: int = 0
) -> pd.DataFrame:
    """Posterior of every category for every cell, by `scvi.external.CellAssign`.

    Parameters
    ----------
    adata
        Cells x genes, raw counts.
    gene_sets
        Genes of each category (rho of the model); genes outside the panel are left out.
    fit
        Way of fitting the model.
    seed
        Seed of the cells, the order of batches and the start.

    Returns
    -------
    float64 table, cells x categories, rows sum to 1 (cells without a count on marker genes: 0 everywhere).
    """
    fit = fit or ScviFit()
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
    chosen = np.sort(rng.choice(filled, min(fit.n_fit or len(filled), len(filled)), replace=False))
    scores = topdown_scores(adata[chosen], gene_sets, seed=seed) if fit.start == "signatures" else None
    model = _fit(work[chosen].copy(), marks, scores, fit, seed)
    probabilities = np.zeros((adata.n_obs, len(gene_sets)))
    columns = np.array([list(gene_sets).index(name) for name in marks.columns])
    for start in range(0, len(filled), 4 * fit.batch_size):
        rows = filled[start : start + 4 * fit.batch_size]
        probabilities[np.ix_(rows, columns)] = _posterior(model, work, rows)
    return pd.DataFrame(probabilities, index=adata.obs_names, columns=list(gene_sets))


def _marks(adata: anndata.AnnData, gene_sets: GeneSets) -> pd.DataFrame:
    """Rho of the model: 1 where a gene marks a category; genes that mark none or are never seen are left out."""
    seen = np.asarray((sparse.csr_matrix(adata.X) > 0).sum(axis=0)).ravel() > 0
    genes = adata.var_names[seen]
    marks = pd.DataFrame({name: genes.isin(list(members)).astype(int) for name, members in gene_sets.items()}, genes)
    marks = marks.loc[:, marks.any(axis=0)]
    return marks[marks.any(axis=1)]


def _size_factors(adata: anndata.AnnData) -> np.ndarray:
    totals = np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()
    return np.maximum(totals, 1.0) / max(totals.mean(), 1.0)


def _fit(work: anndata.AnnData, marks: pd.DataFrame, scores: pd.DataFrame | None, fit: ScviFit, seed: int) -> Any:
    """Fit scvi-tools' model on all cells of `work`; `scores` suggest the start, None: a random one."""
    import scvi  # tens of seconds of imports that only this method needs
    from scvi.external import CellAssign

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.seed = seed
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CellAssign.setup_anndata(work, size_factor_key="size_factor")
        model = CellAssign(work, marks)
        if scores is not None:
            _start(model.module, work, marks, _standard(scores[marks.columns].to_numpy()).argmax(axis=1))
        model.train(
            max_epochs=fit.max_epochs, lr=fit.learning_rate, early_stopping_patience=fit.patience,
            batch_size=fit.batch_size, accelerator="cpu", devices=1, **quiet,
        )  # fmt: skip
    return model


def _start(module: Any, work: anndata.AnnData, marks: pd.DataFrame, best: np.ndarray) -> None:
    """Set base expression, excess and fractions from the first category of each cell, int (n,)."""
    import torch

    scaled = sparse.diags(1 / work.obs["size_factor"].to_numpy()) @ work.X
    inside = np.stack([np.asarray(scaled[best == k].mean(axis=0)).ravel() if (best == k).any() else
                       np.zeros(work.n_vars) for k in range(marks.shape[1])], axis=1)  # fmt: skip
    rho = marks.to_numpy() > 0
    # The base is the expression where a gene is no marker; markers of every category fall back to the mean.
    outside = np.where(rho, 0.0, inside).sum(axis=1) / np.maximum((~rho).sum(axis=1), 1)
    base = np.log(np.maximum(np.where(rho.all(axis=1), inside.min(axis=1), outside), _LEAST))
    excess = np.maximum(np.log(np.maximum(inside, _LEAST)) - base[:, None], module.min_delta)
    fractions = np.bincount(best, minlength=marks.shape[1]) + 1.0
    with torch.no_grad():
        module.b_g_0.copy_(torch.as_tensor(base, dtype=torch.float32))
        module.delta_log.copy_(torch.as_tensor(np.log(excess), dtype=torch.float32))
        module.theta_logit.copy_(torch.as_tensor(np.log(fractions / fractions.sum()), dtype=torch.float32))


def _posterior(model: Any, work: anndata.AnnData, rows: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        outputs = model.module.generative(
            x=torch.as_tensor(work.X[rows].toarray()),
            size_factor=torch.as_tensor(work.obs["size_factor"].to_numpy(np.float32)[rows][:, None]),
            batch_index=torch.zeros(len(rows), 1, dtype=torch.int64),
        )
    return outputs["gamma"].cpu().numpy()


def label_cellassign(adata: anndata.AnnData, context: LabelContext, settings: CellassignSettings) -> Labels:
    """Method `cellassign`: the category with the highest posterior.

    `mixture_probabilities`, or, with the package's parameters, `cellassign_probabilities`. Cells without a
    count on marker genes are Unknown.
    """
    sets = category_genes(context, adata.var_names, settings)
    if settings.parameters == "package":
        fit = ScviFit(n_fit=settings.n_fit, max_epochs=settings.max_epochs)
        scores = cellassign_probabilities(adata, sets, fit, context.seed)
    else:
        roles = {context.taxonomy.role(role) for role in ("epithelial", "neoplastic")}
        scores = mixture_probabilities(
            adata, sets, optional=context.taxonomy.role("epithelial") if None not in roles else None,
            min_excess=settings.min_excess, n_iterations=settings.n_iterations, seed=context.seed,
        )  # fmt: skip
    info = describe_sets(settings, sets)
    return labels_from_scores(adata, context, scores, floor=0.0, info=info, probabilities=True)


register("cellassign", label_cellassign, CellassignSettings)
