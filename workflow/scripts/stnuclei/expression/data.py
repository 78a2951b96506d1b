"""Patches and expression of several samples; pixels are read as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from stnuclei.errors import UserError
from stnuclei.expression.genes import shared_genes
from stnuclei.expression.table import read_table
from stnuclei.loading import PatchLoader, ReadSettings, Source
from stnuclei.patches import PatchStore


@dataclass(frozen=True)
class PatchSource:
    """``patches.zarr`` and the ``expression.h5ad`` of the same patches."""

    patches: Path
    expression: Path


@dataclass
class PatchData:
    """Patches of several samples; patch i of sample s has number ``first[s] + i``.

    Parameters
    ----------
    sources
        Stores of the pixels.
    rows
        One row a patch: sample, donor, tissue, patch, x, y (centre, um), patch_um, total_counts.
    genes
        Names of the columns.
    values
        CSR float32 (patches, genes), log-normalised.
    """

    sources: list[PatchSource]
    rows: pd.DataFrame
    genes: list[str]
    values: sp.csr_matrix

    @classmethod
    def open(cls, sources: Sequence[PatchSource], genes: Sequence[str] | None = None) -> PatchData:
        """Read the tables; pixels stay on disk.

        Parameters
        ----------
        sources
            At least one.
        genes
            Columns to use, an error if a sample lacks one; None: those that all samples have.

        Raises
        ------
        UserError
            If patches and table do not belong together, or samples differ in pixel size or normalisation.
        """
        tables = [_checked(source) for source in sources]
        for key in ("um_per_px", "target_sum", "patch_um"):
            values = {round(float(table.uns["stnuclei"][key]), 4) for table in tables}
            if len(values) > 1:
                names = ", ".join(str(source.patches) for source in sources)
                raise UserError(f"expression: {key} differs ({sorted(values)}) among {names}; make them alike")
        chosen = list(genes) if genes is not None else shared_genes([table.var_names for table in tables])
        values = sp.vstack([_columns(table, chosen) for table in tables], format="csr")
        rows = pd.concat([_rows(table) for table in tables], ignore_index=True)
        return cls(list(sources), rows, chosen, values)

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, columns: np.ndarray) -> PatchData:
        """The same patches with some of the genes."""
        return PatchData(self.sources, self.rows, [self.genes[k] for k in columns], self.values[:, columns].tocsr())

    def loader(self, numbers: np.ndarray, batch_size: int, threads: int) -> PatchLoader:
        """Batches of the patches with these numbers, in this order; ``image`` uint8 (B, 3, P, P) and ``index``."""
        sources = [Source(source.patches) for source in self.sources]
        order, reading = np.asarray(numbers, np.int64), ReadSettings(threads=threads)
        return PatchLoader(sources, "pannuke", batch_size, order, reading=reading)

    def targets(self, numbers: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Log-normalised expression of patches, float32 (n, genes)."""
        return torch.from_numpy(np.asarray(self.values[np.asarray(numbers)].todense(), np.float32))

    def fingerprint(self) -> str:
        """Hash of pixels, patches, genes and values."""
        digest = hashlib.sha256("".join(PatchStore(source.patches).content_hash for source in self.sources).encode())
        for content in (self.rows.to_csv().encode(), "\n".join(self.genes).encode(), self.values.data.tobytes()):
            digest.update(content)
        return digest.hexdigest()[:16]


def _checked(source: PatchSource) -> AnnData:
    table, store = read_table(source.expression), PatchStore(source.patches)
    named = str(table.obs["sample"].iloc[0]) if table.n_obs else ""
    if table.n_obs != len(store) or named != store.sample:
        raise UserError(
            f"{source.expression}: is of {table.n_obs} patches of {named}, {source.patches} of {len(store)} of "
            f"{store.sample}; run patch_expression again"
        )
    return table


def _columns(table: AnnData, genes: list[str]) -> sp.csr_matrix:
    column = table.var_names.get_indexer(genes)
    if (column < 0).any():
        raise UserError(
            f"expression: gene {genes[int(np.argmin(column))]} is not measured in {table.obs['sample'].iloc[0]}"
        )
    return sp.csr_matrix(table.X, dtype=np.float32)[:, column]


def _rows(table: AnnData) -> pd.DataFrame:
    rows = table.obs[["patch", "sample", "donor", "tissue", "total_counts"]].reset_index(drop=True)
    rows = rows.astype({"sample": str, "donor": str, "tissue": str})
    rows[["x", "y"]] = np.asarray(table.obsm["spatial"], np.float64)
    return rows.assign(patch_um=float(table.uns["stnuclei"]["patch_um"]))
