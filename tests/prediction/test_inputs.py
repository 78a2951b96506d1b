"""Stores and folders of pictures give what the slide itself gives."""

import json

import cv2
import numpy as np
import pytest
import zarr

from prediction.conftest import UM
from prediction.oracle import CLASSES, Oracle, Scene, ious
from stnuclei.cli import main
from stnuclei.errors import UserError
from stnuclei.io import NucleiFile
from stnuclei.io.slide_input import input_format, open_slide_input, read_picture
from stnuclei.prediction import segment_image, segment_slide


def run(slide, out, **options):
    options = {"tile": 384, "overlap": 32, "tissue": "whole", **options}
    return segment_slide(None, slide, out, predictor=Oracle(), **options)


def write_image(group, image):
    """An OME-Zarr image of one level, as SpatialData keeps them."""
    folder = zarr.open_group(group, mode="w")
    folder.create_array("0", data=np.ascontiguousarray(image.transpose(2, 0, 1)), chunks=(3, 256, 256))
    folder.attrs["ome"] = {"version": "0.5", "multiscales": [{"datasets": [{"path": "0"}]}]}


def shapes(out):
    return set(NucleiFile(out).read().geometry.to_wkb())


@pytest.fixture(scope="module")
def reference(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference") / "out"
    run(small[0], out)
    return shapes(out)


def test_spatialdata_store(small, reference, tmp_path):
    store = tmp_path / "other.zarr"
    zarr.open_group(store, mode="w")
    write_image(store / "images" / "he", small[1])
    assert input_format(store) == "spatialdata"
    with pytest.raises(UserError, match="does not say how large its pixels are"):
        run(store, tmp_path / "out")
    run(store, tmp_path / "out", um_per_px=UM)
    assert shapes(tmp_path / "out") == reference
    assert NucleiFile(tmp_path / "out").metadata["image"] == "he"
    write_image(store / "images" / "dapi", small[1])
    with pytest.raises(UserError, match=r"has 2 images \(dapi, he\)"):
        open_slide_input(store, UM)
    assert open_slide_input(store, UM, image="he").slide.shape == small[1].shape
    with pytest.raises(UserError, match="has no image 'if'"):
        open_slide_input(store, UM, image="if")


def test_sample_store(small, reference, tmp_path):
    store = tmp_path / "sample.zarr"
    group = zarr.open_group(store, mode="w")
    group.attrs["stnuclei"] = {"format": "stnuclei-sample", "um_per_px": UM, "image": {"copied": True}}
    write_image(store / "images" / "he_image", small[1])
    run(store, tmp_path / "out")
    assert shapes(tmp_path / "out") == reference
    with pytest.raises(UserError, match="by the sample's store"):
        open_slide_input(store, 0.5)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five pictures of three sizes, and their labels by name."""
    folder, labels = tmp_path_factory.mktemp("pictures"), {}
    for k, (width, height) in enumerate([(256, 256), (256, 256), (300, 200), (512, 512), (256, 256)]):
        image, labels[f"{k}.png"] = Scene.random(width * UM, height * UM, seed=k, margin_um=4).draw(UM, width, height)
        cv2.imwrite(str(folder / f"{k}.png"), image[..., ::-1])
    return folder, labels


@pytest.mark.parametrize("tta", [False, True])
def test_pictures_one_by_one(pictures, tmp_path, tta, monkeypatch):
    monkeypatch.setattr("stnuclei.prediction.pictures.PART_SIZE", 2)
    folder, labels = pictures
    with pytest.raises(UserError, match="give um_per_px"):
        run(folder, tmp_path / "out")
    predictor = Oracle() if not tta else Oracle()
    counts = segment_slide(None, folder, tmp_path / "out", um_per_px=UM, predictor=predictor)
    nuclei = NucleiFile(tmp_path / "out").read()
    assert counts["images"] == 5 and list(nuclei["image"].unique()) == sorted(labels)
    for name, truth in labels.items():
        own = nuclei[nuclei["image"] == name]
        iou, which = ious(truth, own.geometry)
        assert len(own) == len(iou) == len(np.unique(which)) and iou.min() > 0.9


@pytest.mark.parametrize("deep", [1, 257])
def test_what_is_transparent_is_glass(tmp_path, deep):
    pixels = np.full((8, 8, 4), [10, 20, 30, 255], np.uint8)
    pixels[:4] = 0  # what a program leaves there that saves a cut-out
    pixels[4, :, 3] = 51
    cv2.imwrite(str(tmp_path / "p.png"), pixels.astype(np.uint8 if deep == 1 else np.uint16) * deep)
    read = read_picture(tmp_path / "p.png")
    assert (read[:4] == 255).all() and (read[5:] == [30, 20, 10]).all()
    assert (read[4] == np.rint(255 + (np.array([30, 20, 10]) - 255) / 5)).all()


def test_pictures_that_cannot_be_read(pictures, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "0.png").write_bytes((pictures[0] / "0.png").read_bytes())
    (folder / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1\.png: cannot be decoded"):
        run(folder, tmp_path / "out", um_per_px=UM)
    counts = run(folder, tmp_path / "out", um_per_px=UM, damaged="skip")
    assert counts["tiles_damaged"] == 1 and counts["nuclei"] == pictures[1]["0.png"].max()


def test_command(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stnuclei.prediction.slide.Predictor", lambda *a, **o: Oracle())
    (tmp_path / "model.pt").write_bytes(b"weights")
    arguments = [str(small[0]), "--checkpoint", str(tmp_path / "model.pt"), "--out", str(tmp_path / "out")]
    options = ["--tissue", "whole", "--tile", "384", "--threads", "1", "--no-overview", "--geojson"]
    assert main(["segment", *arguments, *options]) == 0
    assert f"{small[2].max():,} nuclei (" in capsys.readouterr().out
    assert (tmp_path / "out" / "nuclei.parquet").is_file() and (tmp_path / "out" / "summary.tsv").is_file()
    assert len(NucleiFile(tmp_path / "out").metadata["model"]["sha256"]) == 64
    assert main(["segment", *arguments, "--patches", "p.zarr"]) == 1 and "give one slide" in capsys.readouterr().err
    assert main(["segment", *arguments[1:]]) == 1
    assert json.loads(json.dumps(NucleiFile(tmp_path / "out").metadata))["settings"]["tile"] == 384


@pytest.mark.parametrize("name", ["0.png", "2.png"])
def test_a_picture_in_memory_gives_the_nuclei_of_its_file(pictures, name):
    folder, labels = pictures
    image = cv2.imread(str(folder / name))[..., ::-1]
    nuclei = segment_image(Oracle(), np.ascontiguousarray(image), UM)
    assert len(nuclei) == labels[name].max() and set(nuclei["class"]) <= set(CLASSES[1:])
    assert nuclei.geometry.is_valid.all() and nuclei.total_bounds[2] <= image.shape[1]
    coarse = segment_image(Oracle(), np.ascontiguousarray(image[::2, ::2]), 2 * UM)
    assert coarse.total_bounds[2] <= image.shape[1] / 2 + 1


def test_a_picture_in_memory_is_resampled_as_its_file(pictures, tmp_path):
    (tmp_path / "one").mkdir()
    image = np.ascontiguousarray(cv2.imread(str(pictures[0] / "2.png"))[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "one" / "2.png"), image[..., ::-1])
    for um in (0.8 * UM, 1.3 * UM):
        run(tmp_path / "one", tmp_path / f"out {um}", um_per_px=um)
        in_memory = segment_image(Oracle(), image, um)
        assert set(in_memory.geometry.to_wkb()) == shapes(tmp_path / f"out {um}") != set()


def test_a_picture_in_memory_of_another_kind_is_refused():
    for image in (np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((3, 64, 64), np.uint8)):
        with pytest.raises(UserError, match="must be .H, W, 3. uint8 RGB"):
            segment_image(Oracle(), image, UM)
    with pytest.raises(UserError, match="use segment_slide"):
        segment_image(Oracle(), np.zeros((5000, 8, 3), np.uint8), UM)
