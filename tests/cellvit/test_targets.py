"""Targets: equal to the official HV maps, on either path, for whatever ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from paths import DATA
from stnuclei.cellvit import targets
from stnuclei.cellvit.components import _split_on_device, label_regions, split_components
from stnuclei.cellvit.targets import hv_maps, make_targets, type_map


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "golden" / "official_cellvit.npz")


def plain_hv(instances: np.ndarray) -> np.ndarray:
    """One nucleus after another, by the description."""
    maps = np.zeros((2, *instances.shape), np.float32)
    for k in np.unique(instances[instances > 0]):
        y, x = np.nonzero(instances == k)
        for channel, index in enumerate((x, y)):
            value = (index + 1 - np.floor(index.mean() + 0.5)).astype(np.float32)
            for side in (value < 0, value > 0):
                if side.any():
                    value[side] /= np.abs(value[side]).max()
            maps[channel, y, x] = value
    return maps


def random_maps(rng, batch=3, size=64, n=12):
    maps = np.zeros((batch, size, size), np.int32)
    for one in maps:
        for k in range(1, n + 1):
            y, x, h, w = *rng.integers(0, size, 2), *rng.integers(1, 16, 2)
            one[y : y + h, x : x + w] = k
    return maps


@pytest.mark.parametrize("seed", range(1, 7))
def test_golden_hv_is_met_to_the_bit(golden, seed):
    instances, hv = golden[f"{seed}/instances"], golden[f"{seed}/hv"]
    assert np.array_equal(hv_maps(instances[None])[0].numpy(), hv)
    assert np.array_equal(targets._hv_scatter(torch.from_numpy(instances[None]))[0].numpy(), hv)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 63), (9, 64), (8, 65)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_hv_of_any_shape_and_type_is_met_to_the_bit(shape, dtype):
    rng = np.random.default_rng(shape[0] * shape[1])
    for filled in (0.0, 0.3, 1.0):
        blocks = rng.integers(1, 9, shape) * (rng.random(shape) < filled)
        maps = np.stack([blocks, np.sort(blocks, axis=1)]).astype(dtype)
        found = hv_maps(maps).numpy()
        assert found.dtype == np.float32 and found.shape == (2, 2, *shape)
        for one, hv in zip(maps, found, strict=True):
            assert np.array_equal(hv, plain_hv(one))
    assert hv_maps(np.zeros((2, *shape), dtype)[:, :0]).shape == (2, 2, 0, shape[1])
    with pytest.raises(ValueError, match="integers"):
        hv_maps(np.zeros(shape, dtype))


def test_rectangle_by_hand():
    instances = np.zeros((1, 5, 13), np.int32)
    instances[0, 2, 1:12] = 7  # 11 px wide, one high
    hv = hv_maps(instances)[0]
    expected = [-1, -0.75, -0.5, -0.25, 0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]
    assert hv[0, 2, 1:12].tolist() == pytest.approx(expected, abs=1e-7)
    assert hv[1, 2, 1:12].tolist() == [1.0] * 11  # one pixel before the centre: every value is positive
    assert hv.abs().sum(0)[instances[0] == 0].sum() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64])
def test_both_paths_equal_the_loop(dtype):
    maps = random_maps(np.random.default_rng(0)).astype(dtype)
    plain = np.stack([plain_hv(one) for one in maps])
    fast, scatter = hv_maps(maps), targets._hv_scatter(targets.signed(maps))
    assert fast.dtype == torch.float32 and np.array_equal(fast.numpy(), plain)
    assert torch.equal(scatter, fast)


def test_ids_do_not_matter():
    maps = random_maps(np.random.default_rng(1)).astype(np.int64)
    strange = np.where(maps > 0, maps * 10_000_019, 0)
    assert torch.equal(hv_maps(strange), hv_maps(maps))
    assert torch.equal(targets._hv_scatter(torch.from_numpy(strange)), hv_maps(maps))
    full = np.full((1, 8, 8), 10**9)
    assert torch.equal(hv_maps(full), hv_maps(np.ones((1, 8, 8), int)))


def test_values_stay_in_range_and_reach_one():
    hv = hv_maps(random_maps(np.random.default_rng(2)))
    assert hv.abs().max() == 1 and hv.isfinite().all()


def test_empty_maps():
    assert hv_maps(np.zeros((2, 6, 5), int)).shape == (2, 2, 6, 5)
    assert hv_maps(torch.zeros(0, 6, 5, dtype=torch.long)).shape == (0, 2, 6, 5)
    assert not targets._hv_scatter(torch.zeros(2, 6, 5, dtype=torch.long)).any()


@pytest.mark.parametrize("bad", [np.zeros((4, 4), int), np.zeros((1, 4, 4)), np.full((1, 4, 4), -1)])
def test_bad_maps_are_refused(bad):
    with pytest.raises(ValueError):
        hv_maps(bad)


def test_type_map_looks_classes_up():
    instances = torch.tensor([[[0, 1], [2, 3]], [[1, 1], [0, 2]]])
    table = torch.tensor([[5, -1, 2], [3, 1, -1]], dtype=torch.int8)
    assert type_map(instances, table).tolist() == [[[0, 5], [-1, 2]], [[3, 3], [0, 1]]]
    with pytest.raises(ValueError, match="no row"):
        type_map(instances, table[:, :2])
    with pytest.raises(ValueError, match="class_table"):
        type_map(instances, table[:1])


def test_type_map_of_patches_without_nuclei():
    assert not type_map(torch.zeros(2, 4, 4, dtype=torch.int32), torch.zeros(2, 0, dtype=torch.int8)).any()


def test_a_cut_nucleus_is_one_or_two():
    instances = np.zeros((1, 9, 20), np.uint16)
    instances[0, 2:7, 1:8] = instances[0, 2:7, 12:19] = 1
    classes = np.array([[4]], np.int8)
    one, two = make_targets(instances, classes), make_targets(instances, classes, split=True)
    assert one["instances"].max() == 1 and two["instances"].max() == 2
    assert torch.equal(one["types"], two["types"]) and one["types"].max() == 4
    assert torch.equal(one["binary"], two["binary"])
    # together the two halves share a centre between them, apart each runs from -1 to 1
    assert one["hv"][0, 0, 4, 1:8].max() < 0 and two["hv"][0, 0, 4, 1:8].max() == 1


@pytest.mark.parametrize("diagonal", [False, True])
def test_components_equal_scipy(diagonal):
    rng = np.random.default_rng(3)
    structure = np.ones((3, 3)) if diagonal else None
    for _ in range(20):
        mask = rng.random((40, 33)) < 0.55
        labels, count = ndimage.label(mask, structure)
        mine = label_regions(mask, diagonal)
        assert mine.max() == count and same_partition(mine, labels)
    smaller = label_regions(mask, diagonal, 10)
    kept = np.bincount(labels.ravel())[1:] >= 10
    assert smaller.max() == kept.sum() and np.array_equal(smaller > 0, (labels > 0) & np.append(False, kept)[labels])


@pytest.mark.parametrize("diagonal", [False, True])
def test_split_is_the_same_on_both_paths(diagonal):
    maps = torch.from_numpy(np.random.default_rng(4).integers(0, 4, (3, 40, 31)))
    cpu, device = split_components(maps, diagonal), _split_on_device(maps, diagonal)
    assert torch.equal(cpu, device)
    # refines the old ids: no new id holds two old ones
    assert len(torch.unique(torch.stack([cpu[0].flatten(), maps[0].flatten()]), dim=1).T) == len(cpu[0].unique())


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(a)) == len(np.unique(b))
