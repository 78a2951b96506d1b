"""UCell: ranks of a category's genes within each cell (Andreatta and Carmona 2021)."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
from pyucell.scoring import compute_ucell_scores
from scipy import sparse

from stnuclei.clustering.counts import detected_genes
from stnuclei.config.labels import UcellSettings
from stnuclei.labels.baselines.signatures import GeneSets, category_genes, describe_sets, labels_from_scores
from stnuclei.labels.registry import LabelContext, register
from stnuclei.labels.result import Labels

_MOST = 1500  # UCell's own bound, made for whole transcriptomes


def panel_max_rank(adata: anndata.AnnData, longest_set: int) -> int:
    """Rank beyond which genes count as not expressed.

    UCell's 1500 says nothing on a panel of 400 genes. Its manual advises the number of genes that cells express: the
    median here, but not below the longest set (the score would leave 0..1) and not above the panel.
    """
    typical = int(np.median(detected_genes(adata))) if adata.n_obs else 1
    return int(min(_MOST, adata.n_vars, max(typical, longest_set, 2)))


def ucell_scores(
    adata: anndata.AnnData, gene_sets: GeneSets, *, max_rank: int | None = None, threads: int = 1
) -> pd.DataFrame:
    """Score every cell for every gene set.

    U = 1 - (sum of the set's ranks - n(n+1)/2) / (n max_rank - n(n+1)/2), ranks of counts from the highest, ties their
    average, ranks beyond max_rank and genes without a count set to max_rank (Andreatta and Carmona 2021,
    doi:10.1016/j.csbj.2021.06.043; `pyucell`).

    Parameters
    ----------
    adata, gene_sets
        As for `topdown_scores`.
    max_rank
        None: `panel_max_rank`.
    threads
        Processes.

    Returns
    -------
    float64 table in 0..1, cells x categories. A set without a gene on the panel scores 0.
    """
    sets = {name: [gene for gene in genes if gene in adata.var_names] for name, genes in gene_sets.items()}
    present = {name: genes for name, genes in sets.items() if genes}
    if max_rank is None:
        max_rank = panel_max_rank(adata, max((len(genes) for genes in present.values()), default=0))
    work = anndata.AnnData(
        sparse.csr_matrix(adata.X), obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame(index=adata.var_names)
    )
    if present:
        compute_ucell_scores(work, present, max_rank=max_rank, suffix="", n_jobs=threads, chunk_size=2000)
    scores = work.obs.reindex(columns=list(gene_sets)).astype(np.float64)
    return scores.fillna(0.0)


def label_ucell(adata: anndata.AnnData, context: LabelContext, settings: UcellSettings) -> Labels:
    """Method `ucell`: the category with the highest `ucell_scores`; cells that express no marker are Unknown."""
    sets = category_genes(context, adata.var_names, settings)
    max_rank = settings.max_rank
    if max_rank is None:
        longest = max(map(len, sets.values()), default=0)
        max_rank = min(_MOST, adata.n_vars) if settings.parameters == "package" else panel_max_rank(adata, longest)
    scores = ucell_scores(adata, sets, max_rank=max_rank, threads=context.threads)
    info = describe_sets(settings, sets) | {"max_rank": max_rank}
    return labels_from_scores(adata, context, scores, floor=0.0, info=info)


register("ucell", label_ucell, UcellSettings)
