"""Files and stores that are either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from stnuclei.errors import UserError


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | Path, directory: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed onto `path`, on failure removed.

    A reader therefore never meets a half-written output, and a killed job leaves only a ``.partial-`` file.

    Parameters
    ----------
    path
        The final path; an existing file or store is replaced.
    directory
        Make the temporary path a folder first (zarr stores).

    Yields
    ------
    The temporary path, on the same file system as `path` and with the same ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending is kept: many writers choose the format by it.
    temporary = path.with_name(f".partial-{uuid.uuid4().hex[:8]}-{path.name}")
    if directory:
        temporary.mkdir()
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            remove(path)
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one it came from, says that disk or quota are used up.

    Libraries in compiled code (tensorstore, zarr's codecs) raise errors of their own with the system's words in them.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if any(words in str(error) for words in ("No space left", "RESOURCE_EXHAUSTED", "Disk quota exceeded")):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def disk_full_explained(path: str | Path, kept: str) -> Iterator[None]:
    """Turn the error of a full disk into one sentence.

    Parameters
    ----------
    path
        The output being written.
    kept
        What is safe on disk, or how much space is needed: a clause of the sentence.

    Raises
    ------
    UserError
        In place of the operating system's or a library's error.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        # torch's zip writer turns a short write into a RuntimeError of its own, without a number.
        torn = isinstance(error, RuntimeError) and any(w in str(error) for w in ("inline_container", "StreamWriter"))
        if not disk_full(error) and not torn:
            raise
        raise UserError(
            f"{path}: cannot be written, the disk is full or the quota used up; {kept}. Free space and run again"
        ) from error


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_mb(paths: str | Path | Iterable[str | Path]) -> float:
    """Size of files and folders in MB (1e6 bytes); absent ones count nothing.

    The size of a folder is cached until the folder is replaced or its entries change: Snakemake asks for a store of
    hundreds of files once for each job that reads it.
    """
    total = 0
    for path in [paths] if isinstance(paths, str | Path) else paths:
        try:
            state = os.stat(path)
        except OSError:
            continue
        folder = stat.S_ISDIR(state.st_mode)
        total += _folder_bytes(str(path), state.st_ino, state.st_mtime_ns) if folder else state.st_size
    return total / 1e6


@lru_cache(maxsize=1 << 16)
def _folder_bytes(path: str, inode: int, changed_ns: int) -> int:
    total, todo = 0, [path]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file():
                    total += entry.stat().st_size
    return total
