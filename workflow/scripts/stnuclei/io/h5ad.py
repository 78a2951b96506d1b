"""Tables of cells and genes in h5ad files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stnuclei.errors import UserError, first_line

if TYPE_CHECKING:
    from anndata import AnnData


def read_h5ad(path: Path) -> AnnData:
    """Read a table that a user gives.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    import anndata  # heavy, and not needed for --help

    try:
        return anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as h5ad ({first_line(error)}); write it again") from error
