"""The cell-feature matrix of a Xenium bundle, from h5 or from a MEX folder."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import scipy.sparse as sp

from stnuclei.errors import UserError, first_line

#: Cells whose counts are looked at together.
_ROWS = 1 << 16


@dataclass(frozen=True)
class FeatureMatrix:
    """Counts with their names.

    Attributes
    ----------
    path
        What was read.
    counts
        CSR (cells, features), float64 or integer as stored.
    barcodes, ids, names, types
        Cell ids (cells,), and feature ids, names and types (features,), all str.
    protein_scale
        What protein counts are to be divided by.
    """

    path: Path
    counts: sp.csr_matrix
    barcodes: np.ndarray
    ids: np.ndarray
    names: np.ndarray
    types: np.ndarray
    protein_scale: float = 1.0


def read_matrix(folder: Path) -> FeatureMatrix:
    """Read ``cell_feature_matrix.h5`` or the folder ``cell_feature_matrix``.

    Raises
    ------
    UserError
        If there is neither, it is damaged, its parts do not fit, or counts are negative or no whole numbers.
    """
    h5, mex = folder / "cell_feature_matrix.h5", folder / "cell_feature_matrix"
    if h5.is_file():
        matrix = _read_h5(h5)
    elif mex.is_dir():
        matrix = _read_mex(mex)
    else:
        packed = [p.name for p in folder.glob("cell_feature_matrix*") if p.name.endswith((".tar.gz", ".zarr.zip"))]
        hint = (
            f"unpack {packed[0]}"
            if packed and packed[0].endswith(".tar.gz")
            else "copy it from the run's output folder"
        )
        raise UserError(f"{folder}: holds neither cell_feature_matrix.h5 nor the folder cell_feature_matrix; {hint}")
    _check(matrix)
    return matrix


def read_matrix_file(path: Path) -> FeatureMatrix:
    """Read one 10x matrix in h5, of cells or of bins.

    Raises
    ------
    UserError
        As `read_matrix`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such matrix; copy it from the run's output folder")
    matrix = _read_h5(path)
    _check(matrix)
    return matrix


def _read_h5(path: Path) -> FeatureMatrix:
    try:
        with h5py.File(path, "r") as file:
            group, features = file["matrix"], file["matrix/features"]
            shape = tuple(int(size) for size in group["shape"][:])
            # Stored as int64, twice what numbers of features need; larger than int32 is cut to its end, and refused.
            arrays = [group["data"][:], group["indices"].astype(np.int32)[:], group["indptr"][:]]
            barcodes = _decode(group["barcodes"][:])
            ids, names, kinds = (_decode(features[key][:]) for key in ("id", "name", "feature_type"))
            scale = float(file.attrs.get("protein_scaling_factor", 1.0))
    except KeyError as error:
        raise UserError(f"{path}: is no 10x matrix, {str(error)[:120]}; copy it again") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); copy it again") from error
    return FeatureMatrix(path, _compressed(path, arrays, shape), barcodes, ids, names, kinds, scale)


def _compressed(path: Path, arrays: list[np.ndarray], shape: tuple[int, ...]) -> sp.csr_matrix:
    """Features x cells by columns is cells x features by rows: no copy."""
    data, indices, indptr = arrays
    indptr = indptr.astype(np.int64)
    fits = len(shape) == 2 and len(indptr) == shape[1] + 1 and len(indices) == len(data) == indptr[-1]
    if not fits or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise UserError(
            f"{path}: its parts do not fit together (shape {shape}, {len(indptr) - 1:,} columns); copy it again"
        )
    if len(indices) and not 0 <= indices.min() <= indices.max() < shape[0]:
        raise UserError(f"{path}: counts feature {indices.max():,} of {shape[0]:,}; copy it again")
    return sp.csr_matrix((data, indices, indptr), shape=shape[::-1])


def take_columns(counts: sp.csr_matrix, kept: np.ndarray) -> sp.csr_matrix:
    """Columns of a matrix without the zeros it stores, in the matrix's own memory, which is used up.

    Parameters
    ----------
    counts
        CSR (n, m); not to be used any more.
    kept
        (m,) bool.
    """
    column = np.cumsum(kept) - 1
    sizes, end = np.empty(counts.shape[0], np.int64), 0
    for begin in range(0, counts.shape[0], _ROWS):
        indptr = counts.indptr[begin : begin + _ROWS + 1]
        data, indices = (array[indptr[0] : indptr[-1]] for array in (counts.data, counts.indices))
        stays = kept[indices] & (data != 0)
        before = np.concatenate([[0], np.cumsum(stays)])
        sizes[begin : begin + _ROWS] = np.diff(before[indptr - indptr[0]])
        stop = end + int(before[-1])
        counts.data[end:stop], counts.indices[end:stop] = data[stays], column[indices[stays]]
        end = stop
    content = (counts.data[:end], counts.indices[:end], np.concatenate([[0], np.cumsum(sizes)]))
    return sp.csr_matrix(content, shape=(counts.shape[0], int(kept.sum())))


def _read_mex(folder: Path) -> FeatureMatrix:
    paths = [_one_of(folder, names) for names in (("matrix.mtx",), ("barcodes.tsv",), ("features.tsv", "genes.tsv"))]
    try:
        from scipy.io import mmread

        with _open(paths[0], "rb") as file:
            counts = sp.csr_matrix(mmread(file).T)
        barcodes = np.array([line.rstrip("\r\n").split("\t")[0] for line in _open(paths[1], "rt")], dtype=object)
        rows = [line.rstrip("\r\n").split("\t") for line in _open(paths[2], "rt") if line.strip()]
    except (OSError, EOFError, ValueError, zlib.error, IndexError) as error:
        raise UserError(f"{folder}: cannot be read ({first_line(error)}); copy the folder again") from error
    if any(len(row) < 3 for row in rows):
        raise UserError(f"{paths[2]}: has no third column, the feature type; copy it from the run's output folder")
    ids, names, types = (np.array([row[k] for row in rows], dtype=object) for k in range(3))
    return FeatureMatrix(folder, counts, barcodes, ids, names, types)


def _one_of(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    raise UserError(f"{folder}: holds no {names[0]}.gz; copy the folder again")


def _open(path: Path, mode: str) -> IO[Any]:
    opened: IO[Any] = gzip.open(path, mode) if path.suffix == ".gz" else open(path, mode)  # type: ignore[assignment]
    return opened


def _decode(values: np.ndarray) -> np.ndarray:
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype=object)


def _check(matrix: FeatureMatrix) -> None:
    n_cells, n_features = matrix.counts.shape
    lists = {"barcodes": n_cells, "ids": n_features, "names": n_features, "types": n_features}
    for name, length in lists.items():
        if len(getattr(matrix, name)) != length:
            raise UserError(
                f"{matrix.path}: the matrix is {n_cells:,} cells x {n_features:,} features, but there are "
                f"{len(getattr(matrix, name)):,} {name}; copy it again"
            )
    data = matrix.counts.data
    if not np.isfinite(data).all() or (len(data) and (data.min() < 0 or data.max() > np.iinfo(np.int32).max)):
        raise UserError(f"{matrix.path}: holds counts that are negative, too large or no number; copy it again")
    whole = np.equal(np.mod(data, 1), 0).all() if data.dtype.kind == "f" else True
    if not whole:
        raise UserError(f"{matrix.path}: holds fractions, raw counts are needed; give the run's own matrix")
