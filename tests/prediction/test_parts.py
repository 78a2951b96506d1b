"""The pieces of the engine: outlines, merging, turning, calibration."""

import numpy as np
import pytest
import shapely
import torch
from skimage.measure import find_contours

from prediction.oracle import Oracle, Scene
from stnuclei.cellvit.nuclei import measure
from stnuclei.cellvit.outlines import outline_polygons
from stnuclei.cellvit.postprocess import gradient_range, separate_nuclei
from stnuclei.prediction.border_merge import merge
from stnuclei.prediction.calibrate import ideal_range
from stnuclei.prediction.description import model_taxonomy
from stnuclei.prediction.inference import ORIENTATIONS, Inference, tta_mean
from stnuclei.prediction.nuclei_arrays import NucleiArrays


def blobs(seed, size=96):
    """A label map with ragged pieces, holes and dots."""
    rng = np.random.default_rng(seed)
    noise = torch.nn.functional.avg_pool2d(torch.from_numpy(rng.normal(size=(1, 1, size, size))), 5, 1, 2)[0, 0].numpy()
    from skimage.measure import label

    return label(noise > 0.15, connectivity=1).astype(np.int32)


@pytest.mark.parametrize("seed", range(4))
def test_outlines_are_those_of_marching_squares(seed):
    labels = blobs(seed)
    table = measure(labels)
    polygons = outline_polygons(labels, table.id, table.bbox, table.area)
    assert shapely.is_valid(polygons).all()
    for k, polygon in zip(table.id, polygons, strict=True):
        rings = find_contours(np.pad(labels == k, 1).astype(float), 0.5, fully_connected="low")
        outer = max((shapely.Polygon(ring[:, ::-1] - 0.5) for ring in rings), key=lambda ring: ring.area)
        assert outer.symmetric_difference(polygon).area < 1e-9
    simple = outline_polygons(labels, table.id, table.bbox, table.area, 0.3)
    assert shapely.is_valid(simple).all()
    assert shapely.get_num_coordinates(simple).sum() < 0.8 * shapely.get_num_coordinates(polygons).sum()
    assert (shapely.hausdorff_distance(simple, polygons) < 0.75).all()


def test_outline_of_a_nucleus_in_pieces_is_that_of_the_largest():
    labels = np.zeros((20, 30), np.int32)
    labels[2:4, 2:4] = 1
    labels[8:18, 10:25] = 1
    labels[4, 4] = 2
    table = measure(labels)
    large, dot = outline_polygons(labels, table.id, table.bbox, table.area)
    assert large.area == pytest.approx(149.5) and large.bounds == (10, 8, 25, 18)
    assert dot.area == pytest.approx(0.5) and dot.centroid.coords[0] == (4.5, 4.5)


def nuclei(boxes, owned):
    boxes = np.array(boxes, np.int32).reshape(-1, 4)
    n, none = len(boxes), NucleiArrays.none(6)
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.int32)
    fields = [none.class_id, none.class_probability, none.probabilities, none.centroid, none.area_um2]
    zeros = [np.zeros((n, *f.shape[1:]), f.dtype) for f in fields]
    return NucleiArrays(
        *zeros, boxes, area, np.array(owned, bool), np.ones(n, bool), shapely.box(*boxes.T.astype(float))
    )


def test_merging_keeps_one_of_each():
    same = nuclei([(0, 0, 10, 10)] * 3 + [(10, 0, 20, 10)], [False, True, False, True])
    assert merge(same).bbox.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10]] and merge(same).owned.all()
    # Cut differently by two windows: owned halves stand, the copy of the whole goes.
    halves = nuclei([(0, 0, 20, 10), (0, 0, 9, 10), (10, 0, 20, 10)], [False, True, True])
    assert len(merge(halves)) == 2 and merge(halves).owned.all()
    # Each window thinks the other owns it: one copy stays.
    orphans = nuclei([(0, 0, 20, 10), (1, 0, 20, 10)], [False, False])
    assert merge(orphans).bbox.tolist() == [[0, 0, 20, 10]]
    rng = np.random.default_rng(0)
    low = rng.integers(0, 60, (40, 2))
    many = nuclei(np.hstack([low, low + rng.integers(5, 20, (40, 2))]), rng.random(40) < 0.5)
    first = merge(many)
    for _ in range(3):
        assert np.array_equal(merge(many.take(rng.permutation(40))).bbox, first.bbox)
    assert len(merge(NucleiArrays.none(6))) == 0


def test_found_nuclei_survive_arrow():
    there = nuclei([(0, 0, 10, 10), (5, 5, 9, 30)], [True, False])
    names = ["Background", "a", "b", "c", "d", "e"]
    back = NucleiArrays.from_arrow(there.to_arrow(names), names)
    assert np.array_equal(back.bbox, there.bbox) and np.array_equal(back.owned, there.owned)
    assert (back.geometry == there.geometry).all()


class Gradients:
    """A network that turns with its pictures: its distance maps are the gradients of the brightness."""

    classes = ["Background", "a", "b"]
    device, dtype = torch.device("cpu"), torch.float64

    def tensors(self, images):
        grey = torch.from_numpy(images).double().mean(-1) / 255
        hv = torch.stack([grey.roll(-1, -1) - grey.roll(1, -1), grey.roll(-1, -2) - grey.roll(1, -2)], 1)
        return grey, hv, torch.stack([1 - grey, grey / 2, grey / 2], 1)


class Skewed(Gradients):
    """Off by a constant that does not turn: the mean over all turns takes it away."""

    def tensors(self, images):
        foreground, hv, types = super().tensors(images)
        return foreground, hv + torch.tensor([0.3, -0.2])[None, :, None, None], types


def test_turning_back_is_exact():
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    for network in (Gradients(), Skewed()):
        mean, plain = tta_mean(network, images), Gradients().tensors(images)
        for one, other in zip(mean, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert len(set(ORIENTATIONS)) == 8
    maps = Inference([Gradients()], tta=True)(images, crop=8)
    assert maps[1].hv.shape == (2, 32, 32) and maps[0].types.dtype == np.float16
    np.testing.assert_allclose(maps[1].hv, plain[1][1][:, 8:-8, 8:-8], atol=1e-6)


def test_range_of_gradients_given_is_what_a_picture_finds_itself():
    image, labels = Scene.random(64, 64, seed=5).draw(0.25, 256, 256)
    foreground, hv, _ = (part[0].numpy() for part in Oracle().tensors(image[None]))
    own = gradient_range(hv)
    assert np.array_equal(separate_nuclei(foreground > 0, hv), separate_nuclei(foreground > 0, hv, gradients=own))
    assert separate_nuclei(foreground > 0, hv, gradients=own).max() == len(np.unique(labels)) - 1
    assert np.all((0.5 < np.array(ideal_range(0.25)) / own) & (np.array(ideal_range(0.25)) / own < 2))


def test_taxonomies():
    pannuke = ["Background", "Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"]
    assert model_taxonomy({}, pannuke).name == "pannuke"
    own = model_taxonomy({"taxonomy": None}, ["Background", "class 1", "class 2"])
    assert own.names == ("class 1", "class 2") and own.unknown.name == "Unknown"
    assert model_taxonomy({"taxonomy": own.to_dict()}, []).names == own.names
