"""Choice of the genes that are predicted, sets of genes that are scored, and properties of genes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import scipy.sparse as sp

from stnuclei.config.expression import ExpressionSettings
from stnuclei.errors import UserError
from stnuclei.expression.table import is_control
from stnuclei.resources import resource


def shared_genes(panels: Sequence[Iterable[str]], where: str = "expression") -> list[str]:
    """Genes that all tables have, in the order of the first.

    Raises
    ------
    UserError
        If there is none.
    """
    common = set(panels[0]).intersection(*map(set, panels[1:]))
    if not common:
        raise UserError(f"{where}: its samples have no gene in common; train on samples of one panel")
    return [gene for gene in panels[0] if gene in common]


def gene_facts(values: sp.csr_matrix) -> pd.DataFrame:
    """Abundance and variability of genes over the training patches.

    Parameters
    ----------
    values
        CSR (patches, genes), log(1 + scaled counts).

    Returns
    -------
    One row a gene: ``mean`` (of the log values), ``fraction`` of patches with a count, ``dispersion``: the log of
    variance / mean of the scaled counts, standardised among genes of like mean (20 bins; Satija et al. 2015, scanpy's
    flavour ``seurat``). A gene alone in its bin has 1, one that never varies has NaN.
    """
    scaled = sp.csr_matrix(values, dtype=np.float64, copy=True)
    mean_log = np.asarray(scaled.mean(axis=0)).ravel()
    np.expm1(scaled.data, out=scaled.data)
    n = scaled.shape[0]
    mean = np.asarray(scaled.mean(axis=0)).ravel()
    variance = (np.asarray(scaled.multiply(scaled).mean(axis=0)).ravel() - mean**2) * n / max(n - 1, 1)
    ratio = np.where(mean > 0, variance / np.where(mean > 0, mean, 1), 0)
    logged = pd.Series(np.log(np.where(ratio > 0, ratio, np.nan)))
    bins = pd.cut(pd.Series(np.log1p(mean)), bins=20)
    grouped = logged.groupby(bins, observed=True)
    middle, spread = grouped.transform("mean"), grouped.transform("std")
    alone = spread.isna()
    spread[alone], middle[alone] = middle[alone], 0.0
    fraction = np.asarray((values > 0).mean(axis=0)).ravel()
    return pd.DataFrame({"mean": mean_log, "fraction": fraction, "dispersion": ((logged - middle) / spread).to_numpy()})


def choose_genes(
    facts: pd.DataFrame, genes: Sequence[str], settings: ExpressionSettings, where: str = "expression"
) -> np.ndarray:
    """Rows of the genes to predict, ascending; the controls are always among them.

    Raises
    ------
    UserError
        If no gene is found in enough patches.
    """
    control = is_control(genes)
    frequent = np.flatnonzero((facts["fraction"] >= settings.min_fraction) & ~control)
    if not len(frequent):
        raise UserError(
            f"{where}: no gene is found in {100 * settings.min_fraction:g} % of the training patches; lower "
            "expression.training.min_fraction"
        )
    candidates = facts.iloc[frequent]
    best = np.minimum(
        candidates["mean"].rank(ascending=False), candidates["dispersion"].fillna(-np.inf).rank(ascending=False)
    )
    chosen = frequent[np.argsort(best.to_numpy(), kind="stable")[: settings.max_genes]]
    return np.sort(np.append(chosen, np.flatnonzero(control)))


def gene_sets(facts: pd.DataFrame, genes: Sequence[str], markers: Iterable[str], size: int = 50) -> pd.DataFrame:
    """Membership of the sets that are scored, bool columns, one row a gene.

    ``highly_expressed`` and ``highly_variable``: the `size` genes of highest mean and highest dispersion over the
    training patches (never the tested ones); ``marker``: in the marker tables of the training tissues; ``control``: a
    gene's values dealt anew, in no other set.
    """
    control = is_control(genes)
    top = {"highly_expressed": facts["mean"], "highly_variable": facts["dispersion"]}
    sets = {
        name: values.mask(control).rank(ascending=False, method="first").to_numpy() <= size
        for name, values in top.items()
    }
    marker = np.isin(list(genes), list(markers))
    return pd.DataFrame({"gene": list(genes), **sets, "marker": marker, "control": control})


#: Columns of the table that predictability is related to, and their names in tables.
PROPERTIES = {
    "transcript_length_bp": "transcript length",
    "gc_content": "GC content",
    "protein_length_aa": "protein length",
    "isoelectric_point": "isoelectric point",
    "gravy": "hydropathy",
}


def gene_properties(genes: Sequence[str]) -> pd.DataFrame:
    """Properties of genes by their approved symbols.

    Parameters
    ----------
    genes
        (n,) names.

    Returns
    -------
    (n, properties) float64 in the order of `genes`, columns of `PROPERTIES`; NaN where the table has no value.
    """
    return _table().reindex(list(genes)).reset_index(drop=True)


@lru_cache(maxsize=1)
def _table() -> pd.DataFrame:
    table = pd.read_csv(
        resource("genes/properties.tsv.gz"),
        sep="\t",
        comment="#",
        dtype={"symbol": str},
        keep_default_na=False,
        na_values=[""],
    )
    # One symbol (PDE4C) has two Ensembl ids, with the same values.
    return table.drop_duplicates("symbol").set_index("symbol")[list(PROPERTIES)].astype(float)
