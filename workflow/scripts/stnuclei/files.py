"""Files and stores that are either whole or absent."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def write_aside(path: str | Path, directory: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed onto `path`, on failure removed.

    A reader therefore never meets a half-written output, and a killed job leaves only a ``.partial-`` file.

    Parameters
    ----------
    path
        The final place. What stands there is replaced.
    directory
        Make the temporary path a folder first (zarr stores).

    Yields
    ------
    The temporary path, on the same file system as `path` and with the same ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending is kept: many writers choose the format by it.
    aside = path.with_name(f".partial-{uuid.uuid4().hex[:8]}-{path.name}")
    if directory:
        aside.mkdir()
    try:
        yield aside
        if path.is_dir() and not path.is_symlink():
            remove(path)
        os.replace(aside, path)
    except BaseException:
        remove(aside)
        raise


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
