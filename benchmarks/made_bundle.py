"""A made Xenium bundle of any size: slide, cells, nucleus boundaries and counts, the tables in blocks of cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py
    import pyarrow as pa

UM, MORPHOLOGY_UM, TILE = 0.25, 0.2125, 512
GENES, GENES_A_CELL = 400, 45
BLOCK = 1 << 17  # cells made at once
PAINTED = 1_000_000  # nuclei that the slide shows, at most


def centres(px: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Jittered grid of nuclei over the slide, he_px (n, 2)."""
    side = int(np.ceil(np.sqrt(cells)))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:cells]
    step = (px - 100) / side
    return 50 + (grid + 0.5) * step + rng.uniform(-0.2, 0.2, (cells, 2)) * step


def slide_tiles(px: int, level: int, points: np.ndarray) -> Iterator[np.ndarray]:
    """JPEG-able tiles of a level: eosin-coloured texture with a dark disk at every nucleus."""
    import cv2

    rng = np.random.default_rng(1)
    texture = np.clip(rng.normal((225, 170, 200), 12, (TILE, TILE, 3)), 0, 255).astype(np.uint8)
    scale = 2**level
    order = np.argsort(points[:, 1])
    points = points[order]
    radius = max(round(12 / scale), 1)
    for y in range(0, px // scale, TILE):
        low, high = np.searchsorted(points[:, 1], [(y - 20) * scale, (y + TILE + 20) * scale])
        row = points[low:high]
        for x in range(0, px // scale, TILE):
            tile = np.ascontiguousarray(np.roll(texture, (x // 7 % TILE, y // 5 % TILE), axis=(0, 1)))
            near = row[(row[:, 0] > (x - 20) * scale) & (row[:, 0] < (x + TILE + 20) * scale)]
            for cx, cy in np.rint(near / scale - (x, y)).astype(int):
                cv2.circle(tile, (int(cx), int(cy)), radius, (95, 65, 140), -1)
            yield tile


def write_slide(path: Path, px: int, points: np.ndarray) -> None:
    """Pyramidal JPEG OME-TIFF with SubIFDs, as Xenium downloads have it."""
    import tifffile

    levels = 5
    common = {
        "tile": (TILE, TILE),
        "compression": "jpeg",
        "compressionargs": {"level": 85},
        "photometric": "rgb",
        "dtype": np.uint8,
    }
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": UM,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        for level in range(levels):
            side = px >> level
            more = {"subifds": levels - 1, "metadata": metadata} if level == 0 else {"subfiletype": 1}
            file.write(slide_tiles(px, level, points), shape=(side, side, 3), **common, **more)


def write_tables(folder: Path, points: np.ndarray, rng: np.random.Generator) -> None:
    """experiment.xenium, alignment, cells, nucleus boundaries, matrix; the tables in blocks of cells."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    scale = UM / MORPHOLOGY_UM
    matrix = np.array([[0, -scale, points.max() * scale + 100], [scale, 0, 0], [0, 0, 1.0]])
    np.savetxt(folder / "bench_he_imagealignment.csv", matrix, delimiter=",")
    experiment = {"pixel_size": MORPHOLOGY_UM, "analysis_sw_version": "xenium-3.0.0.15", "images": {}}
    (folder / "experiment.xenium").write_text(json.dumps(experiment))
    text, real, small = pa.string(), pa.float64(), pa.float32()
    cells = pa.schema([("cell_id", text), ("x_centroid", real), ("y_centroid", real)])
    vertices = pa.schema([("cell_id", text), ("vertex_x", small), ("vertex_y", small), ("label_id", pa.uint32())])
    with (
        pq.ParquetWriter(folder / "cells.parquet", cells) as cell_file,
        pq.ParquetWriter(folder / "nucleus_boundaries.parquet", vertices) as vertex_file,
        h5py.File(folder / "cell_feature_matrix.h5", "w") as file,
    ):
        group = create_matrix(file, len(points))
        for begin in range(0, len(points), BLOCK):
            number = np.arange(begin, min(begin + BLOCK, len(points)))
            um = (points[number] @ matrix[:2, :2].T + matrix[:2, 2]) * MORPHOLOGY_UM
            ids = pa.array([cell_id(k) for k in number])
            cell_file.write_table(pa.table([ids, um[:, 0], um[:, 1]], schema=cells))
            vertex_file.write_table(outlines(ids, um, number).cast(vertices))
            write_counts(group, ids, begin, rng)


def cell_id(number: int) -> str:
    """An id as the instrument writes them."""
    return f"{number:08x}".translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop")) + "-1"


def outlines(ids: pa.Array, um: np.ndarray, number: np.ndarray) -> pa.Table:
    """Vertices of circles of 13 vertices around centres (n, 2) um."""
    import pyarrow as pa

    angle = 2 * np.pi * np.arange(13) / 12
    ring = (um[:, None] + 3.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)).astype(np.float32)
    row = np.repeat(np.arange(len(um)), 13)
    names = ["cell_id", "vertex_x", "vertex_y", "label_id"]
    columns = [ids.take(pa.array(row)), ring[..., 0].ravel(), ring[..., 1].ravel(), (number[row] + 1).astype(np.uint32)]
    return pa.table(columns, names=names)


def create_matrix(file: h5py.File, n: int) -> h5py.Group:
    """Matrix of n cells whose counts are still to be written."""
    group = file.create_group("matrix")
    group.create_dataset("data", (n * GENES_A_CELL,), np.int32)
    group.create_dataset("indices", (n * GENES_A_CELL,), np.int64)
    group.create_dataset("barcodes", (n,), "S10")
    group["indptr"], group["shape"] = np.arange(n + 1) * GENES_A_CELL, np.array([GENES, n])
    names = np.array([f"GENE{k}" for k in range(GENES)], "S")
    features = group.create_group("features")
    features["id"], features["name"] = names, names
    features["feature_type"] = np.array(["Gene Expression"] * GENES, "S")
    return group


def write_counts(group: h5py.Group, ids: pa.Array, begin: int, rng: np.random.Generator) -> None:
    """Counts of the cells from `begin` on."""
    step = GENES // GENES_A_CELL
    indices = rng.integers(0, step, (len(ids), GENES_A_CELL)) + np.arange(GENES_A_CELL) * step
    entries = slice(begin * GENES_A_CELL, (begin + len(ids)) * GENES_A_CELL)
    group["data"][entries] = rng.integers(1, 6, indices.size).astype(np.int32)
    group["indices"][entries] = indices.ravel()
    group["barcodes"][begin : begin + len(ids)] = np.array(ids.to_pylist(), "S10")


def make(folder: Path, px: int, cells: int) -> None:
    """Write the whole bundle."""
    rng = np.random.default_rng(0)
    points = centres(px, cells, rng)
    folder.mkdir()
    write_slide(folder / "bench_he_image.ome.tif", px, points[:PAINTED])
    write_tables(folder, points, rng)
