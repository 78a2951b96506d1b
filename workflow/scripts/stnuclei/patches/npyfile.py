"""Large arrays in npy and npz files, read row block by row block."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from stnuclei.errors import UserError


class RowFile:
    """One array of an ``.npy`` file (mapped) or of an ``.npz`` file (decompressed on the way), never read as a whole.

    Parameters
    ----------
    path
        The file; an npz must hold one array, or one of the file's name.

    Attributes
    ----------
    shape, dtype
        Of the array.

    Raises
    ------
    UserError
        If it is no such file, holds objects, is in Fortran order, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with self._stream() as stream:
                self.shape, fortran, self.dtype = _header(stream)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{path}: cannot be read as a numpy array ({error}); copy or unpack it again") from error
        if fortran or self.dtype.hasobject:
            raise UserError(f"{path}: holds {self.dtype} in column order or objects; give PanNuke's original file")

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Yield consecutive blocks of at most `rows` rows of the first axis."""
        row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        with self._stream() as stream:
            _header(stream)
            for begin in range(0, self.shape[0], rows):
                n = min(rows, self.shape[0] - begin)
                try:
                    data = _read(stream, n * row_bytes)
                except (EOFError, zipfile.BadZipFile, OSError, ValueError) as error:
                    raise UserError(
                        f"{self.path}: ends or is damaged at row {begin} ({error}); copy it again"
                    ) from error
                yield np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:])

    def _stream(self) -> IO[bytes]:
        if self.path.suffix == ".npy":
            return open(self.path, "rb")
        return zipfile.ZipFile(self.path).open(self._member())

    def _member(self) -> str:
        with zipfile.ZipFile(self.path) as archive:
            names = archive.namelist()
        named = [name for name in names if name == f"{self.path.stem}.npy"] or names
        if len(named) != 1:
            raise ValueError(f"holds {len(names)} arrays and none is called {self.path.stem}")
        return named[0]


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _read(stream: IO[bytes], n: int) -> bytearray:
    """Exactly n bytes."""
    data = bytearray(n)
    view, done = memoryview(data), 0
    while done < n:
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError(f"{n - done:,} bytes short")
        done += got
    return data
