"""Post-processing: equal as partitions to the official maps; every compiled step equal to the library's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from cellvit.plain_postprocess import nuclei_plain, same_partition, separate_nuclei_plain
from paths import DATA
from stnuclei.cellvit.components import find_runs, label_regions
from stnuclei.cellvit.flooding import number_labels, overlaps
from stnuclei.cellvit.hv_gradients import sobel
from stnuclei.cellvit.nuclei import measure, nuclei_table
from stnuclei.cellvit.outlines import contours, is_polygon
from stnuclei.cellvit.postprocess import WatershedSettings, gradient_range, separate_nuclei
from stnuclei.cellvit.targets import hv_maps


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "golden" / "official_cellvit.npz")


@pytest.fixture(scope="module")
def figures():
    return json.loads((DATA / "golden" / "official_cellvit.json").read_text())["per_seed"]


def noisy_case(seed, size=160, n=25, noise=0.15):
    """Ellipses that touch, with a predicted distance map and ragged foreground."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((size, size), np.int32)
    for k in range(1, n + 1):
        centre, axes = rng.integers(0, size, 2).tolist(), rng.integers(5, 14, 2).tolist()
        cv2.ellipse(instances, centre, axes, float(rng.uniform(0, 180)), 0, 360, k, -1)
    hv = hv_maps(instances[None])[0].numpy()
    hv += cv2.GaussianBlur(rng.normal(0, 1, (size, size, 2)).astype(np.float32), (5, 5), 0).transpose(2, 0, 1) * noise
    foreground = (instances > 0) ^ (rng.random((size, size)) < 0.01)
    return instances, foreground, hv


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize(("um_per_px", "name"), [(0.25, "x40"), (0.5, "x20")])
def test_golden_maps(golden, seed, um_per_px, name):
    foreground, hv = golden[f"{seed}/instances"] > 0, golden[f"{seed}/pred_hv"]
    assert same_partition(separate_nuclei(foreground, hv, um_per_px), golden[f"{seed}/watershed_{name}"])


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("um_per_px", [0.25, 0.5])
def test_equal_to_the_plain_steps_on_ragged_predictions(seed, um_per_px):
    _, foreground, hv = noisy_case(seed)
    assert same_partition(separate_nuclei(foreground, hv, um_per_px), separate_nuclei_plain(foreground, hv, um_per_px))


def test_truth_comes_back():
    instances, _, _ = noisy_case(1, n=8)
    hv = hv_maps(instances[None])[0].numpy()
    found = separate_nuclei(instances > 0, hv)
    for k in np.unique(instances)[1:]:
        inside = instances == k
        if inside.sum() > 150:
            values, counts = np.unique(found[inside], return_counts=True)
            assert counts.max() > 0.8 * inside.sum()


def test_settings_scale_with_resolution():
    assert WatershedSettings.at(0.25) == WatershedSettings(21, 10)
    assert WatershedSettings.at(0.5) == WatershedSettings(11, 3)
    assert WatershedSettings.at(0.1).kernel_px == 31  # OpenCV's largest
    assert all(WatershedSettings.at(um).kernel_px % 2 == 1 for um in np.linspace(0.1, 2, 50))
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="um_per_px"):
            WatershedSettings.at(bad)


def test_nothing_and_specks_give_no_nuclei():
    hv = np.zeros((2, 40, 40), np.float32)
    assert not separate_nuclei(np.zeros((40, 40), bool), hv).any()
    speck = np.zeros((40, 40), bool)
    speck[3:6, 3:6] = True  # 9 px
    assert not separate_nuclei(speck, hv).any()


def test_small_and_oblong_maps():
    for shape in [(8, 8), (300, 16), (12, 257)]:
        found = separate_nuclei(np.ones(shape, bool), np.random.default_rng(0).random((2, *shape)).astype(np.float32))
        assert found.shape == shape and found.dtype == np.int32


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="hv"):
        separate_nuclei(np.ones((4, 4), bool), np.ones((2, 4, 5), np.float32))


def test_results_of_threads_and_of_other_sizes_stay_apart():
    """Memory that calls of a thread share holds nothing of an earlier picture, nor of another thread's."""
    cases = [noisy_case(seed, size)[1:] for seed, size in enumerate((40, 300, 160, 97))]
    ranges = [gradient_range(hv) for _, hv in cases]
    alone = [separate_nuclei(*case, gradients=g) for case, g in zip(cases, ranges, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(separate_nuclei, *cases[i % 4], gradients=ranges[i % 4]) for i in range(40)]
        for i, future in enumerate(futures):
            assert np.array_equal(future.result(), alone[i % 4])
    kept = alone[0].copy()
    separate_nuclei(*cases[0])
    assert np.array_equal(alone[0], kept)


@pytest.mark.parametrize("kernel", [3, 5, 11, 21, 31])
@pytest.mark.parametrize("shape", [(64, 50), (8, 90), (40, 40)])
def test_sobel_equals_opencv(kernel, shape):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    for axis in (0, 1):
        values, low, high = sobel(image, axis, kernel)
        expected = cv2.Sobel(image, cv2.CV_64F, 1 - axis, axis, ksize=kernel)
        assert np.abs(values - expected).max() <= 1e-14 * np.abs(expected).max()
        assert (low, high) == (values.min(), values.max())


@pytest.mark.parametrize("seed", range(1, 7))
def test_table_equals_the_official_one(golden, figures, seed):
    instances, types = golden[f"{seed}/watershed_x40"], golden[f"{seed}/pred_types"]
    table = nuclei_table(instances, types, 6)
    official = {int(k): v for k, v in figures[str(seed)]["cell_types"].items()}
    assert dict(zip(table.id.tolist(), table.class_id.tolist(), strict=True)) == official
    plain = nuclei_plain(instances, types)
    outlines = list(contours(instances, table))
    for row, expected in enumerate(plain):
        assert np.array_equal(outlines[row], expected["contour"])
        assert table.centroid[row] == pytest.approx(expected["centroid"], abs=1e-4)
        x0, y0, x1, y1 = table.bbox[row]
        assert (y0, x0, y1, x1) == expected["bbox"]
        assert table.class_probability[row] == pytest.approx(expected["class_probability"], abs=1e-6)
    assert is_polygon(instances, table).all()


def test_majority_rules():
    instances = np.repeat(np.arange(1, 5, dtype=np.int32), 10).reshape(4, 10)
    types = np.array(
        [[0] * 6 + [3] * 4, [2] * 5 + [1] * 5, [0] * 10, [4] * 7 + [0] * 3]
    )  # background wins but another is there; a tie; nothing but background; plain
    table = nuclei_table(instances, types, 6)
    assert table.class_id.tolist() == [3, 1, 0, 4]
    assert table.class_probability.tolist() == pytest.approx([0.4, 0.5, 1.0, 0.7])
    probabilities = np.eye(6, dtype=np.float32)[types].transpose(2, 0, 1)
    soft = nuclei_table(instances, probabilities)
    assert soft.class_id.tolist() == [3, 1, 0, 4]
    assert np.allclose(soft.class_probabilities, table.class_probabilities)
    assert np.allclose(soft.class_probabilities.sum(1), 1)


def test_probabilities_in_half_precision_count_as_their_float32():
    rng = np.random.default_rng(0)
    instances = label_regions(rng.random((50, 41)) < 0.5)
    for half in (rng.random((6, 50, 41)), rng.random((6, 50, 41)) * 1e-6, np.zeros((6, 50, 41))):  # also subnormal
        half = half.astype(np.float16)
        found, expected = nuclei_table(instances, half), nuclei_table(instances, half.astype(np.float32))
        for name in vars(expected):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_gaps_in_ids_and_empty_maps():
    instances = np.zeros((6, 6), np.uint16)
    instances[1, 1], instances[4, 2:5] = 3, 9
    table = nuclei_table(instances, np.ones((6, 6), int), 6)
    assert table.id.tolist() == [3, 9] and table.area.tolist() == [1, 3]
    assert table.centroid.tolist() == [[1, 1], [3, 4]]
    assert not is_polygon(instances, table).any()  # a dot and a line
    assert len(nuclei_table(np.zeros((4, 4), int), np.zeros((4, 4), int), 6)) == 0
    assert len(measure(np.zeros((4, 4), np.uint16))) == 0
    seeds = find_runs(instances)
    pieces = overlaps(seeds, seeds, instances[seeds.row, seeds.start])
    number_labels(pieces)
    assert pieces.label.max() == 2
    with pytest.raises(ValueError, match="types"):
        nuclei_table(instances, np.ones((5, 6), int))


def test_lines_in_any_direction_are_no_polygons():
    for rows, columns in [([1, 2, 3], [1, 2, 3]), ([3, 2, 1], [1, 2, 3]), ([2, 2, 2], [1, 2, 3])]:
        instances = np.zeros((6, 6), np.int32)
        instances[rows, columns] = 1
        assert not is_polygon(instances, measure(instances))[0]
    instances = np.zeros((6, 6), np.int32)
    instances[[1, 2, 2], [1, 1, 2]] = 1
    assert is_polygon(instances, measure(instances))[0]


@pytest.mark.parametrize("seed", range(8))
def test_outlines_equal_opencv(seed):
    rng = np.random.default_rng(seed)
    for smooth in (0, 2):
        field = cv2.GaussianBlur(rng.random((60, 60)), (0, 0), smooth) if smooth else rng.random((60, 60))
        labels = label_regions(field > np.quantile(field, rng.uniform(0.2, 0.6)), True)
        table = measure(labels)
        for k, outline in zip(table.id, contours(labels, table), strict=True):
            found = cv2.findContours((labels == k).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            first = next(c for c, h in zip(found[0], found[1][0], strict=True) if h[3] < 0)
            assert np.array_equal(outline, first[:, 0])


def test_outline_of_a_nucleus_in_pieces_is_opencvs_first():
    instances = np.zeros((30, 30), np.uint16)
    instances[2:9, 2:9] = instances[15:25, 12:20] = 1
    instances[3:9, 20:28] = 2
    outlines = contours(instances, measure(instances))
    found = cv2.findContours((instances == 1).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    assert np.array_equal(outlines[0], found[0][:, 0]) and len(outlines[1]) == 4
