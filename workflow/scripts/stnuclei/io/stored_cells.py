"""Table of the cells in a sample's store, and their ids alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import zarr

from stnuclei.errors import first_line
from stnuclei.io.open_image import FORMAT
from stnuclei.io.stored import Stored

if TYPE_CHECKING:
    from anndata import AnnData


class StoredCells(Stored["AnnData"]):
    """Table of a sample's store.

    Parameters
    ----------
    store
        sample.zarr.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store / "tables" / "table"

    def cell_ids(self) -> pa.Array:
        """Ids of the cells (n_cells,), text.

        Raises
        ------
        UserError
            If the table cannot be read.
        """
        with self._readable():
            obs: Any = zarr.open_group(self._path / "obs", mode="r")
            return pa.array(np.asarray(obs[obs.attrs["_index"]][:]), pa.string())

    def read(self) -> AnnData:
        """The table whole, with its counts.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        from anndata.io import read_zarr  # heavy: who needs the ids alone does without

        with self._readable():
            table = read_zarr(self._path)
        table.obs_names = table.obs_names.astype(object)
        table.obs["cell_id"] = table.obs["cell_id"].astype(object)
        return table

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, ValueError) as error:
            raise FORMAT.damaged(self._store, first_line(error)) from error
