"""Original downloads of the marker databases: download, checksum, reading."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from stnuclei.errors import UserError
from stnuclei.fetch import fetch
from stnuclei.files import sha256

_PANGLAO = ("species", "official gene symbol", "cell type", "organ")
_CELLMARKER = ("tissue_class", "tissue_type", "cancer_type", "cell_type", "cell_name", "marker", "Symbol", "PMID")


@dataclass(frozen=True)
class MarkerSource:
    """Original file of a marker database.

    Parameters
    ----------
    name
        Name of the database.
    path
        File, folder or URL; ``~`` and ``$VARIABLES`` are expanded.
    sha256
        Expected checksum of the file, or of a folder by `folder_sha256`; empty: not checked.
    """

    name: str
    path: str
    sha256: str = ""

    def fetch(self, cache: Path) -> Path:
        """Local file or folder of the original, its checksum verified.

        Raises
        ------
        UserError
            If it is absent, cannot be downloaded or is another version.
        """
        address = os.path.expandvars(os.path.expanduser(self.path))
        path = _download(address, cache, self.name) if "://" in address else Path(address)
        if not path.exists():
            raise UserError(f"markers, {self.name}: {address} does not exist; give the original's path or URL")
        checksum = folder_sha256(path) if path.is_dir() else sha256(path)
        if self.sha256 and checksum != self.sha256:
            raise UserError(f"markers, {self.name}: {address} has SHA-256 {checksum}, expected {self.sha256}")
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(cache / self.name)
            return cache / self.name
        return path


def load_sources(path: Path, overrides: Mapping[str, str] | None = None) -> dict[str, MarkerSource]:
    """Read ``sources.yaml``; `overrides` maps a database's name to another path or URL."""
    with open(path) as file:
        content = yaml.safe_load(file)
    return {
        name: MarkerSource(name, (overrides or {}).get(name, entry["path"]), entry.get("sha256", ""))
        for name, entry in content.items()
    }


def folder_sha256(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's text files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.txt")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def read_panglaodb(path: Path) -> pd.DataFrame:
    """Rows of PanglaoDB's tsv whose species include human, upstream column names, all text.

    Raises
    ------
    UserError
        If it is not PanglaoDB's marker table.
    """
    table = _read_text(path)
    _require(table, _PANGLAO, path)
    # Upstream has a few species written "4" or "None"; nothing says those rows are human.
    return table[table["species"].str.contains("Hs", regex=False)].reset_index(drop=True)


def read_cellmarker(path: Path) -> pd.DataFrame:
    """Human rows of CellMarker 2.0 from its xlsx or a tsv, upstream column names, all text.

    Raises
    ------
    UserError
        If it is not CellMarker's table.
    """
    if path.suffix == ".xlsx":
        table = pd.read_excel(path, dtype=str, keep_default_na=False, na_filter=False)
    else:
        table = _read_text(path)
    _require(table, _CELLMARKER, path)
    if "species" in table:
        table = table[table["species"].str.lower() == "human"]
    text = table.apply(lambda column: column.str.strip())
    return text.reset_index(drop=True)


def read_cancersea(folder: Path) -> pd.DataFrame:
    """CancerSEA's signatures from a folder of one text file a state: columns state, symbol.

    Raises
    ------
    UserError
        If the folder holds no lists.
    """
    files = sorted(folder.rglob("*.txt"))
    states = []
    for path in files:
        table = pd.read_csv(path, sep=r"\s+", dtype=str, keep_default_na=False)
        _require(table, ("GeneName",), path)
        states.append(pd.DataFrame({"state": path.stem, "symbol": table["GeneName"]}))
    if not states:
        raise UserError(f"markers, cancersea: {folder} holds no .txt lists (columns EnsembleID, GeneName)")
    return pd.concat(states, ignore_index=True)


def _read_text(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)


def _require(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"markers: {path.name} has no column {missing[0]!r}; found {', '.join(table.columns[:8])}")


def _download(url: str, cache: Path, name: str) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=cache)) / (url.rsplit("/", 1)[-1] or name)
    try:
        fetch(url, target)
    except UserError as error:
        raise UserError(f"markers, {name}: {error}") from None
    return target
