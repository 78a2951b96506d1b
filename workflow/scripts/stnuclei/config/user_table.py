"""Tables a user writes by hand: tab-separated text with comments, read as text, and the files of an alignment in it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path

import pandas as pd

from stnuclei.errors import UserError, refuse, suggestion

_UNITS = ("px", "um")


def read_user_table(path: Path, noun: str, setting: str) -> pd.DataFrame:
    """Read a table, all columns as text.

    Parameters
    ----------
    path
        The file.
    noun, setting
        For the error: what the table is called, and the key of the configuration, or the option, that names it.

    Raises
    ------
    UserError
        If there is no such file, or nothing in it.
    """
    if not path.is_file():
        raise UserError(f"{noun} {path}: no such file; set {setting}")
    # Only whole lines are comments: a sheet of a workbook is named after a "#".
    lines = [line for line in _text(path, noun).splitlines() if not line.startswith("#")]
    if not any(line.strip() for line in lines):
        raise UserError(f"{noun} {path} is empty; its first line names the columns")
    # Spreadsheets write empty cells behind the last column.
    lines[0] = lines[0].rstrip("\t")
    width = lines[0].count("\t")
    lines = [line.rstrip("\t") if line.count("\t") > width else line for line in lines]
    _check_header(lines[0], f"{noun} {path}")
    _check_widths(lines, f"{noun} {path}")
    try:
        table = pd.read_csv(StringIO("\n".join(lines)), sep="\t", dtype=str, keep_default_na=False)
    except pd.errors.ParserError as error:
        raise UserError(f"{noun} {path}: cannot be read as a table ({str(error).strip()[:100]})") from None
    _check_quotes(table, f"{noun} {path}")
    return table.rename(columns=str.strip)


def column_problems(table: pd.DataFrame, known: Mapping[str, str | None]) -> Iterator[str]:
    """Problems of a table's columns: unknown ones, and those missing that must be filled (None in `known`)."""
    for column in table.columns:
        if column not in known:
            yield f"column {column!r} is not known; {suggestion(str(column), known)}"
    for column, default in known.items():
        if default is None and column not in table.columns:
            yield f"column {column!r} is missing (columns are separated by tabs)"


def is_positive(text: str) -> bool:
    """True for the text of a number above 0 that is finite."""
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def path_problems(row: Mapping[str, str], columns: Iterable[str], subject: str) -> Iterator[str]:
    """Problems of the paths in a row: braces, which Snakemake would fill in with other names, and line breaks."""
    for column in columns:
        if set("{}\n\r\0") & set(row.get(column) or ""):
            yield (
                f"{subject}, column {column}: {row[column]!r} has braces, which stand for names here, or a line break; "
                "rename the file"
            )


def _text(path: Path, noun: str) -> str:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{noun} {path}: is UTF-16 text, as a workbook's 'Unicode text' is; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{noun} {path}: line {line} is no UTF-8 text; save the table as UTF-8") from None
    if "\0" in text:
        raise UserError(f"{noun} {path}: is no text; save the table as tab-separated UTF-8 text")
    return text


def _check_header(line: str, subject: str) -> None:
    """Refuse a column that is there twice: pandas would give the second another name."""
    names = [name.strip() for name in line.split("\t")]
    refuse(subject, [f"column {name!r} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1])


def _check_widths(lines: list[str], subject: str) -> None:
    """Refuse rows with more fields than the header: pandas would move their fields to other columns."""
    width = lines[0].count("\t")
    refuse(
        subject,
        [
            f"row {number} has {line.count(chr(9)) + 1} fields, the header {width + 1}: {line.split(chr(9))[0]!r}"
            for number, line in enumerate(lines[1:], 1)
            if line.count("\t") > width
        ],
    )


def _check_quotes(table: pd.DataFrame, subject: str) -> None:
    """Refuse cells with a line break: a quotation mark was opened, and rows behind it would be lost in one cell."""
    refuse(
        subject,
        [
            f"column {column}: a quotation mark before {value.splitlines()[0].strip()[:40]!r} is not closed on its line"
            for column in table.columns
            for value in table[column]
            if "\n" in value
        ],
    )


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
