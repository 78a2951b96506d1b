"""PanNuke's folds as patch stores: the manually annotated set in the form everything else has.

A fold is images (N, 256, 256, 3), masks (N, 256, 256, 6) and types (N,): float64, 13 GB as npy, so it is mapped and
streamed. Mask channels 0-4 hold the ids of Neoplastic, Inflammatory, Connective, Dead and Epithelial nuclei, each
numbered on its own; channel 5 is background. Where two channels mark a pixel, the later one has it (as CellViT has it).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stnuclei.config.inputs import PANNUKE_UM_PER_PX
from stnuclei.errors import UserError, suggestion
from stnuclei.files import atomic_write
from stnuclei.patches.instance_map import number_patch
from stnuclei.patches.npyfile import RowFile
from stnuclei.patches.write import PatchBlock, write_patches
from stnuclei.progress import Progress
from stnuclei.taxonomy import Taxonomy

CHANNELS = ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")
_BLOCK = 32  # patches read at once: 50 MB of float64 images, 100 MB of masks


def import_pannuke(
    folder: str | Path,
    fold: int,
    out: str | Path,
    labels_out: str | Path,
    taxonomy: Taxonomy | str | Path = "pannuke",
    tissues: Sequence[str] = (),
) -> dict[str, Any]:
    """Write one fold of PanNuke as a patch store and its labels.

    Parameters
    ----------
    folder
        Holds ``fold_1`` (or ``Fold 1``) with ``images/fold1/images.npy``, ``images/fold1/types.npy`` and
        ``masks/fold1/masks.npy``; ``.npz`` instead of ``.npy`` is read as well.
    fold
        1, 2 or 3.
    out, labels_out
        patches.zarr and labels/manual.parquet. ``cell_index`` of the store is the row of the labels.
    taxonomy
        Classes that it lacks become Unknown.
    tissues
        Only patches of these tissues, in any spelling (``Head and neck``, ``HeadNeck``); empty: all patches.

    Returns
    -------
    Counts: patches, nuclei, nuclei_covered (left without a pixel by a later channel), one number a class, bytes.

    Raises
    ------
    UserError
        If a file is missing, cut short, or not what PanNuke holds.
    """
    images, masks, types = _open(Path(folder), fold)
    taxonomy = Taxonomy.load(taxonomy)
    kept = _rows_of(types, tissues, fold)
    present, tissue = np.unique(types[kept], return_inverse=True)
    names: list[str] = []
    channels: list[np.ndarray] = []
    covered = [0]
    rows = PatchRows(kept, tissue.astype(np.uint8), fold)
    blocks = _blocks(images, masks, rows, names, channels, covered)

    def counts() -> dict[str, Any]:
        number = np.bincount(np.concatenate([np.zeros(0, int), *channels]), minlength=len(CHANNELS))
        by_class = dict(zip(CHANNELS, number.tolist(), strict=True))
        return {"counts": {"nuclei_covered": covered[0], "by_class": by_class}, "n_cells": len(names)}

    attrs = {
        "sample": f"pannuke_{fold}",
        "tissues": [str(t) for t in present],
        "um_per_px": PANNUKE_UM_PER_PX,
        "settings": {"fold": fold, "channels": list(CHANNELS), "tissues": list(tissues)},
    }
    # Labels after the patches: they are only there when the store is.
    written = write_patches(out, blocks, attrs, size=images.shape[1], extra=counts)
    _write_labels(labels_out, names, np.concatenate([np.zeros(0, np.uint8), *channels]), taxonomy)
    print(
        f"pannuke fold {fold}: {written['counts']['patches']:,} patches, {len(names):,} nuclei "
        f"({written['counts']['by_class']}), {covered[0]:,} wholly covered by a later class left out, "
        f"{written['counts']['bytes'] / 1e6:,.0f} MB",
        flush=True,
    )
    return written["counts"]


def _open(folder: Path, fold: int) -> tuple[RowFile, RowFile, np.ndarray]:
    """Images, masks and tissue types of a fold, checked against each other."""
    images = RowFile(_find(folder, fold, "images", "images"))
    masks = RowFile(_find(folder, fold, "masks", "masks"))
    types = _texts(_find(folder, fold, "images", "types"))
    if len(images.shape) != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise UserError(f"{images.path}: has shape {images.shape}; PanNuke's images are (N, 256, 256, 3)")
    if masks.shape != (*images.shape[:3], len(CHANNELS) + 1):
        raise UserError(
            f"{masks.path}: has shape {masks.shape}; for images of shape {images.shape} it must be "
            f"{(*images.shape[:3], len(CHANNELS) + 1)}"
        )
    if types.shape != images.shape[:1]:
        raise UserError(f"fold {fold}: types.npy names {len(types)} tissues for {images.shape[0]} images")
    return images, masks, types.astype(str)


def _texts(path: Path) -> np.ndarray:
    """Text array of an npy file, or of an npz file that holds one array; pickled arrays are refused, they run code."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            names = loaded.files
            if len(names) != 1:
                raise UserError(
                    f"{path}: holds the arrays {', '.join(names) or 'none'}; one array of tissues is needed"
                )
            loaded = loaded[names[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read ({str(error).splitlines()[0][:80]}); save it as an array of text, without pickle"
        ) from error
    return loaded


@dataclass(frozen=True)
class PatchRows:
    """Patches of a fold to import.

    Parameters
    ----------
    numbers
        int64 (n,), rows of the fold's arrays.
    tissue
        uint8 (n,), index into the store's tissues.
    fold
        1, 2 or 3.
    """

    numbers: np.ndarray
    tissue: np.ndarray
    fold: int

    def between(self, begin: int, end: int) -> PatchRows:
        """The patches among the rows `begin` to `end` of the fold."""
        window = slice(*np.searchsorted(self.numbers, [begin, end]))
        return PatchRows(self.numbers[window], self.tissue[window], self.fold)


def _rows_of(types: np.ndarray, tissues: Sequence[str], fold: int) -> np.ndarray:
    """Rows of the tissues asked for, int64; all rows where none is named."""
    if not tissues:
        return np.arange(len(types))
    present = {_letters(name): str(name) for name in np.unique(types)}
    absent = [name for name in tissues if _letters(name) not in present]
    if absent:
        raise UserError(
            f"PanNuke's fold {fold}: has no tissue {', '.join(absent)}; {suggestion(absent[0], list(present.values()))}"
        )
    return np.flatnonzero(np.isin(types, [present[_letters(name)] for name in tissues]))


def _letters(name: str) -> str:
    """PanNuke writes HeadNeck, Bile-duct and Adrenal_gland; other sources write them otherwise."""
    return re.sub(r"[^a-z]|and", "", name.casefold().replace("gland", "gl"))


def _find(folder: Path, fold: int, subfolder: str, name: str) -> Path:
    """Path of one of a fold's files, in any of the layouts it is handed around in."""
    roots = [folder / f"{word}{fold}" for word in ("fold_", "Fold ", "fold", "Fold", "fold ", "Fold_")]
    for root in [*roots, folder]:
        for searched in (root / subfolder / f"fold{fold}", root / subfolder, root):
            if root == folder and searched != root / subfolder / f"fold{fold}":
                continue  # without a fold's name in the path it could be any fold
            for suffix in (".npy", ".npz"):
                if (searched / (name + suffix)).is_file():
                    return searched / (name + suffix)
    raise UserError(
        f"{folder}: fold {fold} has no {name}.npy; expected fold_{fold}/{subfolder}/fold{fold}/{name}.npy as PanNuke "
        "is distributed (set pannuke.path)"
    )


def _blocks(
    images: RowFile,
    masks: RowFile,
    rows: PatchRows,
    names: list[str],
    channels: list[np.ndarray],
    covered: list[int],
) -> Iterator[PatchBlock]:
    """Patches in the fold's order; `names`, `channels` and `covered` grow with them."""
    bar = Progress(images.shape[0], f"PanNuke fold {rows.fold}", "patches")
    done = 0
    for pixels, marks in zip(images.blocks(_BLOCK), masks.blocks(_BLOCK), strict=True):
        block_rows = rows.between(done, done + len(pixels))
        if len(block_rows.numbers):
            read = block_rows.numbers - done
            yield _block(_as_pixels(pixels[read], images.path), marks[read], block_rows, names, channels, covered)
        done += len(pixels)
        bar.update(len(pixels))
    bar.close()


def _as_pixels(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
        raise UserError(f"{path}: holds values outside 0 to 255; these are not PanNuke's RGB images")
    if values.max() <= 1 and values.max() > 0 and (values % 1).any():
        raise UserError(f"{path}: values lie between 0 and 1, PanNuke's between 0 and 255; give the original file")
    return np.rint(values).astype(np.uint8)


def _block(
    pixels: np.ndarray,
    marks: np.ndarray,
    rows: PatchRows,
    names: list[str],
    channels: list[np.ndarray],
    covered: list[int],
) -> PatchBlock:
    n, size = pixels.shape[:2]
    instances = np.empty((n, size, size), np.uint16)
    centroids, count, before = [np.zeros((0, 2), np.float32)], np.zeros(n, np.int64), len(names)
    for i in range(n):
        labels, channel, ids = merge_channels(marks[i])
        none = np.zeros((len(ids), 4))
        slot = np.zeros(len(ids) + 1, np.int32)
        places, centres, _ = number_patch(labels, none, 0, 0, False, slot, instances[i])
        covered[0] += len(ids) - len(places)
        count[i] = len(places)
        centroids.append(centres)
        channels.append(channel[places].astype(np.uint8))
        patch = f"fold{rows.fold}_{rows.numbers[i]}"
        names += [f"{patch}_{CHANNELS[c]}_{k}" for c, k in zip(channel[places], ids[places], strict=True)]
    cells = np.arange(before, len(names), dtype=np.int32)
    origin = np.zeros((n, 2), np.int32)
    return PatchBlock(pixels, instances, origin, rows.tissue, count, cells, cells, np.concatenate(centroids))


def merge_channels(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put the class channels of one mask over each other.

    Parameters
    ----------
    mask
        (P, P, 6), ids by channel, the last is background and not looked at.

    Returns
    -------
    labels : int32 (P, P)
        0 background, k the k-th nucleus by channel and id; a later channel lies on top.
    channel : int64 (n,)
        Channel of each nucleus.
    ids : int64 (n,)
        Its id there.
    """
    labels = np.zeros(mask.shape[:2], np.int32)
    channel: list[int] = []
    ids: list[int] = []
    for c in range(len(CHANNELS)):
        plane = np.asarray(mask[..., c]).astype(np.int64)
        values = np.unique(plane)
        values = values[values > 0]
        marked = plane > 0
        labels[marked] = len(ids) + 1 + np.searchsorted(values, plane[marked])
        channel += [c] * len(values)
        ids += values.tolist()
    return labels, np.array(channel, np.int64), np.array(ids, np.int64)


def _write_labels(path: str | Path, names: list[str], channel: np.ndarray, taxonomy: Taxonomy) -> None:
    known = [name if name in taxonomy.names else taxonomy.category(name) for name in CHANNELS]
    table = pa.table(
        {
            "cell_id": pa.array(names, pa.string()),
            "label": pa.array([known[c] for c in channel], pa.string()),
            "confidence": pa.array(np.ones(len(names), np.float32)),
            "cluster": pa.array(np.full(len(names), -1, np.int32)),
            "alternatives": pa.array([""] * len(names), pa.string()),
        }
    )
    with atomic_write(path) as aside:
        pq.write_table(table, aside)
