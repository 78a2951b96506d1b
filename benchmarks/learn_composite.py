"""Does it learn? CellViT from Xenium labels alone, on real H&E tiles it has not seen, epoch by epoch.

    python benchmarks/learn_composite.py --write        # about 8 minutes on 2 cores

The composite sample of ../shared: 12 tiles of real H&E (CoNSeP, colon) with real nuclei, and counts drawn for them
from real Xenium cells of their class. Labels come from the counts (method `stnuclei`). Nine tiles are trained on,
three looked at: nuclei are scored against the drawn outlines, classes against the truth. Epithelial and Neoplastic
are one class here, for the sample draws them without regard to the picture (see its README).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from stnuclei.io import read_sample  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.patches import PatchBlock, PatchStore, cut_patches, write_patches  # noqa: E402
from stnuclei.training import Source, TrainSettings, train  # noqa: E402

HELD_OUT = ("train_6", "train_12", "train_16")
TILE, SIZE = 1000, 256
MERGED = {"Epithelial": "Neoplastic"}


def tile_of(origin: np.ndarray, layout: dict) -> np.ndarray:
    """Name of the tile that holds each patch wholly, empty where it lies across the gaps; origin (N, 2) px."""
    names = np.full(len(origin), "", dtype=object)
    for name, corner in layout["tile_offset_canvas_025_xy"].items():
        inside = (origin >= np.array(corner)).all(1) & (origin + SIZE <= np.array(corner) + TILE).all(1)
        names[inside] = name
    return names


def subset(store: PatchStore, rows: np.ndarray, out: Path) -> None:
    """Write some patches of a store as a store of their own."""
    nuclei = [store.nuclei(int(i)) for i in rows]
    joined = {name: np.concatenate([n[name] for n in nuclei]) for name in ("cell_index", "nucleus_index", "centroid")}
    count = np.array([len(n["cell_index"]) for n in nuclei], np.int64)
    block = PatchBlock(
        image=store.image[rows],
        instances=store.instances[rows],
        origin=store.origin[rows],
        tissue=store.tissue[rows],
        count=count,
        **joined,
    )
    kept = {key: store.attrs[key] for key in ("sample", "tissues", "um_per_px", "settings")}
    write_patches(out, [block], kept, size=SIZE)


def prepare(shared: Path, folder: Path) -> tuple[list[Source], list[Source], dict[str, float]]:
    """Read, label, cut; sources of the tiles to learn from and of those held out, and what was counted."""
    sample = read_sample("xenium", shared / "data" / "composite_a", tissue="Breast")  # its counts are of breast
    truth = pd.read_parquet(shared / "data" / "truth" / "truth_composite_a.parquet")
    cells = label_cells(sample.table, "stnuclei", "Breast").cells
    agreed = cells["label"].replace(MERGED).to_numpy() == truth["class"].replace(MERGED).to_numpy()
    for name, label in (("stnuclei", cells["label"]), ("truth", truth["class"])):
        table = cells[["cell_id", "confidence", "cluster"]].assign(label=label.astype(str).replace(MERGED).to_numpy())
        table.to_parquet(folder / f"{name}.parquet")
    cut_patches(sample, folder / "all.zarr", size=SIZE, stride=SIZE // 2, min_nuclei=1, seed=0)
    store = PatchStore(folder / "all.zarr")
    layout = json.loads((shared / "data" / "truth" / "truth_layout_composite_a.json").read_text())
    tile = tile_of(store.origin, layout)
    even = (store.origin // (SIZE // 2) % 2 == 0).all(1)  # held-out patches do not overlap
    held = np.isin(tile, HELD_OUT)
    subset(store, np.flatnonzero((tile != "") & ~held), folder / "seen.zarr")
    subset(store, np.flatnonzero(held & even), folder / "unseen.zarr")
    facts = {"share of cells labelled rightly": float(agreed.mean())}
    seen = [Source(folder / "seen.zarr", folder / "stnuclei.parquet")]
    return seen, [Source(folder / "unseen.zarr", folder / "truth.parquet")], facts


def main() -> None:
    """Run the experiment, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--architecture", default="cellvit-tiny")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources, validation, facts = prepare(options.shared, folder)
        settings = TrainSettings(
            architecture=options.architecture,
            epochs=options.epochs,
            batch_size=options.batch,
            learning_rate=options.learning_rate,
            schedule="cosine",
            warmup_steps=20,
            augmentation="flips",
            sampling="random",
            precision=options.precision,
            threads=options.threads,
            workers=2,
            tensorboard=False,
        )
        started = time.monotonic()
        train(sources, validation, folder / "run", settings, taxonomy="pannuke")
        facts["minutes of training"] = (time.monotonic() - started) / 60
        history = pd.read_csv(folder / "run" / "history.csv")
        patches = [len(PatchStore(source.patches)) for source in (*sources, *validation)]
        report(history, facts, patches, options)
        if options.write:
            picture = ROOT / "benchmarks" / "results" / "learn_composite.png"
            picture.write_bytes((folder / "run" / "curves.png").read_bytes())


def report(history: pd.DataFrame, facts: dict[str, float], patches: list[int], options: argparse.Namespace) -> None:
    """Print the table; write it to benchmarks/results."""
    columns = {
        "epoch": "epoch",
        "train_loss": "loss, learnt from",
        "val_loss": "loss, unseen",
        "val_detection_f1": "detection F1",
        "val_bpq": "bPQ",
        "val_dice": "Dice",
        "val_macro_f1": "macro F1",
        "val_f1_Neoplastic": "F1 epithelial + neoplastic",
        "val_f1_Inflammatory": "F1 inflammatory",
        "val_f1_Connective": "F1 connective",
    }
    lines = [f"| {' | '.join(columns.values())} |", "|---" * len(columns) + "|"]
    for _, row in history.iterrows():
        numbers = [f"{row[c]:.3f}" if row.get(c, np.nan) == row.get(c, np.nan) else "" for c in list(columns)[1:]]
        lines.append(f"| {row['epoch']:.0f} | {' | '.join(numbers)} |")
    words = ", ".join(f"{name} {value:.3g}" for name, value in facts.items())
    head = f"{patches[0]} patches learnt from (overlapping by half), {patches[1]} unseen; {words}"
    print("\n".join([head, *lines]))
    if options.write:
        command = " ".join(["python benchmarks/learn_composite.py", *sys.argv[1:]])
        about = (__doc__ or "").split("2 cores")[1].strip()
        text = f"# Learning from Xenium labels on real H&E\n\n`{command}`\n\n{about}\n\n"
        text += "\n".join([head + ".", "", *lines, "", "![curves](learn_composite.png)", ""])
        (ROOT / "benchmarks" / "results" / "learn_composite.md").write_text(text)


if __name__ == "__main__":
    main()
