"""AUCell: area under the recovery curve of a category's genes at the top of each cell's ranking (Aibar et al. 2017)."""

from __future__ import annotations

import anndata
import decoupler
import numpy as np
import pandas as pd
from scipy import sparse

from stnuclei.clustering.counts import detected_genes
from stnuclei.config.labels import AucellSettings
from stnuclei.labels.baselines.signatures import GeneSets, category_genes, describe_sets, labels_from_scores
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels

_CELLS_AT_ONCE = 20_000


def panel_top_genes(adata: anndata.AnnData, fraction: float = 0.05) -> int:
    """Length of the top of the ranking that counts.

    AUCell takes 5 % of the genes and asks that cells express that many. 5 % of a small panel is a handful, fewer than
    cells express: the number that 95 % of the cells reach is taken where it is larger.
    """
    reached = int(np.quantile(detected_genes(adata), 0.05)) if adata.n_obs else 0
    return int(min(adata.n_vars, max(2, np.ceil(fraction * adata.n_vars), reached)))


def aucell_scores(
    adata: anndata.AnnData, gene_sets: GeneSets, *, n_top: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Score every cell for every gene set.

    The fraction of the set recovered among the first r genes, summed over r < n_top and divided by its largest possible
    value (Aibar et al. 2017, doi:10.1038/nmeth.4463; `decoupler.mt.aucell`).

    Ties are broken at random for each cell, as in the authors' R package; decoupler on its own breaks them by the
    order of the columns, which on sparse counts favours the genes listed first. Half a count of seeded noise does it.

    Parameters
    ----------
    adata, gene_sets
        As for `topdown_scores`.
    n_top
        Genes at the top that count. None: `panel_top_genes`.
    seed
        Seed of the ties.

    Returns
    -------
    float64 table in 0..1, cells x categories. A set without a gene on the panel scores 0.
    """
    n_top = n_top or panel_top_genes(adata)
    rng = np.random.default_rng(seed)
    network = pd.DataFrame(
        [(name, gene) for name, genes in gene_sets.items() for gene in genes if gene in adata.var_names],
        columns=["source", "target"],
    )
    scores = np.zeros((adata.n_obs, len(gene_sets)))
    counts = sparse.csr_matrix(adata.X)
    for start in range(0, adata.n_obs if len(network) else 0, _CELLS_AT_ONCE):
        block = counts[start : start + _CELLS_AT_ONCE].toarray().astype(np.float32)
        block += rng.random(block.shape, dtype=np.float32) / 2
        table = pd.DataFrame(block, columns=adata.var_names, index=[str(i) for i in range(len(block))])
        result = decoupler.mt.aucell(table, network, tmin=1, n_up=n_top)
        block_scores = result[0] if isinstance(result, tuple) else result
        scores[start : start + len(block)] = block_scores.reindex(columns=list(gene_sets)).fillna(0.0).to_numpy()
    return pd.DataFrame(scores, index=adata.obs_names, columns=list(gene_sets))


def label_aucell(adata: anndata.AnnData, context: LabelContext, settings: AucellSettings) -> Labels:
    """Method `aucell`: the category with the highest `aucell_scores`.

    Cells without a count are Unknown, as are ties.
    """
    sets = category_genes(context, adata.var_names, settings)
    n_top = settings.n_top
    if n_top is None:
        fraction = max(2, int(np.ceil(0.05 * adata.n_vars)))
        n_top = fraction if settings.parameters == "package" else panel_top_genes(adata)
    scores = aucell_scores(adata, sets, n_top=n_top, seed=context.seed)
    scores[detected_genes(adata) == 0] = 0.0  # their ranking is nothing but broken ties
    info = describe_sets(settings, sets) | {"n_top": n_top, "ties": "at random, as AUCell's R package"}
    return labels_from_scores(adata, context, scores, floor=0.0, info=info)


register("aucell", label_aucell, AucellSettings)
