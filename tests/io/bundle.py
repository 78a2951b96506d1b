"""Tiny Xenium bundles in every layout that is known, made in milliseconds."""
# ruff: noqa: E501

import functools
import gzip
import json

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import tifffile

MORPHOLOGY_UM = 0.2125
HE_UM = 0.25
HE_SHAPE = (640, 800)  # rows, columns
N_CELLS = 60
N_GENES = 12
#: H&E px to morphology px: turned by 90 degrees, as downloads often are.
SCALE = HE_UM / MORPHOLOGY_UM
MATRIX = np.array([[0.0, -SCALE, 800.0], [SCALE, 0.0, 25.0], [0.0, 0.0, 1.0]])

V1_IMAGES = {
    "morphology_filepath": "morphology.ome.tif",
    "morphology_mip_filepath": "morphology_mip.ome.tif",
    "morphology_focus_filepath": "morphology_focus.ome.tif",
}
V3_IMAGES = {"morphology_focus_filepath": "morphology_focus/morphology_focus_0000.ome.tif"}
V4_IMAGES = {"morphology_focus_filepath": "morphology_focus/ch0000_dapi.ome.tif"}

#: Version -> what it changed: cell ids, whether polygons have label_id, how software is written, where images are.
LAYOUTS = {
    "1.0": {"ids": "integer", "labels": False, "software": "Xenium-1.0.1", "images": V1_IMAGES},
    "1.3": {"ids": "bytes", "labels": False, "software": "xenium-1.3.0.1", "images": V1_IMAGES},
    "1.4": {"ids": "bytes", "labels": False, "software": "xenium-1.4.0.6", "images": V1_IMAGES},
    "1.5": {"ids": "bytes", "labels": False, "software": "Xenium-1.5.1.2", "images": V1_IMAGES},
    "1.6": {"ids": "bytes", "labels": False, "software": "xenium-1.6.0.8", "images": V1_IMAGES},
    "1.7": {"ids": "bytes", "labels": False, "software": "xenium-1.7.6.0", "images": V1_IMAGES},
    "1.9": {"ids": "bytes", "labels": False, "software": "xenium-1.9.2.0", "images": V1_IMAGES},
    "2.0 early": {"ids": "text", "labels": False, "software": "xenium-2.0.0.6", "images": V3_IMAGES},
    "2.0": {"ids": "text", "labels": True, "software": "xenium-2.0.0.10", "images": V3_IMAGES},
    "3.0": {"ids": "text", "labels": True, "software": "xenium-3.0.0.15", "images": V3_IMAGES},
    "ranger": {
        "ids": "text",
        "labels": True,
        "software": "xenium-3.0.0.15",
        "images": V3_IMAGES,
        "ranger": "xenium-3.1.0.5",
    },
    "4.0": {"ids": "text", "labels": True, "software": "xenium-4.0.1.2", "images": V4_IMAGES},
    "R&D": {"ids": "text", "labels": True, "software": "R&D", "images": V3_IMAGES},
}
CONTROLS_1 = (
    ("NegControlProbe_00042", "Negative Control Probe"),
    ("NegControlCodeword_0502", "Negative Control Codeword"),
    ("BLANK_0001", "Blank Codeword"),
)
CONTROLS_3 = (
    ("NegControlProbe_00042", "Negative Control Probe"),
    ("NegControlCodeword_0502", "Negative Control Codeword"),
    ("UnassignedCodeword_4357", "Unassigned Codeword"),
    ("DeprecatedCodeword_2162", "Deprecated Codeword"),
    ("Intergenic_Region_1", "Genomic Control"),
)


def cell_ids(kind, n=N_CELLS):
    """Ids as the version writes them: numbers from 1, bytes, or text."""
    if kind == "integer":
        return pa.array(range(1, n + 1), pa.int32())
    nibbles = ("".join(chr(ord("a") + int(digit, 16)) for digit in f"{number:08x}") for number in range(7, n + 7))
    return pa.array([f"{one}-1" for one in nibbles], pa.string()).cast(pa.binary() if kind == "bytes" else pa.string())


def as_text(ids):
    return [one.decode() if isinstance(one, bytes) else str(one) for one in ids.to_pylist()]


def he_centres(n=N_CELLS):
    """Cell centres on the slide, he_px: a jittered grid."""
    rng = np.random.default_rng(5)
    side = int(np.ceil(np.sqrt(n * HE_SHAPE[1] / HE_SHAPE[0])))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(-(-n // side))), axis=-1).reshape(-1, 2)[:n]
    return 50 + grid * 75.0 + rng.uniform(-8, 8, (n, 2))


def to_um(he_px):
    return (he_px @ MATRIX[:2, :2].T + MATRIX[:2, 2]) * MORPHOLOGY_UM


def outline(centre_um, radius=3.2, vertices=12):
    """Closed polygon of 13 vertices on the morphology grid, um."""
    angle = 2 * np.pi * np.arange(vertices + 1) / vertices
    ring = centre_um + radius * np.column_stack([np.cos(angle), 0.8 * np.sin(angle)])
    return np.rint(ring / MORPHOLOGY_UM) * MORPHOLOGY_UM


def owners(labels):
    """Cell row of every nucleus: with label_id the first cell has two nuclei and the last two cells none."""
    return [0, *range(N_CELLS - 2)] if labels else list(range(N_CELLS))


def counts():
    return np.random.default_rng(6).poisson(1.5, (N_CELLS, N_GENES + 6)).astype(np.int32)


@functools.lru_cache
def slide_pixels():
    """White with a dark, nearly round nucleus wherever a polygon is."""
    rng = np.random.default_rng(7)
    pixels = np.full((*HE_SHAPE, 3), 238, np.uint8) - rng.integers(0, 6, (*HE_SHAPE, 3), dtype=np.uint8)
    rows, columns = np.mgrid[: HE_SHAPE[0], : HE_SHAPE[1]] + 0.5
    for x, y in he_centres():
        pixels[np.hypot(columns - x, rows - y) < 12] = (90, 60, 140)
    return pixels


def write_he(path, pixels=None, um=HE_UM, **options):
    pixels = slide_pixels() if pixels is None else pixels
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": um,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path, ome=True) as file:
        settings = {"photometric": "rgb", "tile": (128, 128), "compression": "zlib", **options}
        file.write(pixels, subifds=1, metadata=metadata if um else {"axes": "YXS"}, **settings)
        file.write(pixels[::2, ::2], subfiletype=1, **settings)


def write_table(path, table, kind="parquet"):
    if kind == "parquet":
        pq.write_table(table, path.with_suffix(".parquet"))
        return
    for number, column in enumerate(table.columns):
        if pa.types.is_binary(column.type):
            table = table.set_column(number, table.column_names[number], column.cast(pa.string()))
    with gzip.open(f"{path}.csv.gz", "wb") as file:
        pcsv.write_csv(table, file)


def features(layout):
    controls = CONTROLS_1 if not layout["labels"] else CONTROLS_3
    names = [f"GENE{number}" for number in range(N_GENES)] + [name for name, _ in controls]
    types = ["Gene Expression"] * N_GENES + [kind for _, kind in controls]
    if layout.get("proteins"):
        names, types = [*names, "CD8"], [*types, "Protein Expression"]
    return names, types


def write_matrix(folder, ids, layout, kind="h5"):
    names, types = features(layout)
    dense = counts()[:, : len(names)]
    import scipy.sparse as sp

    matrix = sp.csc_matrix(dense.T)
    if kind == "mex":
        _write_mex(folder / "cell_feature_matrix", matrix, ids, names, types)
        return
    with h5py.File(folder / "cell_feature_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"] = matrix.data.astype(np.int32), matrix.indices.astype(np.int64)
        group["indptr"], group["shape"] = matrix.indptr.astype(np.int64), np.array(matrix.shape, np.int32)
        group["barcodes"] = np.array(as_text(ids), "S")
        part = group.create_group("features")
        part["id"], part["name"] = np.array([f"ENSG{n}" for n in range(len(names))], "S"), np.array(names, "S")
        part["feature_type"] = np.array(types, "S")
        if layout.get("proteins"):
            file.attrs["protein_scaling_factor"] = 10.0


def _write_mex(folder, matrix, ids, names, types):
    from scipy.io import mmwrite

    folder.mkdir()
    with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, matrix)
    with gzip.open(folder / "barcodes.tsv.gz", "wt") as file:
        file.writelines(f"{one}\n" for one in as_text(ids))
    with gzip.open(folder / "features.tsv.gz", "wt") as file:
        file.writelines(f"ENSG{n}\t{one}\t{kind}\n" for n, (one, kind) in enumerate(zip(names, types, strict=True)))


def write_boundaries(path, ids, layout, kind="parquet"):
    rows, centres = owners(layout["labels"]), to_um(he_centres())
    # The second nucleus of the first cell lies a little beside it.
    middle = [
        centres[row] + (np.array([9.0, 0.0]) if number == 0 and layout["labels"] else 0)
        for number, row in enumerate(rows)
    ]
    rings = np.vstack([outline(one) for one in middle])
    repeated = np.repeat(rows, 13)
    columns = {
        "cell_id": ids.take(pa.array(repeated)),
        "vertex_x": rings[:, 0].astype(np.float32),
        "vertex_y": rings[:, 1].astype(np.float32),
    }
    if layout["labels"]:
        columns["label_id"] = np.repeat(np.arange(1, len(rows) + 1, dtype=np.uint32), 13)
    write_table(path, pa.table(columns), kind)


def write_cells(path, ids, layout, kind="parquet"):
    centres = to_um(he_centres())
    columns = {"cell_id": ids, "x_centroid": centres[:, 0], "y_centroid": centres[:, 1]}
    columns |= {"transcript_counts": counts()[:, :N_GENES].sum(axis=1), "total_counts": counts().sum(axis=1)}
    columns["cell_area"] = np.full(N_CELLS, 60.0)
    columns["nucleus_area"] = pa.array([30.0] * (N_CELLS - 2) + [None, None])
    if layout["labels"]:
        columns["nucleus_count"] = np.bincount(owners(True), minlength=N_CELLS)
        columns["segmentation_method"] = ["Segmented by nucleus expansion of 5.0µm"] * N_CELLS
    write_table(path, pa.table(columns), kind)


def make_bundle(folder, version="3.0", tables="parquet", matrix="h5", morphology=True, **changes):
    """Write a bundle with its H&E and alignment; returns the folder."""
    layout = {**LAYOUTS[version], **changes}
    folder.mkdir(parents=True, exist_ok=True)
    experiment = {
        "run_name": "test",
        "num_cells": N_CELLS,
        "pixel_size": MORPHOLOGY_UM,
        "analysis_sw_version": layout["software"],
        "images": layout["images"],
    }
    if "ranger" in layout:
        experiment["xenium_ranger"] = {"version": layout["ranger"], "run_id": "x"}
    (folder / "experiment.xenium").write_text(json.dumps(experiment))
    ids = cell_ids(layout["ids"])
    write_cells(folder / "cells", ids, layout, tables)
    write_boundaries(folder / "nucleus_boundaries", ids, layout, tables)
    write_matrix(folder, ids, layout, matrix)
    write_he(folder / "test_he_image.ome.tif")
    np.savetxt(folder / "test_he_imagealignment.csv", MATRIX, delimiter=",")
    if morphology:
        path = folder / layout["images"]["morphology_focus_filepath"]
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, np.zeros((900, 760), np.uint16), ome=True, metadata={"axes": "YX"}, compression="zlib")
    return folder
