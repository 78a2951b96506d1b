"""Cutting: pixels and ids where they belong, everything dropped counted, threads without influence."""

import json

import numpy as np
import pandas as pd
import pytest
import shapely

from stnuclei.errors import UserError
from stnuclei.io import boundaries
from stnuclei.patches import PatchStore, cut_patches, grid, patch_classes
from stnuclei.patches.classes import nucleus_labels
from stnuclei.patches.raster import rasterize
from stnuclei.quality.tissue_map import TissueMap
from stnuclei.tables import write_table

ALL = {"min_nuclei": 0, "size": 256}


def cut(sample, path, **settings):
    counts = cut_patches(sample, path / "p.zarr", **settings)
    return PatchStore(path / "p.zarr"), counts


def mosaic(store, width, height):
    """Row of the nuclei table + 1 at every patch_px of the slide."""
    size = store.patch_px
    out = np.zeros((height + size, width + size), np.int64)
    for i in range(len(store)):
        x, y = store.origin[i]
        ids = np.append(0, store.nuclei(i)["nucleus_index"] + 1)[store.instances[i]]
        out[y : y + size, x : x + size] = ids
    return out[:height, :width]


def test_pixels_are_the_slides_and_ids_the_nuclei(sample, tmp_path):
    store, counts = cut(sample, tmp_path, **ALL)
    padded = np.pad(sample.he, ((0, 256), (0, 256), (0, 0)), constant_values=255)
    for i in range(len(store)):
        x, y = store.origin[i]
        assert np.array_equal(store.image[i], padded[y : y + 256, x : x + 256])
    assert np.array_equal(mosaic(store, 900, 700), rasterize(sample.nuclei.geometry.to_numpy(), 900, 700))
    assert counts["nuclei_in"] == counts["nuclei_placed"] == 60
    assert counts["patches"] == counts["grid"] == 12
    assert counts["nuclei_lost"] == counts["dropped"] == {}


def test_cells_and_centroids(sample, tmp_path):
    store, _ = cut(sample, tmp_path, **ALL)
    names = np.append(sample.table.obs_names.to_numpy(), None)
    for i in range(len(store)):
        own, ids = store.nuclei(i), store.instances[i]
        assert [names[c] for c in own["cell_index"]] == list(sample.nuclei["cell_id"][own["nucleus_index"]])
        assert set(np.unique(ids)) - {0} == set(range(1, len(own) + 1))
        for k, centroid in enumerate(own["centroid"], 1):
            y, x = np.nonzero(ids == k)
            assert centroid == pytest.approx((x.mean(), y.mean()), abs=1e-3)


@pytest.mark.parametrize("um", [0.1369, 0.2125, 0.2738, 0.3639])
def test_any_native_resolution_puts_nuclei_in_the_frame_of_patches(sample_of, tmp_path, um):
    sample = sample_of(um_per_px=um)
    store, counts = cut(sample, tmp_path, **ALL)
    scale = um / 0.25
    expected = shapely.transform(sample.nuclei.geometry.to_numpy(), lambda xy: xy * scale)
    width, height = int(900 * scale), int(700 * scale)
    assert np.array_equal(mosaic(store, width, height), rasterize(expected, width, height))
    assert store.um_per_px == 0.25
    assert counts["nuclei_placed"] == 60
    # A painted nucleus is seen where its outline lies: dark discs in the slide stay under their ids.
    assert store.attrs["he_px_per_px"] == pytest.approx(1 / scale)


@pytest.mark.parametrize("um", [0.1369, 0.2125, 0.3639])
def test_ids_lie_on_their_pixels(sample_of, tmp_path, um):
    sample = sample_of(um_per_px=um)
    painted = rasterize(sample.nuclei.geometry.to_numpy(), 900, 700) > 0
    sample.he = np.repeat(np.where(painted, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    store, _ = cut(sample, tmp_path, **ALL)
    dark, marked = store.image[:][..., 0] < 128, store.instances[:] > 0
    assert (dark & marked).sum() / (dark | marked).sum() > 0.9


def test_few_nuclei_and_little_tissue_are_counted(sample, tmp_path):
    classes = np.zeros((22, 29), np.uint8)  # 32 he_px a map pixel
    classes[:, :16] = 1  # columns 0 and 256 are tissue
    classes[:8, 16:24] = 2  # blurred above, patch (512, 0)
    classes[8:16, 16:24] = 3  # pen, patch (512, 256)
    tissue = TissueMap(classes, um_per_px=8.0, he_px_per_px=32.0)
    store, counts = cut(sample, tmp_path, tissue_map=tissue, min_tissue=0.2, min_nuclei=1)
    left = (np.asarray(store.origin)[:, 0] < 512).all()
    assert left
    assert counts["dropped"] == {"pen or artefact": 1, "blurred": 1, "too little tissue": 4}
    assert counts["nuclei_placed"] + sum(counts["nuclei_lost"].values()) == 60
    placed = set(store.nucleus_index.tolist())
    assert len(placed) == counts["nuclei_placed"]
    shown, kept = cut(sample, tmp_path, tissue_map=tissue, min_tissue=0.2, exclude_blurred=False, exclude_pen=False)
    assert {(512, 0), (512, 256)} <= set(map(tuple, shown.origin.tolist()))
    assert kept["patches"] > counts["patches"]


def test_border_nuclei_are_kept_or_dropped(sample, tmp_path):
    kept = set(cut(sample, tmp_path, **ALL)[0].nucleus_index.tolist())
    dropped, counts = cut(sample, tmp_path, border="drop", **ALL)
    boxes = sample.nuclei.geometry.bounds.to_numpy()
    cut_by_edge = [(int(b[0] // 256), int(b[1] // 256)) != (int(b[2] // 256), int(b[3] // 256)) for b in boxes]
    assert set(dropped.nucleus_index.tolist()) == set(np.flatnonzero(~np.array(cut_by_edge)).tolist())
    assert counts["nuclei_lost"] == {"cut by a patch's edge": sum(cut_by_edge)}
    assert kept == set(range(60))


def test_overlap_shows_nuclei_in_several_patches(sample, tmp_path):
    store, counts = cut(sample, tmp_path, stride=128, **ALL)
    assert counts["nuclei_placed"] == 60
    assert counts["nuclei"] > 120
    whole = rasterize(sample.nuclei.geometry.to_numpy(), 900 + 256, 700 + 256)
    for i in range(len(store)):
        x, y = store.origin[i]
        ids = np.append(0, store.nuclei(i)["nucleus_index"] + 1)[store.instances[i]]
        assert np.array_equal(ids, whole[y : y + 256, x : x + 256])


def test_correction_moves_nuclei_and_not_pixels(sample, tmp_path):
    matrix = np.array([[1, 0, 7.0], [0, 1, -4.0], [0, 0, 1]])
    store, _ = cut(sample, tmp_path, correction=matrix, **ALL)
    moved = shapely.transform(sample.nuclei.geometry.to_numpy(), lambda xy: xy + (7, -4))
    assert np.array_equal(mosaic(store, 900, 700), rasterize(moved, 900, 700))
    assert np.array_equal(store.image[0], sample.he[:256, :256])


def test_lost_nuclei_have_a_reason(sample, tmp_path):
    geometry = sample.nuclei.geometry.to_numpy().copy()
    geometry[0] = shapely.Point(5000, 5000).buffer(5)
    geometry[1] = None
    geometry[2] = shapely.box(10.6, 10.6, 10.9, 10.9)
    sample.nuclei = sample.nuclei.set_geometry(geometry)
    _, counts = cut(sample, tmp_path, **ALL)
    assert counts["nuclei_lost"] == {"no pixel of its own": 1, "outside the slide": 1, "no outline": 1}


def test_bands_and_pieces_change_no_patch(sample_of, tmp_path, monkeypatch):
    sample = sample_of(height=1500, width=1100, n=300)
    whole, counts = cut(sample, tmp_path / "whole", stride=200, border="drop")
    monkeypatch.setattr(grid, "BLOCK_PX", 500)
    monkeypatch.setattr(boundaries, "ROW_GROUP", 64)
    banded, again = cut(sample, tmp_path / "banded", stride=200, border="drop")
    assert len(grid.PatchGrid(1100, 1500, 256, 200).bands()) > 3
    assert {key: counts[key] for key in ("patches", "nuclei", "nuclei_lost")} == {
        key: again[key] for key in ("patches", "nuclei", "nuclei_lost")
    }
    place = {tuple(origin): i for i, origin in enumerate(banded.origin.tolist())}
    for i, origin in enumerate(whole.origin.tolist()):
        j = place[tuple(origin)]
        assert np.array_equal(whole.image[i], banded.image[j])
        assert np.array_equal(whole.instances[i], banded.instances[j])
        for column in ("nucleus_index", "cell_index", "centroid"):
            assert np.array_equal(whole.nuclei(i)[column], banded.nuclei(j)[column])


def test_nothing_is_left_beside_the_store(sample, tmp_path):
    cut(sample, tmp_path, **ALL)
    with pytest.raises(UserError):
        cut(sample, tmp_path / "none", min_nuclei=1000)
    assert [path.name for path in tmp_path.rglob("*") if "partial" in path.name] == []


def test_threads_change_nothing(sample_of, tmp_path):
    sample = sample_of(height=2000, width=9000, n=400, um_per_px=0.2125)
    contents = []
    for threads in (1, 3):
        cut_patches(sample, tmp_path / f"{threads}.zarr", threads=threads, stride=200)
        folder = tmp_path / f"{threads}.zarr"
        files = sorted(f for f in folder.rglob("*") if f.is_file())
        contents.append({f.relative_to(folder): f.read_bytes() for f in files if f != folder / "zarr.json"})
        attrs = json.loads((folder / "zarr.json").read_text())["attributes"]
        attrs["counts"].pop("seconds")
        contents[-1]["attrs"] = attrs
    assert contents[0] == contents[1]


def test_settings_nobody_can_use(sample, tmp_path):
    for settings, words in (
        ({"border": "cut"}, "border"),
        ({"min_tissue": 3}, "min_tissue"),
        ({"um_per_px": 0.05}, "enlarged"),
        ({"stride": 0}, "stride"),
        ({"min_nuclei": 10_000}, "none of its 12 patches"),
    ):
        with pytest.raises(UserError, match=words):
            cut_patches(sample, tmp_path / "p.zarr", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_slide_that_fails_leaves_no_store_and_no_thread(sample, tmp_path):
    class Broken:
        shape = (9000, 9000, 3)

        def __getitem__(self, key):
            raise UserError("slide.tif: pixels cannot be decoded")

    sample.he = Broken()
    with pytest.raises(UserError, match="decoded"):
        cut_patches(sample, tmp_path / "p.zarr", threads=2, **ALL)
    assert list(tmp_path.iterdir()) == []


def labels_of(path, names, label):
    pd.DataFrame({"cell_id": names, "label": label}).to_parquet(path)
    return path


def test_a_changed_byte_of_a_label_set_is_refused_or_changes_nothing(sample, tmp_path):
    store, _ = cut(sample, tmp_path, **ALL)
    names, path = sample.table.obs_names.tolist(), tmp_path / "l.parquet"
    confidence = np.random.default_rng(0).uniform(size=60).astype(np.float32)
    write_table(pd.DataFrame({"cell_id": names, "label": ["Neoplastic"] * 60, "confidence": confidence}), path)
    whole, refused = path.read_bytes(), 0
    expected = nucleus_labels(store, path, "pannuke")
    for place in range(10, len(whole), 29):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            read = nucleus_labels(store, path, "pannuke")
        except UserError:
            refused += 1
            continue
        assert np.array_equal(read.classes, expected.classes), place
        assert np.array_equal(read.confidence, expected.confidence), place
    assert refused > 5


def test_classes_follow_the_cells(sample, tmp_path):
    store, _ = cut(sample, tmp_path, **ALL)
    names = sample.table.obs_names.tolist()
    kinds = np.array(["Neoplastic", "Inflammatory", "Connective", "Unknown"])
    label = kinds[np.arange(60) % 4]
    path = labels_of(tmp_path / "l.parquet", names, label)
    expected = np.append(np.array([1, 2, 3, -1])[np.arange(60) % 4], -1)[store.cell_index]
    classes = patch_classes(store, path, "pannuke")
    assert classes.dtype == np.int8
    assert np.array_equal(classes, expected)
    with pytest.raises(UserError, match="59 rows"):
        patch_classes(store, labels_of(tmp_path / "s.parquet", names[1:], label[1:]), "pannuke")
    with pytest.raises(UserError, match="Tumour"):
        patch_classes(store, labels_of(tmp_path / "t.parquet", names, ["Tumour"] * 60), "pannuke")
    with pytest.raises(UserError, match="cannot be read"):
        patch_classes(store, tmp_path / "none.parquet", "pannuke")
