"""Fingerprints of what was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stnuclei.files import sha256

#: Bytes at either end of a file that ``ends`` looks at.
END = 8 << 20


def fingerprint(path: str | Path, checksums: str = "ends") -> dict[str, Any]:
    """Size and checksum of one file.

    Parameters
    ----------
    path
        The file; where it is gone, only that is said.
    checksums
        ``full``: SHA-256 of all bytes (a slide of 20 GB is read once more). ``ends``: of the first and last 8 MiB and
        the size, which tells files apart that any tool has written anew, not one with a changed byte in its middle;
        files of up to 16 MiB are hashed whole by either.

    Returns
    -------
    ``bytes`` and ``sha256`` or ``sha256_of_ends``; the time of the file is left out, copies differ in it.
    """
    path = Path(path)
    if not path.is_file():
        return {"absent": True}
    size = path.stat().st_size
    if checksums == "full" or size <= 2 * END:
        return {"bytes": size, "sha256": sha256(path)}
    return {"bytes": size, "sha256_of_ends": _ends(path, size)}


def _ends(path: Path, size: int) -> str:
    digest = hashlib.sha256(f"{size}\n".encode())
    with open(path, "rb") as file:
        digest.update(file.read(END))
        file.seek(-END, 2)
        digest.update(file.read(END))
    return digest.hexdigest()


def fingerprints(paths: Iterable[str | Path], checksums: str = "ends") -> dict[str, dict[str, Any]]:
    """Fingerprint of each file, folders file by file; by the path below the folder.

    Parameters
    ----------
    paths
        Files and folders.
    checksums
        See `fingerprint`.
    """
    recorded: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            recorded[str(file.relative_to(path.parent))] = fingerprint(file, checksums)
    return recorded
