"""Files named by the column he_alignment: one alignment, or landmarks of the H&E and of the run."""

from __future__ import annotations

from pathlib import Path

from stnuclei.errors import UserError

_UNITS = ("px", "um")


def split_landmarks(text: str) -> tuple[list[Path], str]:
    """Files and unit of ``he_file;run_file#unit`` or of ``landmarks.npz#unit``; no file where it is neither.

    Raises
    ------
    UserError
        If there are more than two files, or the unit is neither ``px`` nor ``um``.
    """
    body, _, unit = text.rpartition("#") if text.rpartition("#")[2] in _UNITS else (text, "", "px")
    files = [Path(name.strip()) for name in body.split(";") if name.strip()]
    if ";" not in body and not body.partition("#")[0].endswith(".npz"):
        return [], "px"
    if "#" in files[-1].name:
        raise UserError(f"{text}: the unit behind # is neither {' nor '.join(_UNITS)}")
    if ";" in body and len(files) != 2:
        raise UserError(f"{text}: names {len(files)} files of landmarks; give two, the H&E's;the run's")
    return files, unit


def alignment_files(given: str | Path) -> list[Path]:
    """Files that an alignment is read from; none of ``identity``.

    Raises
    ------
    UserError
        As `split_landmarks`.
    """
    if str(given).lower() == "identity":
        return []
    return split_landmarks(str(given))[0] or [Path(given)]
