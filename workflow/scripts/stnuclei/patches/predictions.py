"""predictions.zarr: written patch by patch, read like a patch store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stnuclei.cellvit.nuclei import NucleiTable
from stnuclei.disk import disk_full_explained
from stnuclei.files import atomic_write
from stnuclei.io.attributes import StoreFormat
from stnuclei.patches.arrays import SHARD, create_pixels, read_table, write_group, write_table
from stnuclei.patches.store import NucleusStore

FORMAT = StoreFormat("stnuclei-predictions", 1, "predictions", "predict_patches")
COLUMNS = ("class", "class_probability", "class_probabilities", "centroid")


def write_predictions(
    out: str | Path,
    predictions: Iterable[tuple[np.ndarray, NucleiTable]],
    count: int,
    size: int,
    attrs: Mapping[str, Any],
) -> dict[str, int]:
    """Write a store from a stream of patches, atomically.

    Pixels go to disk shard by shard; the nuclei's columns (about 50 bytes a nucleus) are kept until the end.

    Parameters
    ----------
    out
        The store's folder; replaced where it stands.
    predictions
        For each patch, in order, its label map (P, P) with ids 1..K and the table of its K nuclei.
    count
        How many patches come.
    size
        P, px.
    attrs
        ``classes`` (names, background first) and what else is worth keeping.

    Returns
    -------
    Counts: patches, nuclei.

    Raises
    ------
    UserError
        If the disk is full.
    """
    with disk_full_explained(out, "a patch takes 5 kB"), atomic_write(out, directory=True) as aside:
        array = create_pixels(aside / "instances", (count, size, size), "uint16", compress=True)
        columns = _Columns(len(attrs["classes"]))
        held: list[np.ndarray] = []
        done = 0
        for instances, table in predictions:
            held.append(instances.astype(np.uint16))
            columns.add(table)
            if len(held) == SHARD or done + len(held) == count:
                array[done : done + len(held)].write(np.stack(held)).result()
                done += len(held)
                held = []
        if done != count:
            raise RuntimeError(f"{count} patches announced, {done} came")
        counts = {"patches": count, "nuclei": columns.write(aside)}
        identity = {"format": FORMAT.name, "version": FORMAT.version}
        content = {**identity, **attrs, "patch_px": size, "counts": counts}
        write_group(aside, content)
        return counts


class _Columns:
    """The nuclei's columns while they grow."""

    def __init__(self, n_classes: int) -> None:
        self.counts = [0]
        self.blocks: dict[str, list[np.ndarray]] = {
            "class": [np.zeros(0, np.int8)],
            "class_probability": [np.zeros(0, np.float32)],
            "class_probabilities": [np.zeros((0, n_classes), np.float32)],
            "centroid": [np.zeros((0, 2), np.float32)],
        }

    def add(self, table: NucleiTable) -> None:
        """Append the nuclei of a patch."""
        self.counts.append(len(table))
        self.blocks["class"].append(table.class_id)
        for name in COLUMNS[1:]:
            self.blocks[name].append(getattr(table, name))

    def write(self, folder: Path) -> int:
        """Write all columns; the number of nuclei."""
        write_table(folder / "nuclei_offset", np.cumsum(self.counts, dtype=np.int64))
        write_group(folder / "nuclei", {})
        for name, blocks in self.blocks.items():
            write_table(folder / "nuclei" / name, np.concatenate(blocks))
        return sum(self.counts)


class PredictionStore(NucleusStore):
    """Read access to a predictions.zarr.

    Parameters
    ----------
    path
        The store's folder.

    Attributes
    ----------
    attrs
        Attributes: sample, model, taxonomy, classes, um_per_px, patch_px, counts, settings.
    instances
        (N, P, P) uint16, 0 background, k the patch's k-th nucleus, by patch (int, slice or list).

    Raises
    ------
    UserError
        If there is no such store, it is none of predictions, or of a newer version.
    """

    format = FORMAT

    @property
    def classes(self) -> list[str]:
        """Class names by id, background first."""
        return list(self.attrs["classes"])

    @cached_property
    def table(self) -> np.ndarray:
        """All nuclei, structured (M,).

        Fields: class int8 (0: no pixel has a class), class_probability float32 (share of the nucleus' pixels that
        have it), class_probabilities float32 (C,) (mean over the pixels), centroid float32 (2,) (x, y) patch_px.
        """
        columns = {name: read_table(self.path / "nuclei" / name) for name in COLUMNS}
        fields = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
        out = np.empty(len(columns["class"]), fields)
        for name, column in columns.items():
            out[name] = column
        return out

    def nuclei(self, i: int) -> np.ndarray:
        """Nuclei of patch i, structured (K,), see `table`; row k - 1 is the nucleus of id k."""
        return self.table[self.rows_of(i)]
