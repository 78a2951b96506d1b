"""Ways to break a copy of the good input, by name, and tools for them."""

import json

import h5py
import pandas as pd

CELLS, NUCLEI, MATRIX = "cells.parquet", "nucleus_boundaries.parquet", "cell_feature_matrix.h5"
HE, ALIGN, RUN = "test_he_image.ome.tif", "test_he_imagealignment.csv", "experiment.xenium"
XENIUM: dict[str, tuple] = {}
HEST: dict[str, tuple] = {}
KEY = "TENX1"
TRANSCRIPTS, SEG = f"transcripts/{KEY}_transcripts.parquet", f"xenium_seg/{KEY}_xenium_nucleus_seg.parquet"
META, WSI = f"metadata/{KEY}.json", f"wsis/{KEY}.tif"


def broken(name, file, says, cases=XENIUM):
    """Register a way to break a copy of the good input: the file the sentence names, and what it says."""

    def register(change):
        cases[name] = (change, file, says)
        return change

    return register


def cut(share):
    def change(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return change


def edit(path, change):
    """Rewrite a parquet table through pandas."""
    frame = pd.read_parquet(path)
    frame = change(frame)
    frame.to_parquet(path, index=frame.index.name is not None or frame.index.dtype == object)


def setting(column, row, value):
    def change(frame):
        frame[column] = frame[column].astype(object if isinstance(value, str | None) else float)
        frame.loc[frame.index[row], column] = value
        return frame

    return change


def description(path, **changes):
    content = json.loads(path.read_text())
    for key, value in changes.items():
        content.pop(key, None) if value is ... else content.update({key: value})
    path.write_text(json.dumps(content))


def in_h5(path, name, change):
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        del file[name]
        if change is not None:
            file[name] = change(values)
