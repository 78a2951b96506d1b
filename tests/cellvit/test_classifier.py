"""Vectors of nuclei from tokens, and classifier files in the layout of CellViT++."""

import numpy as np
import pytest
import torch

from stnuclei.cellvit import CellClassifier, load_classifier, save_classifier
from stnuclei.cellvit.classifier import ClassifierHead, linear_state
from stnuclei.cellvit.nuclei import measure
from stnuclei.cellvit.nucleus_tokens import TOKEN_CHOICES, TokenGrid, nucleus_vectors
from stnuclei.errors import UserError
from stnuclei.taxonomy import Taxonomy

PX = 16


def squares(seed=0, size=64):
    """Label map with five rectangles of different sizes, one of them cut by the border."""
    labels = np.zeros((size, size), np.int32)
    boxes = [(3, 5, 9, 30), (20, 2, 31, 12), (33, 33, 47, 49), (50, 20, 64, 40), (17, 50, 29, 60)]
    for k, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = k
    return labels


def by_hand(tokens, labels, shapes, choice, px):
    """Vectors as the definitions say, pixel by pixel."""
    out = []
    for k, (x0, y0, x1, y1) in zip(shapes.id, shapes.bbox, strict=True):
        if choice == "box":
            rows, columns = slice(int(y0 // px), int(-(-y1 // px))), slice(int(x0 // px), int(-(-x1 // px)))
            out.append(tokens[rows, columns].reshape(-1, tokens.shape[2]).mean(0))
        else:
            y, x = np.nonzero(labels == k)
            y, x = (
                (y + 0.5, x + 0.5) if choice == "nucleus" else (np.array([y.mean() + 0.5]), np.array([x.mean() + 0.5]))
            )
            out.append(tokens[(y // px).astype(int), (x // px).astype(int)].mean(0))
    return np.array(out)


@pytest.mark.parametrize("choice", TOKEN_CHOICES)
@pytest.mark.parametrize("side", [4, 5])
def test_vectors_are_those_of_the_definition(choice, side):
    labels = squares()
    shapes, px = measure(labels), 64 / side
    tokens = np.random.default_rng(1).normal(size=(side, side, 7)).astype(np.float32)
    vectors = nucleus_vectors(TokenGrid(tokens, px), labels, shapes.id, shapes.bbox, shapes.centroid, choice)
    assert np.allclose(vectors, by_hand(tokens, labels, shapes, choice, px), atol=1e-5)


@pytest.mark.parametrize("choice", TOKEN_CHOICES)
def test_maps_cut_out_of_a_picture_keep_their_tokens(choice):
    labels = np.pad(squares(), 32)
    whole, cut = measure(labels), labels[16:112, 32:128]
    part = measure(cut)
    tokens = np.random.default_rng(2).normal(size=(8, 8, 3)).astype(np.float32)
    first = nucleus_vectors(TokenGrid(tokens, PX), labels, whole.id, whole.bbox, whole.centroid, choice)
    # The cut lies 32 px from the left and 16 from the top; a grid has one offset, so the tokens are cut alike first.
    grid = TokenGrid(tokens[1:, 2:], PX)
    second = nucleus_vectors(grid, cut, part.id, part.bbox, part.centroid, choice)
    third = nucleus_vectors(TokenGrid(tokens[:, 1:], PX).shifted(-16), cut, part.id, part.bbox, part.centroid, choice)
    assert np.allclose(first, second, atol=1e-6) and np.allclose(first, third, atol=1e-6)


def made(classes=("a", "b", "c"), dim=12, hidden=8, **options):
    torch.manual_seed(0)
    return CellClassifier(ClassifierHead(dim, hidden, len(classes)).eval(), tuple(classes), **options)


def test_a_file_round_trips_in_the_official_layout(tmp_path):
    taxonomy = Taxonomy.load("tissue11")
    options = {"taxonomy": taxonomy.to_dict(), "tokens": "nucleus", "provenance": {"checkpoint": "0" * 64}}
    classifier = made(taxonomy.names, epoch=3, **options)
    save_classifier(tmp_path / "c.pt", classifier)
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    assert {"arch", "epoch", "config", "model_state_dict"} <= set(content)
    assert {name: tuple(v.shape) for name, v in content["model_state_dict"].items()} == {
        "fc1.weight": (8, 12), "fc1.bias": (8,), "fc2.weight": (11, 8), "fc2.bias": (11,)
    }  # fmt: skip
    assert content["config"]["data.num_classes"] == 11 and content["config"]["data.label_map.0"] == taxonomy.names[0]
    loaded, x = load_classifier(tmp_path / "c.pt"), np.random.default_rng(0).normal(size=(5, 12))
    assert np.array_equal(loaded.probabilities(x), classifier.probabilities(x))
    assert (loaded.names, loaded.tokens, loaded.epoch) == (classifier.names, "nucleus", 3)
    assert loaded.classes == ["Background", *taxonomy.names] and loaded.sha256


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"data.label_map.0": "Tumour", "data.label_map.1": "Other", "data.label_map.2": "Rest"}, "Tumour Other Rest"),
        ({"data": {"label_map": {"Tumour": 0, "Other": 1, "Rest": 2}}}, "Tumour Other Rest"),
        ({"data.num_classes": 3}, "class 0|class 1|class 2"),  # the released NuCLS files
    ],
)
def test_official_files_load(tmp_path, config, names):
    head = ClassifierHead(1280, 128, 3)
    content = {"arch": "LinearClassifier", "epoch": 12, "config": config, "model_state_dict": head.state_dict()}
    torch.save(content, tmp_path / "official.pth")
    loaded = load_classifier(tmp_path / "official.pth")
    assert loaded.names == tuple(names.split("|") if "|" in names else names.split())
    assert loaded.dim == 1280 and loaded.tokens == "box" and loaded.taxonomy is None
    save_classifier(tmp_path / "again.pth", loaded)
    again = torch.load(tmp_path / "again.pth", weights_only=True)["model_state_dict"]
    assert all(torch.equal(again[name], value) for name, value in head.state_dict().items())


def test_a_linear_head_has_the_layout_too():
    torch.manual_seed(0)
    weight, bias, x = torch.randn(3, 6), torch.randn(3), torch.randn(10, 6)
    head = ClassifierHead(6, 6, 3)
    head.load_state_dict(linear_state(weight, bias))
    assert torch.allclose(head(x), x @ weight.T + bias, atol=1e-5)


def test_probabilities_add_up_to_coarser_classes():
    fine, coarse = Taxonomy.load("tissue11"), Taxonomy.load("pannuke")
    classifier = made(fine.names, taxonomy=fine.to_dict())
    x = np.random.default_rng(0).normal(size=(4, 12))
    before, after = classifier.probabilities(x)[:, 1:], classifier.collapsed("pannuke").probabilities(x)[:, 1:]
    targets = fine.collapsed(fine.names, coarse)
    for k, name in enumerate(coarse.names):
        assert np.allclose(after[:, k], before[:, targets == name].sum(1), atol=1e-6)
    assert classifier.collapsed("tissue11") is classifier


def test_what_does_not_fit_is_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    classifier = made(provenance={"checkpoint": "f" * 64})
    with pytest.raises(UserError, match="reads tokens of 12 numbers, the model's have 384"):
        classifier.check_fits(384, None, "c.pt")
    with pytest.raises(UserError, match="trained on the tokens of another checkpoint"):
        classifier.check_fits(12, tmp_path / "model.pt", "c.pt")
    torch.save({"model_state_dict": {"fc1.weight": torch.zeros(2, 2)}}, tmp_path / "half.pt")
    with pytest.raises(UserError, match="lacks the tensors"):
        load_classifier(tmp_path / "half.pt")
