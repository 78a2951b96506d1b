"""Tiny HEST-1k samples, made in milliseconds; the same cells as the Xenium bundles have."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import tifffile
from bundle import (
    HE_SHAPE,
    HE_UM,
    MORPHOLOGY_UM,
    N_CELLS,
    N_GENES,
    cell_ids,
    counts,
    he_centres,
    outline,
    slide_pixels,
    to_um,
)


def make_hest(folder, key="TENX1", ids="text", tells="is_gene", bytes_names=False):
    """Write one sample in the layout of HEST-1k; returns the folder."""
    for part in ("wsis", "metadata", "transcripts", "xenium_seg"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        folder / "wsis" / f"{key}.tif",
        slide_pixels(),
        photometric="rgb",
        tile=(256, 256),
        compression="lzw",
        resolution=(1e4 / HE_UM, 1e4 / HE_UM),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    metadata = {
        "id": key,
        "st_technology": "Xenium",
        "organ": "Bowel",
        "pixel_size_um_estimated": HE_UM,
        "pixel_size_um_embedded": 0.2125,
        "fullres_px_width": HE_SHAPE[1],
        "fullres_px_height": HE_SHAPE[0],
        "patient": float("nan"),
        "pixel_size": MORPHOLOGY_UM,
        "analysis_sw_version": "xenium-3.0.0.15",
    }
    (folder / "metadata" / f"{key}.json").write_text(json.dumps(metadata))
    write_hest_transcripts(folder / "transcripts" / f"{key}_transcripts.parquet", ids, tells, bytes_names)
    centres = he_centres()
    # The last two cells have transcripts but no nucleus.
    outlines = [shapely.Polygon(outline(one * HE_UM, 3.2) / HE_UM) for one in centres[: N_CELLS - 2]]
    frame = pd.DataFrame({"geometry": shapely.to_wkb(outlines)}, index=cell_ids(ids).to_pandas()[: N_CELLS - 2])
    frame.to_parquet(folder / "xenium_seg" / f"{key}_xenium_nucleus_seg.parquet")
    return folder


def write_hest_transcripts(path, ids="text", tells="is_gene", bytes_names=False):
    """Counts as molecules: good ones, then low quality, unassigned and control ones that must not count."""
    dense = counts()[:, :N_GENES]
    row, gene = np.nonzero(dense)
    row, gene = np.repeat(row, dense[row, gene]), np.repeat(gene, dense[row, gene])
    named = cell_ids(ids)
    none = {"integer": -1, "bytes": b"UNASSIGNED", "text": "UNASSIGNED"}[ids]
    extra = 30
    owner = pa.concat_arrays(
        [named.take(pa.array(row)), named.take(pa.array([3] * 2 * extra)), pa.array([none] * extra, named.type)]
    )
    feature = [f"GENE{one}" for one in gene] + ["GENE0"] * extra + ["NegControlProbe_00042"] * extra + ["GENE1"] * extra
    quality = np.concatenate([np.full(len(row), 30.0), np.full(extra, 10.0), np.full(2 * extra, 35.0)])
    rng = np.random.default_rng(8)
    at = np.vstack([he_centres()[row], np.tile(he_centres()[3], (2 * extra, 1)), np.tile([5.0, 5.0], (extra, 1))])
    at = at + rng.uniform(-6, 6, at.shape)
    um = to_um(at)
    names = pa.array([one.encode() for one in feature] if bytes_names else feature)
    columns = {
        "cell_id": owner,
        "feature_name": names,
        "qv": quality.astype(np.float32),
        "x_location": um[:, 0],
        "y_location": um[:, 1],
        "he_x": at[:, 0],
        "he_y": at[:, 1],
    }
    is_control = np.array([one.startswith("Neg") for one in feature])
    if tells == "is_gene":
        columns["is_gene"] = ~is_control
    elif tells == "codeword_category":
        columns["codeword_category"] = np.where(is_control, "negative_control_probe", "predesigned_gene")
    shuffled = rng.permutation(len(owner))
    pq.write_table(pa.table(columns).take(pa.array(shuffled)), path)
