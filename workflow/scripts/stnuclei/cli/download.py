"""Download public sections: 10x Genomics Xenium runs with their H&E, or HEST-1k samples by id.

  stnuclei download --list
  stnuclei download Xenium_V1_hHeart_nondiseased_section_FFPE --out data/public
  stnuclei download TENX95 --out data/hest
  stnuclei download --samples config/public/samples.tsv --out data/public

A section takes a few to 30 GB while it is unpacked; the archive is deleted afterwards. Disk space is checked first.
What is there already is kept, a download whose connection breaks is resumed, and a file whose checksum the catalogue
states is held against it. HEST-1k asks for its terms to be
accepted on its page, and for HF_TOKEN.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import re
import shutil
import zipfile
from pathlib import Path

from stnuclei.errors import UserError
from stnuclei.fetch import content_length, fetch
from stnuclei.files import atomic_write
from stnuclei.io.download import download_hest
from stnuclei.resources import resource

#: Members of an output archive that the workflow reads; the rest is mostly images of DAPI.
_READ = ("experiment.xenium", "cells.parquet", "cells.csv.gz", "cell_feature_matrix.h5", "nucleus_boundaries.*")
_TRANSCRIPTS = ("transcripts.parquet", "transcripts.csv.gz")
_FILES = ("he_image", "he_alignment")
#: Ids of HEST-1k, by the collections it was put together from.
_HEST_ID = re.compile(r"(INT|MEND|MISC|NCBI|SPA|TENX|ZEN)\d+$")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("names", nargs="*", help="names of sections, see --list")
    add("--samples", type=Path, help="samples table; its sections (last part of the column path) are downloaded")
    add("--out", type=Path, default=Path("data/public"), help="folder that gets a folder a section (data/public)")
    add("--list", action="store_true", help="list the sections: name, tissue, disease, cells")
    add("--transcripts", action="store_true", help="unpack transcripts too; the expression baseline can use them")


def run(options: argparse.Namespace) -> int:
    """List or download."""
    known = catalogue()
    if options.list:
        for row in known.values():
            size = f"{row['gb']} GB" if row["gb"] else ""
            cells = f"{row['cells'] or '?':>9} cells"
            print(f"{row['name']:64} {row['tissue']:12} {row['disease']:36} {cells} {size:>9}  {row['licence']}")
        return 0
    names = [*options.names, *(_of_table(options.samples) if options.samples else [])]
    hest = [name for name in names if name not in known and _HEST_ID.match(name)]
    unknown = [name for name in names if name not in known and name not in hest]
    if unknown or not names:
        problem = f"{', '.join(unknown)}: no such public section" if unknown else "no section is named"
        raise UserError(f"{problem}; stnuclei download --list shows {len(known)} of them")
    if hest:
        download_hest(hest, options.out)
        print(f"{', '.join(hest)}: in {options.out}", flush=True)
    for name in [name for name in names if name in known]:
        print(f"{name}: in {download(known[name], options.out, options.transcripts)}", flush=True)
    return 0


def catalogue() -> dict[str, dict[str, str]]:
    """Public sections by name: tissue, disease, version, panel, cells, addresses with checksums, licence and source."""
    with open(resource("catalogue.tsv")) as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {row["name"]: row for row in rows}


def _of_table(path: Path) -> list[str]:
    from stnuclei.config.user_table import read_user_table  # heavy, and not needed for --help

    table = read_user_table(path, "samples table", "--samples")
    if "path" not in table:
        raise UserError(f"samples table {path}: column 'path' is missing (columns are separated by tabs)")
    return [Path(text.strip()).name for text in table["path"]]


def download(row: dict[str, str], out: Path, transcripts: bool = False) -> Path:
    """Fetch a section into a folder of its name; what is there already is kept.

    Raises
    ------
    UserError
        If a file cannot be fetched whole, or the archive is damaged.
    """
    folder = out / row["name"]
    _check_disk(row, folder)
    if not (folder / "experiment.xenium").is_file():
        archive = out / f"{row['name']}_outs.zip"
        if not archive.is_file():
            fetch(_checked(row, "output"), archive)
        with atomic_write(folder, directory=True) as temporary:
            _unpack(archive, Path(temporary), _READ + _TRANSCRIPTS * transcripts)
        archive.unlink()
    for column in _FILES:
        target = folder / row[column].rpartition("/")[2]
        if not target.is_file():
            fetch(_checked(row, column), target)
    return folder


def _checked(row: dict[str, str], column: str) -> str:
    """Address with the checksum that the catalogue states for it, if any."""
    stated = row.get(f"{column}_checksum")
    return f"{row[column]}#{stated}" if stated else row[column]


def _check_disk(row: dict[str, str], folder: Path) -> None:
    """Stop before the first byte where what is missing does not fit; what is unpacked is smaller than its archive."""
    missing = [row[column] for column in _FILES if not (folder / row[column].rpartition("/")[2]).is_file()]
    if not (folder / "experiment.xenium").is_file():
        missing += [row["output"], row["output"]]
    needed = sum(content_length(address) or 0 for address in missing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(
            f"{row['name']}: needs up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in {folder.parent}; make "
            "room or choose another folder with --out"
        )


def _unpack(archive: Path, folder: Path, patterns: tuple[str, ...]) -> None:
    try:
        with zipfile.ZipFile(archive) as members:
            needed, free = sum(member.file_size for member in members.infolist()), shutil.disk_usage(folder).free
            if needed > free:
                raise UserError(
                    f"{archive}: unpacked it takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in {folder}"
                )
            for member in members.infolist():
                # Some archives hold their files in a folder; names alone are used, so none can lie outside `folder`.
                name = Path(member.filename).name
                if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                    with members.open(member) as source, open(folder / name, "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
    except zipfile.BadZipFile as error:
        raise UserError(f"{archive}: is damaged ({error}); delete it and download again") from error
    if not (folder / "experiment.xenium").is_file():
        raise UserError(f"{archive}: holds no experiment.xenium; is it the output of a Xenium run?")
