"""Real nuclei on a bundle of real pixels: none lost; on the larger composite also where the shipped truth has them."""

import json

import numpy as np
import pytest

from stnuclei.io import read_sample
from stnuclei.patches import PatchStore, cut_patches, draw_contact_sheet


@pytest.fixture(scope="module")
def cut(real_bundle, tmp_path_factory):
    sample = read_sample("xenium", real_bundle, tissue="Breast", sample="nucls", checksums=False)
    path = tmp_path_factory.mktemp("nucls") / "patches.zarr"
    counts = cut_patches(sample, path, threads=2)
    return sample, PatchStore(path), counts


def check_counts(sample, store, counts, nuclei):
    assert len(sample.nuclei) == nuclei
    assert counts["nuclei_placed"] + sum(counts["nuclei_lost"].values()) == nuclei
    assert len(np.unique(store.nucleus_index)) == counts["nuclei_placed"] == nuclei


def test_every_nucleus_in_is_in_the_patches(cut):
    check_counts(*cut, nuclei=1456)


def test_instances_lie_on_the_shipped_truth(shared, tmp_path):
    sample = read_sample("xenium", shared / "data" / "composite_a", tissue="Breast", sample="composite_a")
    counts = cut_patches(sample, tmp_path / "patches.zarr", threads=2)
    store = PatchStore(tmp_path / "patches.zarr")
    check_counts(sample, store, counts, nuclei=6008)
    truth = np.load(shared / "data" / "truth" / "truth_instances_composite_a.npz")
    layout = json.loads((shared / "data" / "truth" / "truth_layout_composite_a.json").read_text())
    width, height = layout["canvas_025_wh"]
    true, ours = (np.zeros((height + 256, width + 256), np.int64) for _ in range(2))
    begin = 0
    for tile, (x, y) in layout["tile_offset_canvas_025_xy"].items():
        true[y : y + 1000, x : x + 1000] = np.where(truth[tile] > 0, truth[tile] + begin, 0)
        begin += int(truth[tile].max()) + 1
    for i in range(len(store)):
        x, y = store.origin[i]
        ids = np.append(0, store.nuclei(i)["nucleus_index"] + 1)[store.instances[i]]
        ours[y : y + 256, x : x + 256] = ids
    pairs, shared_px = np.unique(true * (1 << 20) + ours, return_counts=True)
    a, b = pairs >> 20, pairs & ((1 << 20) - 1)
    union = np.bincount(true.ravel())[a] + np.bincount(ours.ravel())[b] - shared_px
    iou = np.where((a > 0) & (b > 0), shared_px / union, 0)
    best = np.zeros(ours.max() + 1)
    np.maximum.at(best, b, iou)
    best = best[np.unique(ours)[1:]]
    ratio = (ours > 0).sum() / (true > 0).sum()
    print(f"median IoU {np.median(best):.3f}, 5 % {np.quantile(best, 0.05):.3f}, area {ratio:.4f} of the truth's")
    assert np.median(best) > 0.95
    assert np.quantile(best, 0.05) > 0.85
    assert ratio == pytest.approx(1, abs=0.005)


def test_contact_sheet_shows_outlines(cut, tmp_path):
    import cv2

    _, store, _ = cut
    draw_contact_sheet(store, tmp_path / "a.png", seed=1)
    draw_contact_sheet(store, tmp_path / "b.png", seed=1)
    first = cv2.imread(str(tmp_path / "a.png"))
    assert np.array_equal(first, cv2.imread(str(tmp_path / "b.png")))
    b, g, r = first.astype(int).transpose(2, 0, 1)
    assert ((g > 200) & (r < 60) & (b < 130)).mean() > 0.005
