"""Disk space: size of files and folders, outputs that can be written, and the sentence about a full disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from stnuclei.errors import MachineError, UserError

#: Words of libraries in compiled code for a full disk, and of torch's zip writer for a write that came out short.
_FULL = ("No space left", "RESOURCE_EXHAUSTED", "Disk quota exceeded", "File too large")
_TORN = ("inline_container", "StreamWriter", "iostream error")


def check_output(path: Path) -> None:
    """Refuse an output folder that cannot be made, before hours of work.

    Raises
    ------
    UserError
        If it is a file, lies in one, or may not be written.
    """
    there = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    if not there.is_dir():
        raise UserError(f"{path}: {there} is a file, not a folder; give another output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written, {there} is not writable for this user; give another output")


def disk_full(error: BaseException | None) -> bool:
    """True if an error, or one it came from, says that disk or quota are used up.

    Libraries in compiled code (tensorstore, zarr's codecs) raise errors of their own with the system's words in them.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if any(words in str(error) for words in _FULL):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORN):
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
        if not disk_full(error):
            raise
        raise MachineError(
            f"{path}: cannot be written, the disk is full or the quota used up; {kept}. Free space and run again"
        ) from error


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
