"""Nuclei as QuPath's GeoJSON: detections with class, colour and measurements, written in pieces."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import shapely

from stnuclei.drawing.pixels import rgb
from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.progress import Progress

Form = Literal["zip", "gz", "plain"]
#: Form -> ending. QuPath opens zip (all files in it) and plain files as they are, gz only after gunzip.
ENDINGS = {"zip": ".geojson.zip", "gz": ".geojson.gz", "plain": ".geojson"}
#: A file that QuPath's reader takes in one piece; a million in one costs it many GB.
MAX_NUCLEI_PER_FILE = 250_000
_BATCH = 1 << 14
_LEVEL = 4  # of deflate: 6 takes twice as long and saves 4 %


def write_geojson(
    nuclei: str | Path | NucleiFile,
    folder: str | Path,
    *,
    form: Form = "zip",
    max_nuclei_per_file: int = MAX_NUCLEI_PER_FILE,
    decimals: int = 2,
) -> list[Path]:
    """Write the nuclei of a slide for QuPath (File > Import objects from file, or drag onto the slide).

    Each nucleus is a Feature with a Polygon in full-resolution slide pixels, ``objectType`` detection, the class and
    its colour as ``classification``, and the measurements ``Class probability`` and ``Area um^2`` (with the sign for
    micro, as QuPath writes it). Memory does not grow with the number of nuclei.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened.
    folder
        Where the files go, written aside and renamed: ``nuclei.geojson.zip``, one member per `max_nuclei_per_file`; or
        ``nuclei.geojson[.gz]``, ``nuclei-001.geojson[.gz]`` and so on where there are more. Nuclei of a folder of
        pictures get a file a picture, named after it.
    form
        ``zip`` (compressed, QuPath opens it as it is), ``gz``, ``plain``.
    max_nuclei_per_file
        Most nuclei in one FeatureCollection.
    decimals
        Of the coordinates, px.

    Returns
    -------
    The files written.

    Raises
    ------
    UserError
        If form or size cannot be.
    """
    if form not in ENDINGS:
        raise UserError(f"export.geojson: {form!r} is not one of {', '.join(ENDINGS)}")
    if max_nuclei_per_file < 1:
        raise UserError(f"export.max_nuclei_per_file must be at least 1, not {max_nuclei_per_file}")
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    with atomic_write(folder, directory=True) as aside:
        with _Files(aside, form) as files:
            for name, batch in _pieces(nuclei, max_nuclei_per_file):
                files.write(name, features(batch, nuclei, decimals) if len(batch) else b"")
    return sorted(Path(folder).iterdir())


def features(batch: pa.RecordBatch, nuclei: NucleiFile, decimals: int = 2, kind: str = "detection") -> bytes:
    """GeoJSON Features of a batch of rows, joined by commas, UTF-8.

    Parameters
    ----------
    batch
        Columns ``nucleus_id, class, class_probability, area_um2, geometry`` (WKB).
    nuclei
        Whose batch it is: gives colours, and the ids are unique to it.
    decimals
        Of the coordinates.
    kind
        QuPath's objectType; Xenium Ranger takes ``cell`` only.
    """
    shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
    return join_features(shapes, batch, nuclei, decimals, kind)


def join_features(
    shapes: np.ndarray, batch: pa.RecordBatch, nuclei: NucleiFile, decimals: int = 2, kind: str = "detection"
) -> bytes:
    """The same with the outlines given apart, shapely polygons (n,)."""
    points = np.round(shapely.get_coordinates(shapes), decimals)
    outlines = shapely.to_geojson(shapely.set_coordinates(shapes.copy(), points))
    taxonomy = nuclei.taxonomy
    classes = {
        name: '"classification":' + json.dumps({"name": name, "color": rgb(taxonomy.color_of(name))})
        for name in (*taxonomy.names, taxonomy.unknown.name)
    }
    head = _uuid_head(nuclei)
    columns = (batch[name].to_pylist() for name in ("nucleus_id", "class", "class_probability", "area_um2"))
    rows = [
        f'{{"type":"Feature","id":"{head}{number:012x}","geometry":{outline},"properties":{{"objectType":"{kind}",'
        f'{classes[name]},"measurements":{{"Class probability":{probability:.4f},"Area µm^2":{area:.2f}}}}}}}'
        for outline, number, name, probability, area in zip(outlines, *columns, strict=True)
    ]
    return ",\n".join(rows).encode()


def _uuid_head(nuclei: NucleiFile) -> str:
    """First 24 characters of the nuclei's UUIDs: the same for the same result of the same slide and model."""
    meta = nuclei.metadata
    key = str(meta.get("fingerprint") or [meta.get("slide"), meta.get("model"), meta.get("settings")])
    digest = hashlib.sha256(key.encode()).hexdigest()
    # Version 8 of RFC 9562: the bits are the maker's own.
    return f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-a{digest[15:18]}-"


def _pieces(nuclei: NucleiFile, most: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Batches with the name of the file each goes into; files follow one another."""
    columns = ["nucleus_id", "class", "class_probability", "area_um2", "geometry"]
    pictures = "image" in nuclei.columns
    several, seen, bar = len(nuclei) > most, 0, Progress(len(nuclei), "GeoJSON", "nuclei")
    for batch in nuclei.arrow_batches([*columns, *["image"] * pictures], min(_BATCH, most)):
        for name, rows in _by_picture(batch) if pictures else [("nuclei", batch)]:
            while len(rows):
                take = len(rows) if pictures else min(len(rows), most - seen % most)
                yield (f"{name}-{seen // most + 1:03d}" if several and not pictures else name), rows.slice(0, take)
                seen, rows = seen + take, rows.slice(take)
        bar.update(len(batch))
    bar.close()
    if not seen:
        yield "nuclei", pa.RecordBatch.from_pylist([], schema=pa.schema([]))


def _by_picture(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Runs of rows of one picture; a picture's rows stand together in the file."""
    names = np.asarray(batch["image"].to_pylist(), dtype=object)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    for begin, end in zip(starts, [*starts[1:], len(names)], strict=True):
        yield str(Path(str(names[begin])).with_suffix("")).replace("/", "_"), batch.slice(begin, end - begin)


class _Files:
    """FeatureCollections in one folder, or in one zip, one after another; each is ended when the next begins."""

    def __init__(self, folder: Path, form: Form) -> None:
        self._folder, self._form = folder, form
        self._whole, self._piece = ExitStack(), ExitStack()
        self._name, self._between = "", b""
        self._file: IO[bytes]

    def __enter__(self) -> _Files:
        if self._form == "zip":
            path = self._folder / f"nuclei{ENDINGS['zip']}"
            archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
            self._archive = self._whole.enter_context(archive)
        return self

    def __exit__(self, *error: object) -> None:
        with self._whole:
            self._piece.close()

    def write(self, name: str, rows: bytes) -> None:
        """Append features to the collection `name`, beginning it where it is not the open one."""
        if name != self._name:
            self._piece.close()
            self._file = self._piece.enter_context(self._begin(name))
            self._name, self._between = name, b""
        if rows:
            self._file.write(self._between + rows)
            self._between = b",\n"

    @contextmanager
    def _begin(self, name: str) -> Iterator[IO[bytes]]:
        with ExitStack() as stack:
            if self._form == "zip":
                # Given by its name the member has a fixed date: the same nuclei give the same bytes.
                file: Any = stack.enter_context(self._archive.open(f"{name}.geojson", "w", force_zip64=True))
            else:
                file = stack.enter_context(open(self._folder / (name + ENDINGS[self._form]), "wb"))
                if self._form == "gz":
                    file = stack.enter_context(gzip.GzipFile("", "wb", _LEVEL, file, mtime=0))
            file.write(b'{"type":"FeatureCollection","features":[\n')
            yield file
            file.write(b"\n]}\n")
