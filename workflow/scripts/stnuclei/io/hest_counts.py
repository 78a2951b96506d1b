"""Transcripts to cells x genes, in batches: memory grows with cells and genes, not with transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp

from stnuclei.errors import UserError
from stnuclei.io.features import GENE_CATEGORIES, is_control_name
from stnuclei.io.tables import batches, column_names, numbers, texts
from stnuclei.progress import progress

_NEEDED = ("cell_id", "feature_name", "qv", "x_location", "y_location", "he_x", "he_y")
_NO_CELL = ("-1", "UNASSIGNED", "")
#: Column of transcripts.parquet: 1 where the transcript lies over the nucleus of its cell.
OVERLAPS = "overlaps_nucleus"
#: Rows of the running sum after which it is summed up; bounds memory to about 0.5 GB.
_PENDING = 10_000_000
_GENE_BITS = 20


@dataclass(frozen=True)
class Counted:
    """Counts made from the transcripts.

    Attributes
    ----------
    cells, genes
        Ids (str) and names.
    counts
        (cells, genes) CSR int32.
    centres
        (cells, 2) float64, mean (x, y) of a cell's transcripts, he_px.
    um_to_he
        (3, 3) affine from um to he_px, least squares over a sample of transcripts.
    residual_um
        RMS distance from that affine, um: near zero where the dataset warped nothing.
    info
        Numbers of transcripts read, kept and left out, by reason.
    """

    cells: pd.Index
    genes: np.ndarray
    counts: sp.csr_matrix
    centres: np.ndarray
    um_to_he: np.ndarray
    residual_um: float
    info: dict[str, int]

    @property
    def um_per_px(self) -> float:
        """H&E pixel size that the two frames imply, um."""
        return float(1 / np.sqrt(abs(np.linalg.det(self.um_to_he[:2, :2]))))


class Codes:
    """Running numbers of names."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}

    def of(self, path: Path, column: str, values: pa.Array) -> np.ndarray:
        """Number of each value; only a batch's different values are looked at one by one."""
        coded = values.dictionary_encode() if not pa.types.is_dictionary(values.type) else values
        if coded.null_count:
            raise UserError(f"{path}, column {column}: {coded.null_count:,} values are missing; download it again")
        names = texts(path, column, coded.dictionary)
        numbers_of = np.array([self.names.setdefault(name, len(self.names)) for name in names], dtype=np.int64)
        return numbers_of[coded.indices.to_numpy(zero_copy_only=False)]


class _Sums:
    """Counts of (cell, gene) pairs and sums of positions, added up batch by batch."""

    def __init__(self) -> None:
        self.keys, self.values = np.empty(0, np.int64), np.empty(0, np.int64)
        self.pending: list[np.ndarray] = []
        self.positions = np.zeros((0, 3))

    def add(self, cell: np.ndarray, gene: np.ndarray, xy: np.ndarray) -> None:
        self.pending.append(cell << _GENE_BITS | gene)
        if len(cell):
            top = int(cell.max()) + 1
            if top > len(self.positions):
                self.positions = np.vstack([self.positions, np.zeros((top - len(self.positions) + 65536, 3))])
            for column, weight in enumerate((xy[:, 0], xy[:, 1], None)):
                self.positions[:top, column] += np.bincount(cell, weights=weight, minlength=top)
        if sum(map(len, self.pending)) > _PENDING:
            self.settle()

    def settle(self) -> None:
        """Sum what is pending into one sorted list of pairs."""
        keys, counts = np.unique(np.concatenate([np.empty(0, np.int64), *self.pending]), return_counts=True)
        self.pending = []
        both, where = np.unique(np.concatenate([self.keys, keys]), return_inverse=True)
        self.values = np.bincount(where, np.concatenate([self.values, counts]), len(both)).astype(np.int64)
        self.keys = both


def count_transcripts(path: Path, min_qv: float = 20.0, *, nuclei_only: bool = False) -> Counted:
    """Count genes in cells: quality at least `min_qv`, controls and unassigned molecules left out.

    Genes are told by ``is_gene``, else by ``codeword_category``, else (XOA 1 and 2) by their names.

    Parameters
    ----------
    path
        ``{id}_transcripts.parquet`` of HEST-1k.
    min_qv
        Phred-scaled quality.
    nuclei_only
        Count only the transcripts that lie over a nucleus (column ``overlaps_nucleus``).

    Raises
    ------
    UserError
        If the file is damaged, lacks a column, or leaves nothing to count.
    """
    names = column_names(path)
    tells_gene = next((name for name in ("is_gene", "codeword_category") if name in names), None)
    columns = [*_NEEDED, *([tells_gene] if tells_gene else []), *([OVERLAPS] if nuclei_only else [])]
    cells, genes, sums, pairs = Codes(), Codes(), _Sums(), []
    info = dict.fromkeys(("read", "low_quality", "control", "unassigned", "outside_nuclei", "kept"), 0)
    total = _batch_count(path)
    for batch in progress(batches(path, columns), total=total, label=path.name, unit="batches"):
        gene = gene_flags(path, batch, tells_gene)
        good = pc.greater_equal(batch["qv"], min_qv).to_numpy(zero_copy_only=False).astype(bool)
        owner = batch["cell_id"]
        free = _unassigned(owner)
        keep = good & gene & ~free
        info["read"] += len(keep)
        if nuclei_only:
            inside = over_nucleus(path, batch)
            info["outside_nuclei"] += int((keep & ~inside).sum())
            keep &= inside
        info["low_quality"] += int((~good).sum())
        info["control"] += int((good & ~gene).sum())
        info["unassigned"] += int((good & gene & free).sum())
        info["kept"] += int(keep.sum())
        xy = np.column_stack([numbers(path, axis, batch[axis]) for axis in ("he_x", "he_y")])
        um = np.column_stack([numbers(path, axis, batch[axis]) for axis in ("x_location", "y_location")])
        step = max(len(um) // 2000, 1)
        pairs.append(np.hstack([um[::step], xy[::step]]))
        mask = pa.array(keep)
        sums.add(
            cells.of(path, "cell_id", owner.filter(mask)),
            genes.of(path, "feature_name", batch["feature_name"].filter(mask)),
            xy[keep],
        )
    if not info["kept"]:
        raise UserError(f"{path}: none of its {info['read']:,} transcripts is a gene in a cell with qv >= {min_qv:g}")
    return _finish(path, cells, genes, sums, np.vstack(pairs), info)


def _finish(path: Path, cells: Codes, genes: Codes, sums: _Sums, pairs: np.ndarray, info: dict[str, int]) -> Counted:
    sums.settle()
    shape = (len(cells.names), len(genes.names))
    row, column = sums.keys >> _GENE_BITS, sums.keys & ((1 << _GENE_BITS) - 1)
    counts = sp.csr_matrix((sums.values.astype(np.int32), (row, column)), shape=shape)
    order = np.argsort(np.array(list(genes.names), dtype=object))
    matrix, residual = _fit(path, pairs)
    positions = sums.positions[: shape[0]]
    return Counted(
        pd.Index(list(cells.names), dtype=object),
        np.array(list(genes.names), dtype=object)[order],
        counts[:, order],
        positions[:, :2] / np.maximum(positions[:, 2:], 1),
        matrix,
        residual,
        info,
    )


def _fit(path: Path, pairs: np.ndarray) -> tuple[np.ndarray, float]:
    """Affine from um to he_px, and the RMS residual in um."""
    design = np.column_stack([pairs[:, :2], np.ones(len(pairs))])
    solution, _, rank, _ = np.linalg.lstsq(design, pairs[:, 2:], rcond=None)
    matrix = np.vstack([solution.T, [0.0, 0.0, 1.0]])
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if rank < 3 or scale < 1e-6:
        raise UserError(f"{path}: he_x, he_y do not follow from x_location, y_location; download it again")
    distance = np.linalg.norm(design @ solution - pairs[:, 2:], axis=1)
    return matrix, float(np.sqrt(np.mean(distance**2)) / scale)


def gene_flags(path: Path, batch: pa.RecordBatch, by: str | None) -> np.ndarray:
    """Transcripts of genes, (n,) bool: by column `by` (``is_gene``, ``codeword_category``), else by their names."""
    if by == "is_gene":
        column = batch["is_gene"]
        return column.cast(pa.bool_()).to_numpy(zero_copy_only=False).astype(bool)
    coded = batch[by or "feature_name"].dictionary_encode()
    names = texts(path, by or "feature_name", coded.dictionary).to_numpy()
    flags = np.isin(names, GENE_CATEGORIES) if by else ~is_control_name(names)
    return flags[coded.indices.to_numpy(zero_copy_only=False)]


def over_nucleus(path: Path, batch: pa.RecordBatch) -> np.ndarray:
    """Transcripts that lie over a nucleus, bool (n,)."""
    column = batch[OVERLAPS]
    return numbers(path, OVERLAPS, column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column) > 0


def _unassigned(owner: pa.Array) -> np.ndarray:
    if pa.types.is_integer(owner.type):
        return pc.less(owner, 0).fill_null(True).to_numpy(zero_copy_only=False)
    values = [
        name.encode() if pa.types.is_binary(owner.type) or pa.types.is_large_binary(owner.type) else name
        for name in _NO_CELL
    ]
    free = pc.is_in(owner, value_set=pa.array(values, type=owner.type))
    return pc.or_(free, pc.is_null(owner)).to_numpy(zero_copy_only=False)


def _batch_count(path: Path, rows: int = 1 << 18) -> int | None:
    try:
        return -(-pq.read_metadata(path).num_rows // rows)
    except (pa.ArrowException, OSError):
        return None
