"""Download public 10x Genomics Xenium sections with their H&E and unpack what the workflow reads.

  stnuclei download --list
  stnuclei download Xenium_V1_hHeart_nondiseased_section_FFPE --out data/public
  stnuclei download --samples config/public/samples.tsv --out data/public

A section takes a few to 30 GB while it is unpacked; the archive is deleted afterwards. What is there
already is kept, and a download whose connection breaks is resumed.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import shutil
import zipfile
from pathlib import Path

from stnuclei.errors import UserError
from stnuclei.fetch import fetch
from stnuclei.files import atomic_write
from stnuclei.resources import resource

#: Members of an output archive that the workflow reads; the rest is mostly images of DAPI.
_READ = ("experiment.xenium", "cells.parquet", "cells.csv.gz", "cell_feature_matrix.h5", "nucleus_boundaries.*")
_TRANSCRIPTS = ("transcripts.parquet", "transcripts.csv.gz")
_FILES = ("he_image", "he_alignment")


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
            print(f"{row['name']:64} {row['tissue']:12} {row['disease']:36} {row['cells'] or '?':>9} cells")
        return 0
    names = [*options.names, *(_of_table(options.samples) if options.samples else [])]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        problem = f"{', '.join(unknown)}: no such public section" if unknown else "no section is named"
        raise UserError(f"{problem}; stnuclei download --list shows {len(known)} of them")
    for name in names:
        print(f"{name}: in {download(known[name], options.out, options.transcripts)}", flush=True)
    return 0


def catalogue() -> dict[str, dict[str, str]]:
    """Public sections by name: tissue, disease, version, cells and the addresses of output, H&E and alignment."""
    with open(resource("public_xenium.tsv")) as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {row["name"]: row for row in rows}


def _of_table(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path}: no such samples table")
    with open(path) as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return [Path(row["path"]).name for row in rows]


def download(row: dict[str, str], out: Path, transcripts: bool = False) -> Path:
    """Fetch a section into a folder of its name; what is there already is kept.

    Raises
    ------
    UserError
        If a file cannot be fetched whole, or the archive is damaged.
    """
    folder = out / row["name"]
    if not (folder / "experiment.xenium").is_file():
        archive = out / f"{row['name']}_outs.zip"
        if not archive.is_file():
            fetch(row["output"], archive)
        with atomic_write(folder, directory=True) as temporary:
            _unpack(archive, Path(temporary), _READ + _TRANSCRIPTS * transcripts)
        archive.unlink()
    for column in _FILES:
        target = folder / row[column].rpartition("/")[2]
        if not target.is_file():
            fetch(row[column], target)
    return folder


def _unpack(archive: Path, folder: Path, patterns: tuple[str, ...]) -> None:
    try:
        with zipfile.ZipFile(archive) as members:
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
