"""Table of patches x genes, ``expression.h5ad``: made, written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData, read_h5ad

from stnuclei.errors import UserError
from stnuclei.expression.counting import PatchCounts
from stnuclei.files import atomic_write
from stnuclei.patches import PatchStore

FORMAT, VERSION = "stnuclei-patch-expression", 1
#: Suffix of a control: a gene's values permuted among the slide's patches, so that no picture predicts them.
CONTROL = "|control"


def log_normalise(counts: sp.csr_matrix, target_sum: float) -> sp.csr_matrix:
    """Scale each row to one sum and take log(1 + x), sparse throughout.

    Parameters
    ----------
    counts
        (n, genes) raw counts.
    target_sum
        Sum of each row after scaling; fixed, so that slides stay comparable.

    Returns
    -------
    CSR float32 (n, genes); rows without a count stay zero.
    """
    values = sp.csr_matrix(counts, dtype=np.float64, copy=True)
    totals = np.asarray(values.sum(axis=1)).ravel()
    scale = target_sum / np.where(totals > 0, totals, target_sum)
    values.data *= np.repeat(scale, np.diff(values.indptr))
    np.log1p(values.data, out=values.data)
    return values.astype(np.float32)


@dataclass(frozen=True)
class TableSettings:
    """Settings of a patch table.

    Parameters
    ----------
    target_sum
        See `log_normalise`.
    controls
        Number of genes that get a twin, ``GENE|control``: the gene's values, permuted among the patches that hold
        `min_counts` counts. As abundant and as variable as the gene, it is random in space by construction.
    min_counts
        Of the controls.
    """

    target_sum: float = 10_000.0
    controls: int = 0
    min_counts: int = 1


def patch_table(
    store: PatchStore,
    counted: PatchCounts,
    genes: Iterable[str],
    *,
    donor: str,
    seed: int = 0,
    **settings: Any,
) -> AnnData:
    """Table of a store's patches.

    Parameters
    ----------
    store
        The patches.
    counted
        Their raw counts.
    genes
        Names of the columns.
    donor
        Donor of the slide; patches are split by it.
    seed
        Of the controls.
    **settings
        See `TableSettings`.

    Returns
    -------
    Patches x genes in the store's order: ``X`` log-normalised (CSR float32), ``layers["counts"]`` raw (CSR int32),
    ``obsm["spatial"]`` the patch's centre (x, y) in um of the slide, ``obs`` patch, sample, donor, tissue, n_cells,
    total_counts; ``uns["stnuclei"]`` the method of counting and the patches' size and stride in um.
    """
    chosen = TableSettings(**settings)
    um, counts, names = store.um_per_px, counted.counts.astype(np.int32), pd.Index(genes).astype(str)
    obs = _patches(store, counted, donor)
    values = log_normalise(counts, chosen.target_sum)
    order = _permutation(obs["total_counts"].to_numpy() >= chosen.min_counts, seed)
    twin = names.get_indexer(control_genes(names, chosen.controls))
    values, counts = (sp.hstack([rows, rows[order][:, twin]], format="csr") for rows in (values, counts))
    table = AnnData(values, obs=obs, var=pd.DataFrame(index=names.append(names[twin] + CONTROL)))
    table.layers["counts"] = counts
    table.obsm["spatial"] = (store.origin + store.patch_px / 2) * um
    table.uns["stnuclei"] = {
        "format": FORMAT,
        "version": VERSION,
        "target_sum": chosen.target_sum,
        "um_per_px": um,
        "patch_um": store.patch_px * um,
        "stride_um": (store.attrs["settings"].get("stride") or 0) * um,
        **counted.info,
    }
    return table


def _patches(store: PatchStore, counted: PatchCounts, donor: str) -> pd.DataFrame:
    n = len(store)
    columns = {
        "patch": np.arange(n),
        "sample": pd.Categorical([store.sample] * n),
        "donor": pd.Categorical([donor or store.sample] * n),
        "tissue": pd.Categorical([store.tissues[k] for k in store.tissue] if store.tissues else [""] * n),
        "n_cells": counted.cells.astype(np.int64),
        "total_counts": np.asarray(counted.counts.sum(axis=1)).ravel().astype(np.int64),
    }
    return pd.DataFrame(columns, index=[f"{store.sample}:{i}" for i in range(n)])


def control_genes(genes: Iterable[str], number: int) -> list[str]:
    """Genes that get a twin, chosen by their names alone: slides of one panel have the same."""
    return sorted(genes, key=lambda gene: hashlib.sha256(gene.encode()).digest())[:number]


def is_control(genes: Iterable[str]) -> np.ndarray:
    """Mask of the controls among columns, bool (n,)."""
    return np.array([str(gene).endswith(CONTROL) for gene in genes], bool)


def _permutation(usable: np.ndarray, seed: int) -> np.ndarray:
    """A permutation of the usable rows among themselves, int64 (n,)."""
    order = np.arange(len(usable))
    order[usable] = np.random.default_rng([seed, 13]).permutation(np.flatnonzero(usable))
    return order


def write_table(table: AnnData, path: str | Path) -> None:
    """Write a table atomically."""
    with atomic_write(path) as temporary:
        table.write_h5ad(temporary, compression="gzip")


def read_table(path: str | Path) -> AnnData:
    """Read a table that `write_table` wrote.

    Raises
    ------
    UserError
        If it is not there, is damaged or is another kind of table.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with the rule patch_expression")
    try:
        table = read_h5ad(path)
    except Exception as error:  # noqa: BLE001 h5py and anndata raise a dozen kinds for a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise UserError(f"{path}: is damaged ({reason}); delete it and run again") from error
    if table.uns.get("stnuclei", {}).get("format") != FORMAT:
        raise UserError(f"{path}: is no table of patches; write it with the rule patch_expression")
    return table
