"""The real tiles of ../shared as patch stores: CoNSeP's colon H&E (Graham et al. 2019), each tile on one side only.

Two composite samples hold 18 of its 27 tiles as slides with counts, `pannuke_like` the other nine with manual classes.
Six tiles of the composites are held out; they are read from CoNSeP itself, with its own outlines and classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from stnuclei.io import read_sample
from stnuclei.labels import label_cells
from stnuclei.loading import Source
from stnuclei.patches import PatchBlock, PatchStore, cut_patches, import_pannuke, write_patches
from stnuclei.patches.instance_map import number_patch

HELD_OUT = {"composite_a": ("train_6", "train_12", "train_16"), "composite_hest": ("train_15", "train_22", "train_27")}
#: Epithelial and Neoplastic are one class here: the composites draw them without regard to the picture.
MERGED = {"Epithelial": "Neoplastic"}
#: CoNSeP's classes as HoVer-Net merges them; miscellaneous nuclei have no class among ours.
CONSEP = {1: "Unknown", 2: "Inflammatory", 3: "Neoplastic", 4: "Connective"}
TILE, SIZE = 1000, 256


@dataclass(frozen=True)
class Learnt:
    """Training data of one model: sources, their names, and the share of right labels where it is known."""

    sources: list[Source]
    dataset: str
    tiles: list[str]
    right: float = float("nan")


def composites(shared: Path, folder: Path, labels: str = "stnuclei") -> Learnt:
    """The composite samples without the held-out tiles, patches overlapping by half.

    `labels` is a labelling method, fed with the counts alone, or ``truth``, the classes CoNSeP's authors drew.
    """
    sources, tiles, right = [], [], []
    for name, held in HELD_OUT.items():
        patches, own = folder / f"{name}.zarr", folder / f"{name}.{labels}.parquet"
        layout = json.loads((shared / "data" / "truth" / f"truth_layout_{name}.json").read_text())
        sample = _read(name, shared)
        right.append(_write_labels(sample, name, shared, labels, own))
        if not patches.exists():
            cut_patches(sample, folder / f"{name}.all.zarr", size=SIZE, stride=SIZE // 2, min_nuclei=1, seed=0)
            store = PatchStore(folder / f"{name}.all.zarr")
            tile = tile_of(store.origin, layout)
            _subset(store, np.flatnonzero((tile != "") & ~np.isin(tile, held)), patches)
        sources.append(Source(patches, own))
        tiles += [tile for tile in layout["tiles"] if tile not in held]
    return Learnt(sources, f"composites, labels {labels}", tiles, float(np.concatenate(right).mean()))


def _read(name: str, shared: Path) -> Any:
    platform = "hest" if name.endswith("hest") else "xenium"
    return read_sample(platform, shared / "data" / name, tissue="Breast")  # the counts are those of breast


def _write_labels(sample: Any, name: str, shared: Path, labels: str, out: Path) -> np.ndarray:
    """Write a slide's labels; which cells with a known class they name rightly, (n,) bool."""
    truth = pd.read_parquet(shared / "data" / "truth" / f"truth_{name}.parquet")["class"].replace(MERGED)
    if labels == "truth":
        cells = sample.table.obs[["cell_id"]].reset_index(drop=True).assign(confidence=np.float32(1), cluster=-1)
        cells["label"] = truth.to_numpy()
    else:
        cells = label_cells(sample.table, labels, "Breast").cells
        cells["label"] = cells["label"].astype(str).replace(MERGED)
    cells.to_parquet(out)
    known = truth.to_numpy() != "Unknown"
    return (cells["label"].to_numpy() == truth.to_numpy())[known]


def tile_of(origin: np.ndarray, layout: dict[str, Any]) -> np.ndarray:
    """Name of the tile that holds each patch wholly, empty where it lies across the gaps; origin (N, 2) px."""
    names = np.full(len(origin), "", dtype=object)
    for name, corner in layout["tile_offset_canvas_025_xy"].items():
        inside = (origin >= np.array(corner)).all(1) & (origin + SIZE <= np.array(corner) + TILE).all(1)
        names[inside] = name
    return names


def _subset(store: PatchStore, rows: np.ndarray, out: Path) -> None:
    """Write some patches of a store as a store of their own."""
    nuclei = [store.nuclei(int(i)) for i in rows]
    joined = {name: np.concatenate([n[name] for n in nuclei]) for name in ("cell_index", "nucleus_index", "centroid")}
    block = PatchBlock(
        image=store.image[rows],
        instances=store.instances[rows],
        origin=store.origin[rows],
        tissue=store.tissue[rows],
        count=np.array([len(n["cell_index"]) for n in nuclei], np.int64),
        **joined,
    )
    write_patches(
        out, [block], {key: store.attrs[key] for key in ("sample", "tissues", "um_per_px", "settings")}, size=SIZE
    )


def pannuke_like(shared: Path, folder: Path) -> Learnt:
    """Nine other tiles in PanNuke's layout, with their manual classes."""
    sources = []
    for fold in (1, 2, 3):
        patches, labels = folder / f"fold_{fold}.zarr", folder / f"fold_{fold}.parquet"
        import_pannuke(shared / "data" / "pannuke_like", fold, patches, labels)
        sources.append(Source(patches, labels))
    index = pd.read_csv(shared / "data" / "pannuke_like" / "index.csv")
    return Learnt(sources, "pannuke_like, manual", list(dict.fromkeys(index["tile"])), 1.0)


def held_out(shared: Path, folder: Path) -> dict[str, Source]:
    """The held-out tiles of each composite, from CoNSeP's own files: nine patches a tile, side by side."""
    sources = {}
    for name, tiles in HELD_OUT.items():
        patches, labels = folder / f"{name}.held_out.zarr", folder / f"{name}.held_out.parquet"
        found = [
            _consep_patch(shared / "data" / "consep_train" / "train", f"{tile}_{k:03d}", (ti * TILE, 0), k)
            for ti, tile in enumerate(tiles)
            for k in range(9)
        ]
        _write_consep(found, name, patches, labels)
        sources[name] = Source(patches, labels)
    return sources


def _consep_patch(folder: Path, stem: str, corner: tuple[int, int], k: int) -> dict[str, Any]:
    """One patch of CoNSeP: picture, numbered nuclei, centroids, class names."""
    image = cv2.cvtColor(cv2.imread(str(folder / "images" / f"{stem}.jpg")), cv2.COLOR_BGR2RGB)
    ids = cv2.imread(str(folder / "inst_png16" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    types = pd.read_csv(folder / "types_csv" / f"{stem}.csv").set_index("inst_id")["type"]
    present = np.unique(ids)[1:]
    labels = np.searchsorted(present, ids).astype(np.int32) + 1
    labels[ids == 0] = 0
    instances = np.empty(ids.shape, np.uint16)
    none, slot = np.zeros((len(present), 4)), np.zeros(len(present) + 1, np.int32)
    centroid = number_patch(labels, none, 0, 0, False, slot, instances)[1]
    names = [CONSEP[int(kind)] for kind in types.loc[present]]
    origin = (corner[0] + 256 * (k % 3), corner[1] + 256 * (k // 3))
    return {"image": image, "instances": instances, "centroid": centroid, "names": names, "origin": origin}


def _write_consep(found: list[dict[str, Any]], name: str, patches: Path, labels: Path) -> None:
    names = [label for patch in found for label in patch["names"]]
    rows = np.arange(len(names), dtype=np.int32)
    block = PatchBlock(
        image=np.stack([patch["image"] for patch in found]),
        instances=np.stack([patch["instances"] for patch in found]),
        origin=np.array([patch["origin"] for patch in found], np.int32),
        tissue=np.zeros(len(found), np.uint8),
        count=np.array([len(patch["names"]) for patch in found], np.int64),
        cell_index=rows,
        nucleus_index=rows,
        centroid=np.concatenate([patch["centroid"] for patch in found]),
    )
    write_patches(patches, [block], {"sample": name, "tissues": ["Colon"], "um_per_px": 0.25, "settings": {}}, size=256)
    cells = pd.DataFrame({"cell_id": [str(row) for row in rows], "label": names})
    cells.assign(confidence=np.float32(1), cluster=np.int32(-1)).to_parquet(labels)
