"""Slides with a cell classifier and with embeddings: one vector a nucleus, the same whatever the tiles."""

import numpy as np
import pytest
import torch

from prediction.oracle import CLASSES, Oracle
from stnuclei.cellvit import CellClassifier, save_classifier
from stnuclei.cellvit.classifier import ClassifierHead
from stnuclei.cli import main
from stnuclei.errors import UserError
from stnuclei.export import write_spatialdata
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.prediction import segment_slide

DIM, NAMES = 6, ("light", "dark")


class Tokens(Oracle):
    """Perfect maps, and tokens that are the mean colours of squares of 16 px, twice."""

    dim = DIM

    def __init__(self, classifier=None):
        super().__init__()
        self.classifier = classifier
        if classifier is not None:
            self.classes = classifier.classes
            self.metadata = {**self.metadata, "classes": self.classes}

    def tensors(self, images, tokens=False):
        maps = super().tensors(images)
        if not tokens:
            return maps
        means = torch.nn.functional.avg_pool2d(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, 16)
        return *maps, means.permute(0, 2, 3, 1).repeat(1, 1, 1, 2)


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    head = ClassifierHead(DIM, 4, 2).eval()
    with torch.no_grad():  # dark where the green is below its mean among nuclei
        head.fc1.weight.zero_(), head.fc1.bias.zero_(), head.fc2.weight.zero_()
        head.fc1.weight[0, 1], head.fc1.weight[1, 1] = 10.0, -10.0
        head.fc1.bias[:2] = torch.tensor([-4.5, 4.5])
        head.fc2.weight[0, 0] = head.fc2.weight[1, 1] = 5.0
        head.fc2.bias.zero_()
    return CellClassifier(head, NAMES, tokens="nucleus", sha256="0" * 64)


@pytest.fixture(scope="module")
def folder(small, classifier, tmp_path_factory):
    """The small slide in nine tiles, classified, with embeddings."""
    out = tmp_path_factory.mktemp("classified") / "out"
    settings = {"tissue": "whole", "tile": 512, "overlap": 64, "embeddings": True}
    counts = segment_slide(None, small[0], out, predictor=Tokens(classifier), **settings)
    assert counts["tiles"] > 4 and counts["nuclei"] > 50
    return out


def by_place(nuclei):
    frame = nuclei.read()
    vectors = np.concatenate(list(nuclei.embedding_batches(17)))
    order = np.lexsort((frame["centroid_x"].round(1), frame["centroid_y"].round(1)))
    return frame.iloc[order].reset_index(drop=True), vectors[order]


def test_classes_are_those_the_classifier_gives_the_vectors(folder, classifier):
    nuclei = NucleiFile(folder)
    frame, vectors = by_place(nuclei)
    assert nuclei.embedding_dim == DIM and vectors.dtype == np.float16 and "embedding" not in frame
    assert nuclei.classes == ["Background", *NAMES] and set(frame["class"]) == set(NAMES)
    wanted = classifier.probabilities(vectors)
    assert np.allclose(frame[["probability_light", "probability_dark"]], wanted[:, 1:], atol=0.02)
    sure = abs(wanted[:, 1] - 0.5) > 0.05
    assert (frame["class"][sure] == np.array(classifier.classes)[wanted.argmax(1)][sure]).all()
    assert (frame["probability_Background"] == 0).all()


def test_the_tiles_do_not_matter(folder, small, classifier, tmp_path):
    settings = {"tissue": "whole", "tile": 1024, "overlap": 64, "embeddings": True}
    segment_slide(None, small[0], tmp_path / "out", predictor=Tokens(classifier), **settings)
    (first, a), (second, b) = by_place(NucleiFile(folder)), by_place(NucleiFile(tmp_path / "out"))
    assert len(first) == len(second)
    assert np.allclose(first[["centroid_x", "centroid_y"]], second[["centroid_x", "centroid_y"]], atol=0.51)
    assert np.median(np.abs(a.astype(float) - b.astype(float)).max(1)) < 1e-3
    assert (first["class"] == second["class"]).mean() > 0.98


def test_a_file_without_embeddings_is_as_before(small, tmp_path):
    segment_slide(None, small[0], tmp_path / "out", predictor=Tokens(), tissue="whole", tile=512)
    nuclei = NucleiFile(tmp_path / "out")
    assert nuclei.embedding_dim == 0 and "embedding" not in nuclei.columns and nuclei.classes == CLASSES


def test_scanpy_takes_the_vectors_from_the_store(folder, tmp_path):
    spatialdata, scanpy = pytest.importorskip("spatialdata"), pytest.importorskip("scanpy")
    write_spatialdata(folder, tmp_path / "slide.zarr")
    table = spatialdata.read_zarr(tmp_path / "slide.zarr")["table"]
    nuclei = NucleiFile(folder)
    assert np.array_equal(table.obsm["X_cellvit"], np.concatenate(list(nuclei.embedding_batches())))
    assert list(table.obs["nucleus_id"]) == list(nuclei.read(["nucleus_id"])["nucleus_id"])
    # Gaussian weights: those of UMAP are compiled for fifteen seconds first.
    scanpy.pp.neighbors(table, use_rep="X_cellvit", n_neighbors=5, method="gauss")
    assert table.obsp["connectivities"].shape == (len(nuclei), len(nuclei))


def test_pictures_are_classified_too(small, classifier, tmp_path):
    import cv2

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for k, (y, x) in enumerate([(0, 0), (300, 200)]):
        cv2.imwrite(str(pictures / f"{k}.png"), small[1][y : y + 250, x : x + 310, ::-1])
    settings = {"um_per_px": 0.25, "embeddings": True, "predictor": Tokens(classifier)}
    segment_slide(None, pictures, tmp_path / "out", **settings)
    frame, vectors = by_place(NucleiFile(tmp_path / "out"))
    assert len(frame) > 5 and set(frame["class"]) <= set(NAMES) and vectors.shape == (len(frame), DIM)


def test_the_command_refuses_another_models_classifier(small, tmp_path, capsys, classifier):
    from stnuclei.cellvit import build_model, save_checkpoint

    save_checkpoint(tmp_path / "m.pt", build_model("cellvit-tiny", 6), taxonomy="pannuke")
    save_classifier(tmp_path / "c.pt", classifier)
    words = ["segment", str(small[0]), "--checkpoint", str(tmp_path / "m.pt"), "--out", str(tmp_path / "o")]
    assert main([*words, "--classifier", str(tmp_path / "c.pt")]) == 1
    assert "reads tokens of 6 numbers, the model's have 96" in capsys.readouterr().err
    with pytest.raises(UserError, match="give the classifier to the predictor"):
        segment_slide(None, small[0], tmp_path / "o", predictor=Tokens(), classifier=tmp_path / "c.pt")
