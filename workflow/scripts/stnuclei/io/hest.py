"""HEST-1k samples (Xenium) in the dataset's own folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import shapely
from anndata import AnnData

from stnuclei.errors import UserError, first_line
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.check_nuclei import check_centres, check_nuclei
from stnuclei.io.hest_counts import Counted, count_transcripts
from stnuclei.io.inputs import SampleInputs
from stnuclei.io.pixel_size import settle
from stnuclei.io.polygons import repair
from stnuclei.io.sample import Sample, describe
from stnuclei.io.tables import texts
from stnuclei.slides.open import open_slide
from stnuclei.slides.slide import Slide


def read_hest(
    given: SampleInputs,
    *,
    id: str | None = None,  # noqa: A002 HEST's word
    min_qv: float = 20.0,
    count_in: Literal["cells", "nuclei"] = "cells",
) -> Sample:
    """Read one Xenium sample of a HEST-1k folder; see `stnuclei.io.read_sample`."""
    if given.he_alignment:
        raise UserError(f"{given.path}: HEST-1k nuclei are in H&E pixels already; leave he_alignment empty")
    key = choose_id(given.path, id, given.name)
    files = _files(given.path, key, given.he_image)
    metadata = read_metadata(files["metadata"])
    slide = open_slide(files["slide"])
    _check_size(files["slide"], slide, metadata)
    nuclei = read_nuclei(files["nuclei"])
    counted = count_transcripts(files["transcripts"], min_qv, nuclei_only=count_in == "nuclei")
    um_per_px, record = _pixel_size(metadata, counted, slide, files, given)
    boundaries = NucleusBoundaries.of_frame(nuclei)
    check_nuclei(files["nuclei"], slide, boundaries, um_per_px, "they must be H&E pixels of this slide")
    centres = pd.DataFrame(counted.centres, columns=["x", "y"], index=counted.cells)
    check_centres(files["nuclei"], files["transcripts"].name, boundaries, centres, um_per_px)
    warnings: list[str] = []
    table = join(counted, nuclei, files, warnings)
    tissue = given.tissue or str(metadata.get("organ") or "")
    provenance = describe(
        name=given.name,
        platform="hest",
        id=key,
        tissue=tissue,
        software=str(metadata.get("analysis_sw_version", "not said")),
        pixel_size=record,
        alignment={"kind": "hest", "affine_residual_um": counted.residual_um},
        transcripts={"count_in": count_in, "min_qv": min_qv, **counted.info},
        files=list(files.values()),
        checksums=given.checksums,
        slide=slide.info,
        warnings=warnings,
    )
    return Sample(given.name, table, nuclei, slide, um_per_px, tissue, _he_to_morphology(metadata, counted), provenance)


def choose_id(folder: Path, wanted: str | None, name: str) -> str:
    """Choose the sample of the folder: the one asked for, the one that has the sample's name, or the only one.

    Raises
    ------
    UserError
        If it is not there or several could be meant.
    """
    ids = sorted({path.stem for path in folder.glob("metadata/*.json")} | {p.stem for p in folder.glob("wsis/*.tif")})
    if not ids:
        raise UserError(
            f"{folder}: holds no metadata/*.json; give the HEST-1k folder (with wsis, metadata, transcripts)"
        )
    asked = wanted or name
    if asked in ids:
        return asked
    if wanted is None and len(ids) == 1:
        return ids[0]
    listed = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
    problem = f"id {wanted} is not in it" if wanted else "several samples are in it and none is called so"
    raise UserError(f"{folder}: {problem}; name one of {listed}")


def _files(folder: Path, key: str, he_image: str | Path | None) -> dict[str, Path]:
    files = {
        "metadata": folder / "metadata" / f"{key}.json",
        "slide": Path(he_image) if he_image else folder / "wsis" / f"{key}.tif",
        "transcripts": folder / "transcripts" / f"{key}_transcripts.parquet",
        "nuclei": folder / "xenium_seg" / f"{key}_xenium_nucleus_seg.parquet",
    }
    for path in files.values():
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; download sample {key} of HEST-1k with metadata, wsis, transcripts, xenium_seg"
            )
    return files


def read_metadata(path: Path) -> dict[str, Any]:
    """Read a sample's metadata (JSON, NaN literals allowed).

    Raises
    ------
    UserError
        If it is damaged, or is of a sample that is not Xenium.
    """
    try:
        metadata = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is no JSON ({str(error)[:80]}); download it again") from error
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: holds a {type(metadata).__name__}, not a sample's description; download it again")
    technology = metadata.get("st_technology")
    if technology != "Xenium":
        raise UserError(
            f"{path}: the sample is {technology}, only Xenium samples have nuclei with transcripts; choose another"
        )
    return metadata


def read_nuclei(path: Path) -> gpd.GeoDataFrame:
    """Read nucleus outlines (GeoParquet, he_px); what falls apart into several nuclei becomes several rows.

    Raises
    ------
    UserError
        If the file is damaged or holds no outline.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); download it again") from error
    owner = next((name for name in ("cell_id", "__index_level_0__") if name in table.column_names), None)
    if owner is None or "geometry" not in table.column_names:
        raise UserError(f"{path}: has columns {', '.join(table.column_names)}, expected geometry and the cells' index")
    if table.num_rows == 0:
        raise UserError(f"{path}: holds no nucleus; download it again")
    ids = texts(path, "cell index", table.column(owner)).to_numpy()
    try:
        outlines = shapely.from_wkb(table.column("geometry").to_numpy(zero_copy_only=False))
    except (shapely.errors.GEOSException, TypeError) as error:
        raise UserError(f"{path}, column geometry: is no WKB ({str(error)[:80]}); download it again") from error
    if not np.isfinite(shapely.bounds(outlines[~shapely.is_missing(outlines)])).all():
        raise UserError(f"{path}, column geometry: an outline has a coordinate that is no number; download it again")
    polygons, source = repair(outlines)
    if not len(polygons):
        raise UserError(f"{path}: no nucleus outline encloses anything; download it again")
    return gpd.GeoDataFrame({"cell_id": ids[source]}, geometry=polygons)


def join(counted: Counted, nuclei: gpd.GeoDataFrame, files: dict[str, Path], warnings: list[str]) -> AnnData:
    """Make the table: every cell that has transcripts or a nucleus, ordered by id.

    A cell's centre is its nuclei's, or its transcripts' mean where it has none.

    Raises
    ------
    UserError
        If the transcripts and the nuclei name different cells.
    """
    owners = pd.Index(nuclei["cell_id"].unique())
    known = owners.isin(counted.cells)
    if known.mean() < 0.5:
        raise UserError(
            f"{files['nuclei']}: {100 * (1 - known.mean()):.0f} % of its cells, such as {owners[~known][0]}, have no "
            f"transcript in {files['transcripts'].name} (cells there: {counted.cells[0]}, ...); the files are of "
            "different samples"
        )
    if not known.all():
        warnings.append(f"{int((~known).sum()):,} cells have a nucleus but not one transcript; they count zero")
    ids = _sorted(counted.cells.union(owners, sort=False))
    row = counted.cells.get_indexer(ids)
    nothing = sp.csr_matrix((1, len(counted.genes)), dtype=np.int32)
    counts = sp.vstack([counted.counts, nothing], format="csr")[row]  # row -1 is the last: no transcript
    table = AnnData(counts.tocsr(), obs=pd.DataFrame({"cell_id": ids.to_numpy()}, index=ids))
    table.var_names = pd.Index(counted.genes, dtype=object)
    centre = nuclei.geometry.centroid
    nuclear = pd.DataFrame({"x": centre.x, "y": centre.y}).groupby(nuclei["cell_id"]).mean().reindex(ids).to_numpy()
    table.obsm["spatial"] = np.where(np.isnan(nuclear), counted.centres[np.maximum(row, 0)], nuclear)
    table.obs["nucleus_count"] = nuclei["cell_id"].value_counts().reindex(ids).fillna(0).to_numpy().astype(np.int64)
    table.obs["transcript_counts"] = np.asarray(counts.sum(axis=1)).ravel().astype(np.int64)
    return table


def _sorted(ids: pd.Index) -> pd.Index:
    whole = all(name.lstrip("-").isdigit() for name in ids)
    return pd.Index(sorted(ids, key=int if whole else None), dtype=object)


def _check_size(path: Path, slide: Slide, metadata: dict[str, Any]) -> None:
    stated = tuple(metadata.get(f"fullres_px_{side}") for side in ("height", "width"))
    if all(isinstance(side, (int, float)) and side == side for side in stated) and stated != slide.shape[:2]:
        raise UserError(
            f"{path}: is {slide.shape[1]} x {slide.shape[0]} px, its metadata say {stated[1]} x {stated[0]}; "
            "slide and metadata are of different samples or versions"
        )


def _pixel_size(
    metadata: dict[str, Any], counted: Counted, slide: Slide, files: dict[str, Path], given: SampleInputs
) -> tuple[float, dict[str, object]]:
    chosen = (given.he_um_per_px, given.pixel_size_tolerance)
    estimated = metadata.get("pixel_size_um_estimated")
    by_transcripts = f"{files['transcripts'].name} (he_x, he_y against x_location, y_location)"
    stated = {f"{slide.path.name} {where}": um for where, um in slide.stated_um.items()}
    if not isinstance(estimated, (int, float)) or not estimated > 0:
        return settle(counted.um_per_px, by_transcripts, stated, *chosen)
    where = f"{files['metadata'].name} pixel_size_um_estimated"
    return settle(float(estimated), where, {by_transcripts: counted.um_per_px, **stated}, *chosen)


def _he_to_morphology(metadata: dict[str, Any], counted: Counted) -> np.ndarray | None:
    """Best affine from the transcripts' two frames; only a summary where the dataset warped them."""
    size = metadata.get("pixel_size")
    if not isinstance(size, (int, float)) or not 0.05 <= size <= 2:
        return None
    return np.diag([1 / size, 1 / size, 1.0]) @ np.linalg.inv(counted.um_to_he)
