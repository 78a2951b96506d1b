"""A manual annotation as the label table of a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stnuclei.taxonomy import Taxonomy


def annotation_table(
    annotation: pd.DataFrame, cells: Sequence[str], taxonomy: str | Taxonomy = "pannuke"
) -> pd.DataFrame:
    """One row a cell of the sample, in its order, as label sets have them.

    Parameters
    ----------
    annotation
        ``cell_id`` and ``label`` (see `stnuclei.labels.read_annotation`), in any order.
    cells
        Ids of the sample's cells.

    Returns
    -------
    cell_id, label (Unknown where the annotation says nothing), confidence (float32: 1, or 0 where it says nothing),
    cluster (int32, -1).
    """
    unknown = Taxonomy.load(taxonomy).unknown.name
    known = annotation.set_index("cell_id")["label"]
    ids = pd.Index([str(cell) for cell in cells])
    label = known.reindex(ids)
    return pd.DataFrame(
        {
            "cell_id": ids.to_numpy(),
            "label": label.fillna(unknown).to_numpy(),
            "confidence": label.notna().to_numpy().astype(np.float32),
            "cluster": np.full(len(ids), -1, np.int32),
        }
    )
