"""Tables a user writes by hand: tab-separated text with comments, read as text."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd

from stnuclei.errors import UserError


def read_user_table(path: Path, noun: str, setting: str) -> pd.DataFrame:
    """Read a table, all columns as text.

    Parameters
    ----------
    path
        The file.
    noun, setting
        For the error: what the table is called, and the key of the configuration that names it.

    Raises
    ------
    UserError
        If there is no such file, or nothing in it.
    """
    if not path.is_file():
        raise UserError(f"{noun} {path}: no such file; set `{setting}` in the configuration")
    # Only whole lines are comments: a sheet of a workbook is named after a "#".
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if not line.startswith("#")]
    if not any(line.strip() for line in lines):
        raise UserError(f"{noun} {path} is empty; its first line names the columns")
    return pd.read_csv(StringIO("\n".join(lines)), sep="\t", dtype=str, keep_default_na=False)
