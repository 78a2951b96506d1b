"""The circle: a model segments the H&E of a Visium HD run, and the run's 2-um bins become single cells."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from platforms import write_h5

from prediction.conftest import write_slide
from prediction.oracle import CLASSES, Oracle, Scene, ious
from stnuclei.io import NucleiFile, open_sample, read_sample, write_sample
from stnuclei.patches import PatchStore, cut_patches
from stnuclei.prediction import segment_slide

UM, WIDTH, HEIGHT = 0.25, 700, 900
GENES = CLASSES[1:]  # one a class


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that Space Ranger did not segment; the scene; its labels (H, W); counts of bins, and their labels."""
    scene = Scene.random(WIDTH * UM, HEIGHT * UM, seed=3)
    image, labels = scene.draw(UM, WIDTH, HEIGHT)
    folder = tmp_path_factory.mktemp("visium") / "run"
    bins = folder / "binned_outputs" / "square_002um"
    (bins / "spatial").mkdir(parents=True)
    (folder / "microscope_image").mkdir()
    write_slide(folder / "microscope_image" / "slide.tif", image)
    rows, columns = (grid.ravel() for grid in np.mgrid[4:HEIGHT:8, 4:WIDTH:8])  # 2 um are 8 px
    below = labels[rows, columns]
    kind = np.concatenate([[0], scene.kind])[below]
    expected = 0.3 + 4.0 * (kind[:, None] == np.arange(1, 6))
    counts = np.random.default_rng(2).poisson(expected)
    names = [f"s_002um_{row // 8:05d}_{column // 8:05d}-1" for row, column in zip(rows, columns, strict=True)]
    write_h5(bins / "filtered_feature_bc_matrix.h5", counts, names, GENES)
    shuffled = np.random.default_rng(0).permutation(len(names))  # positions are in an order of their own
    positions = {"barcode": np.array(names)[shuffled], "pxl_row_in_fullres": rows[shuffled].astype(float)}
    positions |= {"pxl_col_in_fullres": columns[shuffled].astype(float)}
    pq.write_table(pa.table(positions), bins / "spatial" / "tissue_positions.parquet")
    (bins / "spatial" / "scalefactors_json.json").write_text(json.dumps({"microns_per_pixel": UM}))
    return folder, scene, labels, counts, below


def test_a_segmented_visium_hd_run_is_single_cell(run, tmp_path):
    folder, scene, labels, counts, below = run
    slide = folder / "microscope_image" / "slide.tif"
    segment_slide(None, slide, tmp_path / "nuclei", predictor=Oracle(), tissue="whole", tile=512)
    sample = read_sample(
        "visium_hd", folder, sample="v", tissue="Breast", nuclei=tmp_path / "nuclei" / "nuclei.parquet"
    )
    assert sample.table.n_obs == len(sample.nuclei) == len(scene) and sample.um_per_px == UM
    assert list(sample.nuclei["cell_id"]) == [str(k) for k in NucleiFile(tmp_path / "nuclei").read()["nucleus_id"]]
    iou, cell = ious(labels, sample.nuclei.geometry)
    assert iou.min() > 0.95
    truth = np.array([counts[below == k + 1].sum(axis=0) for k in range(len(scene))])
    ours = sample.table[cell, GENES].X.toarray()
    # Outlines are smoothed: a bin whose centre lies on the edge may go to the other side.
    assert np.abs(ours - truth).sum() < 0.03 * truth.sum()
    full = truth.sum(axis=1) >= 10
    assert full.mean() > 0.9 and (ours[full].argmax(axis=1) + 1 == scene.kind[full]).mean() > 0.98
    write_sample(sample, tmp_path / "v.zarr")
    placed = cut_patches(open_sample(tmp_path / "v.zarr"), tmp_path / "patches.zarr")
    assert placed["nuclei_placed"] == len(scene) and len(PatchStore(tmp_path / "patches.zarr")) == placed["patches"] > 6
