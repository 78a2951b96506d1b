"""Prediction of patch stores: what is written is what the network saw, whatever batch and threads."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stnuclei.cellvit import build_model, save_checkpoint
from stnuclei.cellvit.targets import hv_maps
from stnuclei.cli import main
from stnuclei.errors import UserError
from stnuclei.patches import PatchBlock, PredictionStore, write_patches
from stnuclei.prediction import PredictedMaps, Predictor, predict_patches
from stnuclei.prediction import patches as module
from stnuclei.prediction.predictor import cpu_threads

SIZE, N = 64, 11


def discs(seed, size=SIZE):
    """A label map of up to nine discs, well apart, ids 1..K."""
    rng = np.random.default_rng(seed)
    out = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    centres = [(10 + 21 * i, 10 + 21 * j) for i in range(3) for j in range(3)]
    for k, i in enumerate(rng.choice(9, rng.integers(0, 10), replace=False), start=1):
        out[(y - centres[i][0]) ** 2 + (x - centres[i][1]) ** 2 < rng.integers(25, 64)] = k
    return out


def write_store(path, count=N, size=SIZE):
    rng = np.random.default_rng(0)
    zeros = np.zeros
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images[:, :, :, 0] = np.arange(count)[:, None, None]  # says which patch it is
    block = PatchBlock(
        images,
        zeros((count, size, size), np.uint16),
        zeros((count, 2), np.int32),
        zeros(count, np.uint8),
        zeros(count, np.int64),
        *(zeros(0, np.int32), zeros(0, np.int32), zeros((0, 2), np.float32)),
    )
    attrs = {"sample": "a", "tissues": ["Breast"], "um_per_px": 0.25, "settings": {}}
    write_patches(path, [block], attrs, size=size)
    return path


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "patches.zarr")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights whose foreground is about half of the pixels."""
    path = tmp_path_factory.mktemp("model") / "checkpoint.pt"
    torch.manual_seed(0)
    model = build_model("cellvit-tiny", 6, ["Breast"]).eval()
    with torch.no_grad():
        model.nuclei_binary_map_decoder.decoder0_header[2].weight *= 20
        maps = model(torch.randn(2, 3, SIZE, SIZE))["nuclei_binary_map"]
        model.nuclei_binary_map_decoder.decoder0_header[2].bias[0] += (maps[:, 1] - maps[:, 0]).median()
    save_checkpoint(path, model, taxonomy="pannuke", tissues=["Breast"], epoch=3, provenance={"seed": 1})
    return path


def digest(folder):
    out = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            out.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return out.hexdigest()


def test_same_store_whatever_the_threads(checkpoint, store, tmp_path):
    counts = predict_patches(checkpoint, store, tmp_path / "one.zarr", batch_size=4, threads=1)
    predict_patches(checkpoint, store, tmp_path / "three.zarr", batch_size=4, threads=3)
    assert digest(tmp_path / "one.zarr") == digest(tmp_path / "three.zarr")
    assert counts["patches"] == N and counts["nuclei"] == len(PredictionStore(tmp_path / "one.zarr").table) > 0


def test_batches_give_what_single_patches_give(checkpoint, store, tmp_path):
    predict_patches(checkpoint, store, tmp_path / "one.zarr", batch_size=1)
    predict_patches(checkpoint, store, tmp_path / "many.zarr", batch_size=64)
    one, many = PredictionStore(tmp_path / "one.zarr"), PredictionStore(tmp_path / "many.zarr")
    # sums are taken in another order: the last bits of a logit may turn a pixel
    assert np.mean((one.instances[:] > 0) != (many.instances[:] > 0)) < 1e-3
    assert abs(len(one.table) - len(many.table)) <= 2


class Drawn:
    """A predictor that sees the truth: nuclei of class 1 + id % 5."""

    device, dtype = torch.device("cpu"), torch.float32
    classes = ["Background", "a", "b", "c", "d", "e"]
    metadata = {"taxonomy": None, "arch": "", "architecture": "", "epoch": 0, "tissues": [], "provenance": {}}

    def __init__(self, *arguments, **options):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        truth = np.stack([discs(int(image[0, 0, 0])) for image in images])
        kinds = np.where(truth > 0, 1 + truth % 5, 0)
        types = (kinds[:, None] == np.arange(6)[:, None, None]).astype(np.float32)
        return PredictedMaps(truth > 0, hv_maps(torch.from_numpy(truth)).numpy(), types)


def test_nuclei_are_found_in_their_patches(checkpoint, store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "Predictor", Drawn)
    predict_patches(checkpoint, store, tmp_path / "p.zarr", batch_size=4, threads=2)
    predictions = PredictionStore(tmp_path / "p.zarr")
    assert len(predictions) == N and predictions.um_per_px == 0.25
    drawn = sum(int(discs(i).max()) for i in range(N))
    assert drawn > N and f"{drawn:,} nuclei" in repr(predictions)
    for i in range(N):
        truth, found, rows = discs(i), predictions.instances[i], predictions.nuclei(i)
        assert np.array_equal(truth > 0, found > 0) and len(rows) == found.max() == truth.max()
        for k, row in enumerate(rows, start=1):
            own = truth[found == k]
            assert (own == own[0]).all()
            assert row["class"] == 1 + own[0] % 5 and row["class_probability"] == 1
            y, x = np.nonzero(found == k)
            assert row["centroid"] == pytest.approx([x.mean(), y.mean()], abs=1e-4)
            assert row["class_probabilities"].sum() == pytest.approx(1)
    assert "11/11 patches" in capsys.readouterr().err
    with pytest.raises(IndexError):
        predictions.nuclei(N)


def test_shards_and_the_last_half_batch(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Predictor", Drawn)
    monkeypatch.setattr("stnuclei.patches.predictions.SHARD", 4)
    store = write_store(tmp_path / "patches.zarr", count=10)
    predict_patches(checkpoint, store, tmp_path / "p.zarr", batch_size=3)
    predictions = PredictionStore(tmp_path / "p.zarr")
    assert [int(predictions.instances[i].max()) for i in range(10)] == [int(discs(i).max()) for i in range(10)]


def test_store_says_what_made_it(checkpoint, store, tmp_path):
    predict_patches(checkpoint, store, tmp_path / "p.zarr", batch_size=8)
    attrs = json.loads((tmp_path / "p.zarr" / "zarr.json").read_text())["attributes"]
    assert attrs["sample"] == "a" and attrs["classes"][1] == "Neoplastic" and attrs["patch_px"] == SIZE
    assert attrs["model"]["architecture"] == "cellvit-tiny" and attrs["model"]["epoch"] == 3
    assert attrs["model"]["precision"] == "float32" and len(attrs["model"]["sha256"]) == 64
    assert attrs["taxonomy"]["name"] == "pannuke"


def test_nothing_is_left_after_a_failure(checkpoint, store, tmp_path, monkeypatch):
    def separate(maps, i, um_per_px, classifier):
        raise RuntimeError("broken")

    monkeypatch.setattr(module, "separate", separate)
    with pytest.raises(RuntimeError, match="broken"):
        predict_patches(checkpoint, store, tmp_path / "p.zarr", batch_size=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patches.zarr"]


def test_maps_are_those_of_the_network(checkpoint):
    predictor = Predictor(checkpoint, "cpu")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    maps = predictor(images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        out = predictor.model((x - 0.5) / 0.5)
    assert maps.foreground.dtype == bool and maps.types.flags.c_contiguous and maps.hv.flags.c_contiguous
    np.testing.assert_allclose(maps.hv, out["hv_map"].numpy(), atol=1e-4)
    np.testing.assert_allclose(maps.types.sum(1), 1, atol=1e-5)
    assert (maps.foreground == out["nuclei_binary_map"].argmax(1).bool().numpy()).mean() > 0.999


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(checkpoint, precision):
    images = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    full, half = Predictor(checkpoint, "cpu")(images), Predictor(checkpoint, "cpu", precision)(images)
    assert half.hv.dtype == np.float32
    np.testing.assert_allclose(half.types, full.types, atol=0.02)
    assert (half.foreground == full.foreground).mean() > 0.9


def test_memory_that_does_not_suffice_is_told(checkpoint):
    predictor = Predictor(checkpoint, "cpu")

    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    predictor.model = full
    with pytest.raises(UserError, match="cpu does not hold one picture of 16 px; take smaller tiles"):
        predictor(np.zeros((3, 16, 16, 3), np.uint8))


def test_memory_that_holds_fewer_pictures_is_found_once(checkpoint, capsys):
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)
    predictor = Predictor(checkpoint, "cpu")
    whole, network, sizes = predictor(images), predictor.model, []

    def short(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(x)

    predictor.model = short
    for _ in range(2):
        pieces = predictor(images)
        for name in ("foreground", "hv", "types"):
            assert np.allclose(getattr(pieces, name), getattr(whole, name), atol=1e-5), name
    assert sizes == [11, 5, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 1]
    assert capsys.readouterr().out.count("does not hold") == 2


def test_a_cpu_computes_few_pixels_at_once_and_the_same(checkpoint, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 48, 3), np.uint8)
    predictor = Predictor(checkpoint, "cpu")
    whole, network, sizes = predictor(images), predictor.model, []
    monkeypatch.setattr("stnuclei.prediction.predictor.CPU_PIXELS", 3 * 32 * 48)
    predictor.model = lambda x: sizes.append(len(x)) or network(x)
    pieces = predictor(images)
    assert sizes == [3, 3, 1]
    for name in ("foreground", "hv", "types"):
        assert np.allclose(getattr(pieces, name), getattr(whole, name), atol=1e-5), name
    predictor(images[:1].repeat(4, 1).repeat(4, 2))
    assert sizes == [3, 3, 1, 1]  # one picture above the bound is computed all the same


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"precision": "half"}, "'half' is not one of auto, bf16"),
        ({"device": "gpu7"}, "is no device"),
    ],
)
def test_settings_that_cannot_be(checkpoint, store, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        predict_patches(checkpoint, store, tmp_path / "p.zarr", **options)


def test_gpu_that_is_not_there(checkpoint, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="sees no GPU here"):
        Predictor(checkpoint, "cuda")


def test_patches_of_a_size_the_network_does_not_take(checkpoint, tmp_path):
    store = write_store(tmp_path / "patches.zarr", count=2, size=50)
    with pytest.raises(UserError, match="multiples of 16 px, not 50 x 50"):
        predict_patches(checkpoint, store, tmp_path / "p.zarr")


def test_stores_that_are_none(store, tmp_path):
    with pytest.raises(UserError, match="not one of predictions"):
        PredictionStore(store)
    with pytest.raises(UserError, match="is no store of predictions"):
        PredictionStore(tmp_path / "absent.zarr")


def test_threads_of_the_arithmetic_are_given_back():
    before = torch.get_num_threads()
    with cpu_threads(1, torch.device("cpu")):
        assert torch.get_num_threads() == 1
    with cpu_threads(1, SimpleNamespace(type="cuda")):
        assert torch.get_num_threads() == before


def test_command(checkpoint, store, tmp_path, capsys):
    out = tmp_path / "p.zarr"
    arguments = ["segment", "--patches", str(store), "--out", str(out), "--threads", "1"]
    assert main([*arguments, "--checkpoint", str(checkpoint)]) == 0
    assert f"nuclei in {N} patches" in capsys.readouterr().out
    assert main([*arguments, "--checkpoint", str(tmp_path / "no.pt")]) == 1
    assert "error: checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((32, 32, 3), np.uint8), r"give a batch \(B, H, W, 3\): images\[None\]"),
        (np.zeros((2, 3, 32, 32), np.uint8), "have their channels first"),
        (np.zeros((2, 32, 32), np.uint8), "one picture of shape"),
        (np.zeros((2, 32, 32, 1), np.uint8), "RGB pictures"),
        (np.zeros((2, 32, 32, 3), np.float32), "of type float32; give RGB pixels as uint8"),
        ([[0]], "RGB pictures"),
    ],
)
def test_what_are_no_pictures(checkpoint, images, words):
    with pytest.raises(UserError, match=words):
        Predictor(checkpoint, "cpu")(images)
