"""Files and stores that are either whole or absent."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stnuclei.errors import MachineError

_PREFIX = ".partial-"
#: Short name of this machine: process numbers of another one mean nothing here.
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
#: Of linux/fs.h and fcntl.h.
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | Path, directory: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the place of `path`, on failure it is removed.

    At every moment `path` is what it was before or whole and new, also for a process that is killed and, as far as the
    file system keeps its word on fsync, for a machine that loses power. A killed process leaves a ``.partial-`` file,
    which the next write to the same path on the same machine removes.

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
    _remove_leftovers(path)
    # The ending is kept: many writers choose the format by it.
    temporary = _beside(path)
    if directory:
        temporary.mkdir()
    try:
        yield temporary
        _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            _replace_folder(temporary, path)
        else:
            os.replace(temporary, path)
            # rename(2) does nothing where both names are links to one file, as for a file that is delivered again.
            temporary.unlink(missing_ok=True)
        _fsync(path.parent)
    except BaseException:
        remove(temporary)
        raise


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path` for what is needed while it is written; it is removed in the end.

    That of a killed process is removed by the next one for the same path on the same machine.
    """
    path = Path(path)
    name = path.with_name(f"{path.name}.scratch")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(name)
    folder = _beside(name)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def deliver(made: str | Path, path: str | Path) -> None:
    """Give a finished file a second path, atomically: a hard link, or a copy where the file system has none."""
    with atomic_write(path) as temporary:
        try:
            os.link(made, temporary)
        except OSError:
            shutil.copyfile(made, temporary)
        # Snakemake compares the times of inputs and outputs; the file may be older than the job that delivers it.
        os.utime(temporary)


@contextmanager
def locked(folder: str | Path, name: str = "lock") -> Iterator[None]:
    """Keep other processes out of a folder in which this one keeps its state.

    Where the file system has no locks nothing is kept out.

    Parameters
    ----------
    folder
        Made where it is missing.
    name
        File that stands in it meanwhile.

    Raises
    ------
    UserError
        If another process is at work in it.
    """
    path = Path(folder) / name
    file = _lock(path)
    try:
        yield
    finally:
        # Removed while it is held: who opened it meanwhile finds that it is no longer the file of that name.
        path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> IO[str]:
    """Open and lock a file, made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise MachineError(
                f"{path.parent}: another process ({owner}) is at work in it; wait for it, or give another folder"
            ) from None
        except OSError as error:
            reason = f"cannot be locked ({error.strerror}); make sure that no other run writes here"
            print(f"{path.parent}: {reason}", flush=True)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()
    file.truncate(0)
    file.write(f"{socket.gethostname()}, process {os.getpid()}")
    file.flush()
    return file


def _beside(path: Path) -> Path:
    """Unused name beside `path`, which says whose it is."""
    return path.with_name(f"{_PREFIX}{_HOST}.{os.getpid()}.{uuid.uuid4().hex[:8]}-{path.name}")


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files for `path` of processes of this machine that are gone."""
    for leftover in path.parent.glob(f"{_PREFIX}{_HOST}.*-{glob.escape(path.name)}"):
        process = leftover.name.removeprefix(f"{_PREFIX}{_HOST}.").partition(".")[0]
        if process.isdigit() and not _is_alive(int(process)):
            remove(leftover)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    """Bring a file, or all files of a folder, to disk: a rename may otherwise outlive the content it stands for."""
    if not path.is_dir():
        _fsync(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            _fsync(Path(folder) / name)
        _fsync(Path(folder))


def _fsync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        # A socket, a broken link or a file that may not be read has nothing to bring to disk.
        return
    try:
        os.fsync(handle)
    except OSError as error:
        # Folders of some network file systems know no fsync.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(handle)


def _replace_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another one, in one step where the system can exchange two names."""
    if _exchange(new, path):
        remove(new)
        return
    old = _beside(path)
    os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise
    remove(old)


def _exchange(path: Path, other: Path) -> bool:
    """Exchange two names by Linux's renameat2; whether that was possible."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return call(_AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return checksum(path, "sha256")


def checksum(path: str | Path, algorithm: str) -> str:
    """Hexadecimal checksum of a file, by an algorithm of hashlib; it guards against damage, not against attack."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
