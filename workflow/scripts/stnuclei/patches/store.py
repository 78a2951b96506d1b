"""Reading patches.zarr."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorstore as ts

from stnuclei.errors import UserError
from stnuclei.io.attributes import StoreFormat, read_attributes
from stnuclei.patches.arrays import open_array, read_table, store_errors

FORMAT = StoreFormat("stnuclei-patches", 1, "patches", "cut_patches")
NUCLEUS = np.dtype([("cell_index", np.int32), ("nucleus_index", np.int32), ("centroid", np.float32, (2,))])


class Items:
    """Patches of one array, decoded when they are asked for.

    ``items[i]`` is one patch, ``items[a:b]`` and ``items[[3, 1, 7]]`` are several in that order, as numpy arrays.
    """

    def __init__(self, path: Path, context: ts.Context | None = None) -> None:
        self.path, self._context = path, context
        self._opened: ts.TensorStore | None = None
        self._process = -1

    @property
    def array(self) -> ts.TensorStore:
        """The tensorstore, opened anew in each process: its threads do not survive a fork."""
        if self._opened is None or self._process != os.getpid():
            self._opened, self._process = open_array(self.path, self._context), os.getpid()
        return self._opened

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape with the number of patches first."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of a pixel."""
        return self.array.dtype.numpy_dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        array = self.array
        if isinstance(key, int | np.integer):
            i = range(len(self))[int(key)]
            with store_errors(self.path, f"[{i}]"):
                return np.asarray(array[i].read().result())
        wanted = list(range(len(self))[key]) if isinstance(key, slice) else np.asarray(key, np.int64).ravel().tolist()
        wanted = [range(len(self))[i] for i in wanted]
        out = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        # One future a patch: tensorstore reads them side by side.
        futures = [array[i].read() for i in wanted]
        for row, (i, future) in enumerate(zip(wanted, futures, strict=True)):
            with store_errors(self.path, f"[{i}]"):
                out[row] = future.result()
        return out

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_context": None, "_opened": None, "_process": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class RowStore:
    """Rows of nuclei by patch: opening, attributes and offsets, which all such stores share."""

    #: Of the attributes; a kind of store sets it.
    format: ClassVar[StoreFormat]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.attrs = read_attributes(self.path, self.format)

    @property
    def sample(self) -> str:
        """Name of the sample."""
        return str(self.attrs["sample"])

    @cached_property
    def offset(self) -> np.ndarray:
        """int64 (N + 1,): patch i has the rows offset[i]:offset[i + 1]."""
        return read_table(self.path / "nuclei_offset")


class NucleusStore(RowStore):
    """Patches and the nuclei of each: length and pixel size, which both kinds of store share."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.instances = Items(self.path / "instances")

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __repr__(self) -> str:
        size = f"{len(self):,} patches of {self.patch_px} px, {self.offset[-1]:,} nuclei"
        return f"{type(self).__name__}({self.path}: {size})"

    @property
    def um_per_px(self) -> float:
        """Size of a pixel, um."""
        return float(self.attrs["um_per_px"])

    @property
    def patch_px(self) -> int:
        """Side of a patch, px."""
        return int(self.attrs["patch_px"])

    def rows_of(self, i: int) -> slice:
        """Rows of the nuclei of patch i in the columns."""
        i = range(len(self))[int(i)]
        return slice(int(self.offset[i]), int(self.offset[i + 1]))


class PatchStore(NucleusStore):
    """Read access to a patches.zarr; pixels stay on disk, the nuclei's columns are read once when first asked for.

    Parameters
    ----------
    path
        The store's folder.

    Attributes
    ----------
    attrs
        Attributes of the store: sample, tissues, um_per_px, patch_px, counts, settings.
    image
        (N, P, P, 3) uint8, RGB, by patch.
    instances
        (N, P, P) uint16, 0 background, k the patch's k-th nucleus, by patch.

    Raises
    ------
    UserError
        If there is no such store, it is none of ours, or of a newer version.
    """

    format = FORMAT

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.image = Items(self.path / "image")

    @property
    def tissues(self) -> list[str]:
        """Tissue names that `tissue` points into."""
        return list(self.attrs["tissues"])

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of all that a model can learn from the store: its arrays, sample, tissues and pixel size.

        Raises
        ------
        UserError
            If the store was written without a hash of its arrays.
        """
        arrays = self.attrs.get("content_sha256")
        if not arrays:
            raise UserError(
                f"{self.path}: says nothing of its content (an older version wrote it); cut the patches again"
            )
        identity = [arrays, self.sample, self.tissues, self.um_per_px, self.patch_px]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @cached_property
    def tissue(self) -> np.ndarray:
        """uint8 (N,): index into `tissues`."""
        return read_table(self.path / "tissue")

    @cached_property
    def origin(self) -> np.ndarray:
        """int32 (N, 2): top-left corner (x, y) in patch_px of the slide."""
        return read_table(self.path / "origin")

    @cached_property
    def cell_index(self) -> np.ndarray:
        """int32 (M,): row of the sample's table (and of its labels), -1 where the nucleus has no cell."""
        return read_table(self.path / "nuclei" / "cell_index")

    @cached_property
    def nucleus_index(self) -> np.ndarray:
        """int32 (M,): row of the sample's nucleus_boundaries."""
        return read_table(self.path / "nuclei" / "nucleus_index")

    @cached_property
    def centroid(self) -> np.ndarray:
        """float32 (M, 2): mean (x, y) of a nucleus' pixels in its patch; pixel 0 has its centre at 0."""
        return read_table(self.path / "nuclei" / "centroid")

    def nuclei(self, i: int) -> np.ndarray:
        """Nuclei of patch i, structured (K,): cell_index, nucleus_index int32, centroid float32 (2,)."""
        rows = self.rows_of(i)
        out = np.empty(rows.stop - rows.start, NUCLEUS)
        for name in NUCLEUS.names or ():
            out[name] = getattr(self, name)[rows]
        return out
