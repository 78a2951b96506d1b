"""Chemical and sequence properties of genes, from the shipped table (resources/genes)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from stnuclei.resources import resource

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
