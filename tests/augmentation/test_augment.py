"""Augmentation: published values, ids that stay on their pixels, one seed one result."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stnuclei.augmentation import augmenter as augmenter
from stnuclei.augmentation import color as color
from stnuclei.augmentation import shape as shape
from stnuclei.augmentation.augmenter import TRANSFORMS, Augmenter
from stnuclei.augmentation.draws import DRAWS, nearest_there_and_back, pack, zoom_steps
from stnuclei.augmentation.sheet import contact_sheet
from stnuclei.augmentation.superpixels import fill_superpixels, slic
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings
from stnuclei.errors import UserError

GEOMETRIC = ("rotate90", "flip_x", "flip_y", "crop", "elastic")
torch.set_num_threads(1)


def only(name, **more):
    return AugmentSettings(**{other: float(other == name) for other in PROBABILITIES}, **more)


def blocks(batch=4, size=96, step=24):
    """Squares whose colour tells their id: red = 10 x id, green = 250 - 10 x id."""
    ids = np.zeros((size, size), np.int64)
    n = size // step
    for k in range(n * n):
        y, x = (k // n) * step + 4, (k % n) * step + 4
        ids[y : y + 16, x : x + 16] = k + 1
    image = np.stack([ids * 10, np.where(ids > 0, 250 - 10 * ids, 0), np.full_like(ids, 128)], 0).astype(np.uint8)
    return torch.from_numpy(np.repeat(image[None], batch, 0)), torch.from_numpy(np.repeat(ids[None], batch, 0))


def to_bytes(images):
    return (images + 1) * 127.5


def transform(name, images, instances, seed=0, **settings):
    drawn = DRAWS[name](np.random.default_rng(seed), only(name, **settings), len(images), images.shape[2:])
    return TRANSFORMS[name](images.float(), instances, drawn, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PROBABILITIES)
def test_ids_stay_on_their_pixels(name):
    images, instances = blocks(8)
    changed, moved = Augmenter(1, only(name, noise_variance=0, brightness=0, contrast=0, saturation=0, hue=0))(
        images, instances
    )
    if name not in GEOMETRIC:
        assert torch.equal(moved, instances)
        return
    assert not torch.equal(moved, instances)
    red = to_bytes(changed)[:, 0]
    # in the middle of a nucleus nothing is blended: the colour is the id's to the grey level
    inside = torch.from_numpy(
        np.stack([cv2.erode((m > 0).astype(np.uint8), np.ones((5, 5))) for m in moved.numpy()])
    ).bool()
    same = torch.from_numpy(np.stack([cv2.erode(m.astype(np.uint8), np.ones((5, 5))) == m for m in moved.numpy()]))
    inside &= same
    inside[:, :3], inside[:, -3:], inside[..., :3], inside[..., -3:] = False, False, False, False  # erode stops there
    assert inside.sum() > 2000
    assert (red - 10 * moved)[inside].abs().max() < 1e-2
    assert set(moved.unique().tolist()) <= set(instances.unique().tolist())  # no id is blended into another


def test_published_values_are_the_defaults():
    s = AugmentSettings()
    assert [getattr(s, p) for p in PROBABILITIES] == [0.5, 0.5, 0.5, 0.15, 0.2, 0.25, 0.2, 0.1, 0.1, 0.1, 0.2]
    assert (s.downscale_factor, s.blur_px, s.noise_variance) == (0.5, 10, 50)
    assert (s.brightness, s.contrast, s.saturation, s.hue) == (0.25, 0.25, 0.1, 0.05)
    assert (s.superpixel_fraction, s.superpixel_count, s.superpixel_size) == (0.1, 200, 128)
    assert (s.zoom_factor, s.crop_fraction, s.elastic_sigma, s.elastic_alpha, s.elastic_affine) == (
        1.05,
        0.5,
        25,
        0.5,
        15,
    )


def test_names_and_changes():
    assert AugmentSettings.of(None) == AugmentSettings.of("official") == AugmentSettings()
    flips = AugmentSettings.of("flips")
    assert flips.flip_x == 0.5 and flips.elastic == flips.noise == 0
    assert all(getattr(AugmentSettings.of("none"), p) == 0 for p in PROBABILITIES)
    assert AugmentSettings.of({"noise": 0.5}).noise == 0.5
    with pytest.raises(UserError, match="noise_variance"):
        AugmentSettings.of({"noise_varianc": 3})
    with pytest.raises(UserError, match="official"):
        AugmentSettings.of("much")
    with pytest.raises(UserError, match="augmentation.noise: must be at most 1"):
        AugmentSettings(noise=1.5)
    with pytest.raises(UserError, match="zoom_factor"):
        AugmentSettings(zoom_factor=0.5)


def test_none_only_normalises():
    images, instances = blocks()
    changed, moved = Augmenter(0, "none")(images, instances)
    assert torch.allclose(changed, (images.float() / 255 - 0.5) / 0.5, atol=1e-6) and torch.equal(moved, instances)
    assert changed.dtype == torch.float32 and moved.dtype == instances.dtype


def test_inputs_are_left_alone_and_types_kept():
    images, instances = blocks(6)
    before = images.clone(), instances.clone()
    for dtype in (torch.int64, torch.int32, torch.int16):
        changed, moved = Augmenter(0)(images, instances.to(dtype))
        assert moved.dtype == dtype and changed.shape == images.shape and moved.shape == instances.shape
        assert -1 <= changed.min() and changed.max() <= 1.0001
    assert torch.equal(images, before[0]) and torch.equal(instances, before[1])


def test_one_seed_one_result():
    images, instances = blocks(6)
    a, b, c = Augmenter(3), Augmenter(3), Augmenter(4)
    first = a(images, instances)
    assert all(torch.equal(x, y) for x, y in zip(first, b(images, instances), strict=True))
    assert not torch.equal(first[0], c(images, instances)[0])
    assert not torch.equal(first[0], a(images, instances)[0])  # the next batch is another
    named = a(images, instances, seed=77)
    assert torch.equal(named[0], Augmenter(3)(images, instances, seed=77)[0])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Augmenter(0)(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 9, dtype=torch.long))


def test_probabilities_are_kept():
    images, instances = blocks(400, 16, 16)
    for name in ("flip_x", "noise"):
        settings = AugmentSettings(**{other: 0.3 if other == name else 0.0 for other in PROBABILITIES})
        changed, _ = Augmenter(0, settings)(images, instances)
        share = ((to_bytes(changed) - images).abs().amax((1, 2, 3)) > 1e-3).float().mean()
        assert share == pytest.approx(0.3, abs=0.08)


def test_turns_and_mirrors_by_hand():
    images = torch.arange(12.0).view(1, 1, 3, 4)
    ids = torch.arange(12).view(1, 3, 4)
    assert torch.equal(shape.mirror(images, ids, -1)[1][0, 0], torch.tensor([3, 2, 1, 0]))
    assert torch.equal(shape.turn(images, ids, 2)[1], ids.flip(-1, -2))
    square = torch.arange(9).view(1, 3, 3)
    assert shape.turn(square[:, None].float(), square, 1)[1][0].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]


def test_oblong_pictures_keep_their_shape():
    changed, moved = Augmenter(0, only("rotate90"))(
        torch.zeros(8, 3, 20, 30, dtype=torch.uint8), torch.zeros(8, 20, 30, dtype=torch.long)
    )
    assert changed.shape == (8, 3, 20, 30) and moved.shape == (8, 20, 30)


def test_downscale_equals_opencv():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_NEAREST)
    expected = cv2.resize(small, (64, 64), interpolation=cv2.INTER_NEAREST)
    index = torch.from_numpy(nearest_there_and_back(64, 0.5))
    mine = color.take(torch.from_numpy(image).permute(2, 0, 1)[None].float(), index, index)
    assert np.array_equal(mine[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("width", [3, 5, 7, 9])
def test_blur_equals_opencv(width):
    image = np.random.default_rng(0).random((40, 50, 3), np.float32) * 255
    expected = cv2.blur(image, (width, width), borderType=cv2.BORDER_REFLECT_101)
    mine = color.blur(torch.from_numpy(image).permute(2, 0, 1)[None], width)
    assert np.allclose(mine[0].permute(1, 2, 0).numpy(), expected, atol=1e-3)


def test_noise_has_the_variance_asked_for():
    images = torch.full((300, 3, 32, 32), 128.0)
    changed, _ = transform("noise", images, torch.zeros(300, 32, 32, dtype=torch.long))
    variance = (changed - 128).var((1, 2, 3))
    assert variance.max() < 55 and variance.min() < 2 and variance.mean() == pytest.approx(25, abs=3)


def test_jitter_steps_by_hand():
    pixel = torch.tensor([100.0, 50.0, 200.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone()
    assert color.brightness(pixel, np.array([1.2]))[0, :, 0, 0].tolist() == pytest.approx([120, 60, 240])
    gray = 0.299 * 100 + 0.587 * 50 + 0.114 * 200
    assert color.saturation(pixel, np.array([0.9]))[0, 0, 0, 0] == pytest.approx(gray + 0.9 * (100 - gray))
    assert color.contrast(pixel, np.array([1.1]))[0, 1, 0, 0] == pytest.approx(gray + 1.1 * (50 - gray))
    turned = color.hue(pixel, np.array([1 / 3]))  # a third of the circle: channels change places
    assert turned[0, :, 0, 0].tolist() == pytest.approx([200, 100, 50], abs=0.1)
    assert torch.allclose(color.hue(pixel, np.array([0.0])), pixel, atol=1e-3)


def test_jitter_stays_in_its_range():
    images = torch.full((500, 3, 2, 2), 100.0)
    changed, _ = transform("jitter", images, torch.zeros(500, 2, 2, dtype=torch.long))
    # a grey picture is only changed by brightness
    assert 75 <= changed.min() < 80 and 120 < changed.max() <= 125.01


def test_superpixels():
    yy, xx = np.mgrid[:256, :256]
    image = np.stack([xx, yy, (xx + yy) // 2], 0).astype(np.float32)
    images = torch.from_numpy(image)[None].repeat(4, 1, 1, 1)
    labels, n = slic(images[:, :, ::2, ::2], 200)
    sizes = torch.bincount(labels[0].flatten(), minlength=n)
    assert 190 <= n <= 210 and (sizes > 0).float().mean() > 0.9 and sizes.float().std() < sizes.float().mean()
    generator = torch.Generator().manual_seed(0)
    soft = torch.nn.functional.interpolate(
        torch.nn.functional.interpolate(images, scale_factor=0.5, mode="bilinear"), size=(256, 256), mode="bilinear"
    )
    filled = fill_superpixels(images, 0.1, 200, 128, generator)
    share = ((filled - soft).abs().amax(1) > 0.5).float().mean()
    assert 0.05 < share < 0.2
    assert torch.allclose(fill_superpixels(images, 0.0, 200, 128, generator), soft, atol=1e-3)


def test_superpixels_follow_edges():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 27:] = 255
    labels, _ = slic(image, 16)
    left, right = set(labels[0, :, :27].unique().tolist()), set(labels[0, :, 27:].unique().tolist())
    assert not left & right


def test_superpixels_are_the_same_on_a_device(monkeypatch):
    import stnuclei.augmentation.superpixels as module

    image = cv2.GaussianBlur(np.random.default_rng(0).random((64, 80, 3), np.float32) * 255, (7, 7), 0)
    images = torch.from_numpy(image).permute(2, 0, 1)[None]
    compiled, n = slic(images, 40)
    step = module._slic_compiled
    monkeypatch.setattr(module, "_slic_compiled", lambda f, c, n, rounds: on_tensors(module, f, c, n, rounds))
    tensors, _ = slic(images, 40)
    assert (compiled == tensors).float().mean() > 0.99 and step is not module._slic_compiled


def on_tensors(module, features, candidates, n, rounds):
    features, candidates = torch.from_numpy(features)[None], torch.from_numpy(candidates)
    labels = candidates[4][None]
    for _ in range(rounds):
        labels = module._nearest(features, module._means(features, labels, n), candidates)
    return labels[0].numpy()


def test_zoom_blur_keeps_the_centre_and_blurs_the_rim():
    image = torch.zeros(1, 3, 65, 65)
    image[..., 32, 32] = image[..., 32, 60] = 255.0
    changed = color.zoom_blur(image, **zoom_steps(np.array([1.05]), np.array([0.01])))
    assert changed[0, 0, 32, 32] > 230 and changed[0, 0, 32, 60] < 200
    assert torch.allclose(color.zoom_blur(image, **zoom_steps(np.array([1.0]), np.array([0.01]))), image)


def test_crop_shows_a_part_enlarged():
    images, instances = blocks(1)
    half = shape.zoomed_crop(images.float(), instances, np.array([0.5]), np.array([[0.0, 1.0]]))[1]
    expected = instances[0, 48:, :48].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(half[0], expected)
    whole = shape.zoomed_crop(images.float(), instances, np.array([1.0]), np.array([[0.3, 0.7]]))
    assert torch.equal(whole[1], instances) and torch.allclose(whole[0], images.float(), atol=1e-3)


def test_affine_map_moves_the_three_points():
    shift = np.random.default_rng(0).uniform(-15, 15, (5, 3, 2))
    inverse = shape.affine_from_points(shift, 256, 256)
    points = 128 + 85 * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = np.concatenate([points + shift, np.ones((5, 3, 1))], 2)
    assert np.allclose(np.einsum("bij,bkj->bki", inverse, moved), points)
    for one, target in zip(inverse, points + shift, strict=True):  # OpenCV's is the way there
        forward = cv2.getAffineTransform(points.astype(np.float32), target.astype(np.float32))
        assert np.allclose(cv2.invertAffineTransform(forward), one, atol=1e-4)


def test_elastic_without_displacement_equals_opencv():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.random((64, 64, 3), np.float32) * 255, (9, 9), 0)
    shift = rng.uniform(-6, 6, (1, 3, 2))
    matrix = shape.affine_from_points(shift, 64, 64)[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(image, matrix, (64, 64), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    ids = torch.zeros(1, 64, 64, dtype=torch.long)
    moved, _ = shape.elastic(
        torch.from_numpy(image).permute(2, 0, 1)[None], ids, matrix[None], 25.0, 0.0, torch.Generator().manual_seed(0)
    )
    assert np.abs(moved[0].permute(1, 2, 0).numpy() - expected).max() < 1.5  # OpenCV rounds places to 1/32 px


def test_displacement_has_the_spread_of_the_full_grid():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    full = np.stack([gaussian_filter(rng.random((256, 256)) * 2 - 1, 25) for _ in range(40)])
    coarse = shape.smooth_noise(20, 256, 256, 25.0, torch.Generator().manual_seed(0)).numpy()
    assert coarse.shape == (20, 2, 256, 256)
    inner = slice(64, 192)  # edges differ: one repeats them, the other mirrors
    assert coarse[..., inner, inner].std() == pytest.approx(full[:, inner, inner].std(), rel=0.2)
    assert np.abs(coarse).max() * 0.5 < 0.1  # px, at the published alpha


def test_contact_sheet(tmp_path):
    images, instances = blocks(1)
    contact_sheet(tmp_path / "sheet.png", images[0].permute(1, 2, 0).numpy(), instances[0].numpy(), n=2)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape[0] > picture.shape[1] > 400


def test_a_random_crop_cuts_pictures_and_instances_alike():
    pixels = torch.arange(2 * 64 * 64).view(2, 1, 64, 64)
    cut, ids = shape.random_crop(pixels.expand(2, 3, 64, 64), pixels[:, 0], 32, seed=5)
    assert cut.shape == (2, 3, 32, 32) and torch.equal(cut[:, 1], ids)
    assert (ids[:, 1:, :] - ids[:, :-1, :] == 64).all() and (ids[:, :, 1:] - ids[:, :, :-1] == 1).all()
    assert ids[0, 0, 0] != ids[1, 0, 0] - 64 * 64  # each at a position of its own
    again = shape.random_crop(pixels.expand(2, 3, 64, 64), pixels[:, 0], 32, seed=5)[1]
    other = shape.random_crop(pixels.expand(2, 3, 64, 64), pixels[:, 0], 32, seed=6)[1]
    assert torch.equal(ids, again) and not torch.equal(ids, other)
    assert shape.random_crop(cut, ids, 48, seed=1)[1].shape == (2, 32, 32)


def test_colours_equal_those_of_scikit_image():
    from skimage.color import rgb2hsv, rgb2lab

    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.float32)
    image[:5] = image[:5, :, :1]  # greys
    image[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [10, 10, 200]]
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    lab = color.rgb_to_lab(tensor)[0].permute(1, 2, 0).numpy()
    assert np.abs(lab - rgb2lab(image / 255)).max() < 0.05
    hue, saturation, value = (part[0].numpy() for part in color.rgb_to_hsv(tensor))
    expected = rgb2hsv(image / 255)
    assert np.abs(value / 255 - expected[..., 2]).max() < 1e-6 and np.abs(saturation - expected[..., 1]).max() < 1e-5
    assert np.abs((hue - expected[..., 0] + 0.5) % 1 - 0.5)[saturation > 0].max() < 1e-5
    assert torch.allclose(color.hsv_to_rgb(*color.rgb_to_hsv(tensor)), tensor, atol=1e-2)


class Copies(TorchDispatchMode):
    """Counts the copies from main memory to another device, and what makes the host wait for one."""

    def __init__(self):
        super().__init__()
        self.copies, self.waits = [], []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        if isinstance(result, torch.Tensor) and result.is_meta and tensors and tensors[0].device.type == "cpu":
            self.copies.append((str(function), tuple(result.shape)))
        if "_local_scalar_dense" in str(function) or "nonzero" in str(function):
            self.waits.append(str(function))
        return result


def test_a_device_gets_all_parameters_in_one_copy_and_is_not_waited_for(monkeypatch):
    """On tensors without content, of which nothing can be read back: the device stands for a GPU."""
    monkeypatch.setattr(augmenter, "noise_generator", lambda device, seed: SimpleNamespace(device=device))
    for name in ("rand", "randn"):
        real = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, real=real, generator=None, **k: real(*a, **k))
    images = torch.empty(32, 3, 64, 64, dtype=torch.uint8, device="meta")
    instances = torch.empty(32, 64, 64, dtype=torch.int32, device="meta")
    half = AugmentSettings(**dict.fromkeys(PROBABILITIES, 0.5))
    with Copies() as seen:
        changed, moved = Augmenter(3, half)(images, instances, seed=1)
    assert changed.shape == images.shape and moved.shape == instances.shape
    assert len(seen.copies) == 1 and not seen.waits, seen.copies


def test_packed_parameters_arrive_as_they_were():
    arrays = [np.arange(5), np.float32([0.5]), np.zeros((0, 2), np.float32), np.arange(6, dtype=np.int64).reshape(2, 3)]

    class Fake:
        """Any device but the CPU goes through the buffer."""

        type = "buffer"

        def __eq__(self, other):
            return False

    real = torch.Tensor.to
    try:
        torch.Tensor.to = lambda self, device, **options: real(self, "cpu", **options)
        tensors = pack(arrays, Fake())
    finally:
        torch.Tensor.to = real
    for array, tensor in zip(arrays, tensors, strict=True):
        assert np.array_equal(tensor.numpy(), array) and tensor.numpy().dtype == array.dtype
