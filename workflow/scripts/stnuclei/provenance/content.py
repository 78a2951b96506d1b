"""Hashes of what files and stores hold, whatever the encoding: chunks, shards, compression, row groups, time stamps.

A zarr array counts by its type, shape and values; a parquet table by its columns in order; a checkpoint by the tensors
of its model; JSON by its values; any other file by its bytes. Everything is streamed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from stnuclei.errors import UserError, first_line
from stnuclei.files import sha256
from stnuclei.provenance.arrays import zarr_arrays
from stnuclei.provenance.tables import table_hash


def content_hashes(path: str | Path) -> dict[str, str]:
    """Hash of each member of a file or folder.

    Parameters
    ----------
    path
        A zarr store, a parquet table, a checkpoint, any other file, or a folder with such.

    Returns
    -------
    Name of the member -> hexadecimal SHA-256 of its content: arrays of a store by their path in it (``image``,
    ``nuclei/centroid``), files of a folder by their relative path; a single file has the one name ``""``.

    Raises
    ------
    UserError
        If there is nothing at `path`, or it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is nothing to hash")
    if path.is_file():
        return {"": file_hash(path)}
    return dict(sorted(_members(path, "")))


def total(hashes: dict[str, str]) -> str:
    """One hash for all members."""
    lines = "".join(f"{name}\t{value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _members(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    if _is_zarr(folder):
        for name, value in zarr_arrays(folder):
            yield f"{prefix}{name}", value
        # SpatialData keeps shapes as parquet inside the store.
        for table in sorted(folder.rglob("*.parquet")):
            yield f"{prefix}{table.relative_to(folder)}", table_hash(table)
        return
    for child in sorted(folder.iterdir()):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            yield from _members(child, f"{prefix}{child.name}/")
        else:
            yield f"{prefix}{child.name}", file_hash(child)


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def file_hash(path: Path) -> str:
    """Hash of one file's content, by its ending."""
    if path.suffix == ".parquet":
        return table_hash(path)
    if path.suffix == ".pt":
        return _checkpoint_hash(path)
    if path.suffix == ".json":
        return _json_hash(path)
    return sha256(path)


def _json_hash(path: Path) -> str:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checkpoint_hash(path: Path) -> str:
    import torch  # here alone: hashing tables and stores needs no torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 torch raises half a dozen kinds for a damaged file
        raise UserError(f"{path}: not a checkpoint ({first_line(error)})") from error
    state = content.get("model_state_dict", content)
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().contiguous()
        digest.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
