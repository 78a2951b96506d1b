"""One simulated slide in the layout of HEST-1k: the same tissue as a Xenium bundle, with everything in H&E pixels."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import tifffile

from stnuclei.files import atomic_write
from stnuclei.simulate.sample import simulate_sample
from stnuclei.simulate.segmentation import PIXEL_UM

HE_UM_PER_PX = 0.2738


def simulate_hest(
    folder: str | Path, key: str, tissue: str, seed: int, *, size_um: tuple[float, float] = (640.0, 740.0)
) -> dict[str, float]:
    """Add one simulated sample to a folder of HEST-1k's layout.

    Written are ``wsis/{key}.tif``, ``metadata/{key}.json``, ``transcripts/{key}_transcripts.parquet`` (with ``he_x``
    and ``he_y``) and ``xenium_seg/{key}_xenium_nucleus_seg.parquet``, which is all that `stnuclei.io.read_sample` asks
    for.

    Parameters
    ----------
    folder
        Folder of the data set; samples of other names stay.
    key
        HEST's id of the sample.
    tissue
        An organ the simulator knows.
    seed
        Equal seeds give equal samples.
    size_um
        Width and height of the section.

    Returns
    -------
    Numbers of cells, nuclei, genes and transcripts, as `simulate_sample` gives them.

    Raises
    ------
    UserError
        If the tissue is not known or the slide is smaller than 100 um.
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / key
        facts = simulate_sample(bundle, tissue, seed, size_um=size_um, he_um_per_px=HE_UM_PER_PX)
        matrix = np.loadtxt(bundle / f"{key}_he_imagealignment.csv", delimiter=",")
        shape = _write_slide(folder / "wsis" / f"{key}.tif", tifffile.imread(bundle / f"{key}_he_image.ome.tif"))
        _write_transcripts(
            folder / "transcripts" / f"{key}_transcripts.parquet", bundle / "transcripts.parquet", matrix
        )
        outlines = pq.read_table(bundle / "nucleus_boundaries.parquet").to_pandas()
        _write_nuclei(folder / "xenium_seg" / f"{key}_xenium_nucleus_seg.parquet", outlines, matrix)
    _write_metadata(folder / "metadata" / f"{key}.json", key, tissue, shape)
    return facts


def _to_he(x_um: np.ndarray, y_um: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Morphology um to H&E px, float64 (n, 2)."""
    back = np.linalg.inv(matrix)
    return np.stack([x_um, y_um], axis=1) / PIXEL_UM @ back[:2, :2].T + back[:2, 2]


def _write_slide(path: Path, image: np.ndarray) -> tuple[int, int]:
    per_cm = 1e4 / HE_UM_PER_PX
    with atomic_write(path) as temporary:
        tifffile.imwrite(
            temporary, image, photometric="rgb", tile=(512, 512), compression="jpeg", compressionargs={"level": 90},
            resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", metadata=None,
        )  # fmt: skip
    return image.shape[0], image.shape[1]


def _write_transcripts(path: Path, bundle: Path, matrix: np.ndarray) -> None:
    table = pq.read_table(bundle)
    x, y = (table[f"{axis}_location"].to_numpy().astype(np.float64) for axis in "xy")
    xy = _to_he(x, y, matrix)
    for column, values in zip(("he_x", "he_y"), xy.T, strict=True):
        table = table.append_column(column, pa.array(values))
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _write_nuclei(path: Path, vertices: pd.DataFrame, matrix: np.ndarray) -> None:
    """Outlines as WKB, one row a nucleus, the cell's id as index."""
    xy = _to_he(vertices["vertex_x"].to_numpy(np.float64), vertices["vertex_y"].to_numpy(np.float64), matrix)
    first = np.flatnonzero(np.r_[True, np.diff(vertices["label_id"]) != 0])
    outlines = [shapely.Polygon(ring) for ring in np.split(xy, first[1:])]
    frame = pd.DataFrame({"geometry": shapely.to_wkb(outlines)}, index=vertices["cell_id"].to_numpy()[first])
    with atomic_write(path) as temporary:
        frame.to_parquet(temporary)


def _write_metadata(path: Path, key: str, tissue: str, shape: tuple[int, int]) -> None:
    content = {
        "id": key,
        "dataset_title": "SIMULATED tissue of stnuclei: no real sample",
        "st_technology": "Xenium",
        "organ": tissue,
        "species": "Homo sapiens",
        "pixel_size_um_estimated": HE_UM_PER_PX,
        "fullres_px_height": shape[0],
        "fullres_px_width": shape[1],
        "pixel_size": PIXEL_UM,
        "analysis_sw_version": "xenium-3.0.0.15",
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
