"""Pixel size of the patches: in the scores of validation, and in the checkpoint, by which prediction is held to it."""

import json
import shutil

import numpy as np
import pytest
import torch

from stnuclei.cellvit import load_checkpoint, save_checkpoint
from stnuclei.cellvit.targets import hv_maps
from stnuclei.errors import UserError
from stnuclei.loading import Source
from stnuclei.prediction import predict_patches, segment_image
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.distributed import ProcessGroup
from stnuclei.training.failures import StopRequest
from stnuclei.training.run import prepare, write_checkpoint
from stnuclei.training.teacher import Teacher
from stnuclei.training.validation import score_patch, validate

CPU = torch.device("cpu")
PANNUKE = Taxonomy.load("pannuke")


def discs(shift):
    instances = np.zeros((96, 96), np.int32)
    y, x = np.mgrid[:96, :96]
    for k, (cy, cx) in enumerate([(24, 24), (24, 64), (64, 24), (64, 64)], 1):
        instances[(y - cy) ** 2 + (x - cx - shift) ** 2 < 64] = k
    return instances


@pytest.mark.parametrize(("um", "hits"), [(0.25, 4), (0.5, 0)])
def test_a_hit_is_3_um_whatever_the_pixel(um, hits):
    predicted = discs(9)  # 9 px are 2.25 um at 0.25 um/px, 4.5 um at 0.5
    types = np.zeros((6, 96, 96), np.float32)
    types[1] = 1
    maps = predicted > 0, hv_maps(predicted[None])[0].numpy(), types
    sums = score_patch(discs(0), np.ones(4, np.int8), *maps, um)
    assert sums.pairs[1:, 1:].sum() == hits


@pytest.fixture
def coarse(sources, tmp_path):
    """Give a source of 0.5 um/px."""
    folder = tmp_path / "coarse.zarr"
    shutil.copytree(sources[0].patches, folder)
    content = json.loads((folder / "zarr.json").read_text())
    content["attributes"]["um_per_px"] = 0.5
    (folder / "zarr.json").write_text(json.dumps(content))
    return Source(folder, sources[0].labels)


def start(sources, validation, folder, settings):
    return prepare(sources, validation, folder, settings, PANNUKE, ProcessGroup(0, 1, CPU), StopRequest())[0]


def test_validation_counts_at_the_patches_own_pixel_size(coarse, settings, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "stnuclei.training.validation.separate_nuclei",
        lambda foreground, hv, um: seen.append(um) or np.zeros(foreground.shape, np.int32),
    )
    validate(start([coarse], [coarse], tmp_path / "run", settings), 4)
    assert seen == [0.5] * 4


def test_a_validation_set_of_another_magnification_is_refused(sources, coarse, settings, tmp_path):
    with pytest.raises(UserError, match="has patches of 0.5 um/px and others have 0.25"):
        start(sources, [coarse], tmp_path / "run", settings)


def test_a_model_is_held_to_the_pixel_size_it_learned_at(sources, coarse, settings, tmp_path):
    run = start([coarse], [], tmp_path / "run", settings)
    write_checkpoint(run, {}, 1, {})
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert load_checkpoint(checkpoint)[1]["um_per_px"] == 0.5
    image = np.full((64, 64, 3), 230, np.uint8)
    with pytest.raises(UserError, match=r"trained at 0.5 um/px and would see 0.25; set network_um_per_px to 0.5"):
        segment_image(checkpoint, image, 0.25)
    segment_image(checkpoint, image, 0.25, network_um_per_px=0.5)
    with pytest.raises(UserError, match=r"a.zarr again with patches.um_per_px 0.5"):
        predict_patches(checkpoint, sources[0].patches, tmp_path / "p.zarr")
    with pytest.raises(UserError, match=r"learned at 0.5 um/px, the student's patches have 0.25"):
        Teacher.load(checkpoint, PANNUKE, CPU, 0.25)


def test_a_checkpoint_that_does_not_say_is_believed(settings, sources, tmp_path):
    run = start(sources, [], tmp_path / "run", settings)
    save_checkpoint(tmp_path / "c.pt", run.network, taxonomy=PANNUKE, tissues=run.data.tissues)
    assert load_checkpoint(tmp_path / "c.pt")[1]["um_per_px"] is None
    segment_image(tmp_path / "c.pt", np.full((64, 64, 3), 230, np.uint8), 0.25, network_um_per_px=0.5)
