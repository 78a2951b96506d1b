"""Training with a teacher: its maps are learned, each network seeing the image in its own normalisation."""

import pandas as pd
import pytest
import torch

from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.cellvit import build_model, load_checkpoint, save_checkpoint
from stnuclei.cellvit.decoder import Widths
from stnuclei.cellvit.distillation import distillation_losses
from stnuclei.config.encoders import IMAGENET
from stnuclei.errors import UserError
from stnuclei.patches import PatchStore
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import loop, train
from stnuclei.training.teacher import Teacher

SMALL = {"dim": 16, "depth": 4, "heads": 2, "skips": (1, 2, 3, 4), "grid": 2, "widths": Widths(8, 8, 8, 8, 8, 8, 8)}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(loop.history, "draw", lambda *arguments: None)


@pytest.fixture(scope="module")
def teacher(sources, tmp_path_factory):
    """A network whose maps are its own: with another normalisation than the student's."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    save_checkpoint(path, build_model("cellvit-uni", 6, 0, **SMALL), taxonomy="pannuke")
    return path


def gap(folder, teacher, sources):
    """Sum of the differences of a trained student from the teacher on images of the training set."""
    (mine, meta), (theirs, their_meta) = load_checkpoint(folder / "checkpoint.pt"), load_checkpoint(teacher)
    images = torch.from_numpy(PatchStore(sources[0].patches).image[:8]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        student = mine(Augmenter(normalisation=(meta["mean"], meta["std"])).normalised(images))
        true = theirs(Augmenter(normalisation=(their_meta["mean"], their_meta["std"])).normalised(images))
    return float(sum(distillation_losses(student, true).values()))


def test_a_student_learns_from_labels_alone_and_comes_nearer_to_a_teacher(sources, settings, teacher, tmp_path, capsys):
    settings = settings.replace(architecture="cellvit-light", augmentation="none", learning_rate=2e-3, epochs=8)
    train(sources, [], tmp_path / "alone", settings, taxonomy="pannuke")
    taught = settings.replace(teacher=str(teacher), teacher_loss=5.0)
    train(sources, [], tmp_path / "taught", taught, taxonomy="pannuke")
    alone, history = (pd.read_csv(tmp_path / name / "history.csv") for name in ("alone", "taught"))
    assert alone["train_loss"].iloc[-1] < 0.9 * alone["train_loss"].iloc[0] and "train_teacher_np" not in alone
    for term in ("teacher_np", "teacher_hv", "teacher_nt"):
        assert history[f"train_{term}"].gt(0).all()
    assert gap(tmp_path / "taught", teacher, sources) < 0.8 * gap(tmp_path / "alone", teacher, sources)
    assert "a teacher" in capsys.readouterr().out


def test_the_teacher_sees_the_image_as_it_was_trained_to(teacher):
    network = Teacher.load(teacher, Taxonomy.load("pannuke"), torch.device("cpu"))
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    student = build_model("cellvit-light", 6, 0)
    wanted = network.network(Augmenter(normalisation=IMAGENET).normalised(pixels))["hv_map"]
    given = network.outputs(Augmenter().normalised(pixels), student.settings.architecture)["hv_map"]
    torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-4)
    assert not given.requires_grad and not network.network.training


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    taxonomy = Taxonomy.load("lizard")
    save_checkpoint(tmp_path / "m.pt", build_model("cellvit-tiny", taxonomy.n_outputs, 0), taxonomy=taxonomy)
    with pytest.raises(UserError, match="training.teacher .*its classes are .* give a teacher of the same taxonomy"):
        Teacher.load(tmp_path / "m.pt", Taxonomy.load("pannuke"), torch.device("cpu"))


def test_images_are_normalised_as_the_network_says_in_training_and_checkpoint(sources, settings, tmp_path, monkeypatch):
    """UNI's own mean and deviation, from the augmentation through validation to the checkpoint and its reader."""
    from stnuclei.training import run as runs

    monkeypatch.setattr(runs, "build_model", lambda *given, **rates: build_model(*given, **rates, **SMALL))
    settings = settings.replace(architecture="MahmoodLab/UNI", epochs=1, samples_per_epoch=8)
    train(sources, sources[1:], tmp_path, settings, taxonomy="pannuke")
    metadata = load_checkpoint(tmp_path / "checkpoint.pt")[1]
    assert settings.architecture == "cellvit-uni" == metadata["architecture"]
    assert (metadata["mean"], metadata["std"]) == IMAGENET
    grey = Augmenter(settings="none", normalisation=IMAGENET)(
        torch.full((1, 3, 16, 16), 255, dtype=torch.uint8), torch.zeros(1, 16, 16, dtype=torch.long)
    )[0]
    assert grey[0, :, 0, 0].tolist() == pytest.approx([(1 - m) / s for m, s in zip(*IMAGENET, strict=True)], rel=1e-5)
