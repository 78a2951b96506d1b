"""The published recipe is the default; what cannot be used is refused with a sentence."""

import json

import pytest
import torch

from stnuclei.cellvit.device import choose_precision
from stnuclei.config.training import TrainSettings
from stnuclei.errors import UserError
from stnuclei.training.step import learning_rate


def test_defaults_are_the_official_recipe():
    s = TrainSettings()
    assert (s.learning_rate, s.betas, s.weight_decay) == (3e-4, (0.85, 0.95), 1e-4)
    assert (s.schedule, s.gamma, s.epochs, s.freeze_epochs, s.seed) == ("exponential", 0.95, 130, 25, 19)
    assert (s.batch_size, s.sampling, s.sampling_gamma, s.loss_variant) == (256, "cell+tissue", 0.85, "official")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"learning_rte": 1e-3}, "did you mean 'learning_rate'"),
        ({"zzzzqqqq": 1}, "known: architecture"),
        ({"precision": "fp8"}, "auto, bf16, fp16, fp32"),
        ({"epochs": 0}, "training.epochs: must be at least 1, not 0"),
        ({"epochs": 2.5}, "whole number"),
        ({"batch_size": "many"}, "training.batch_size: must be a whole number, not 'many'"),
        ({"drop_path": 1.5}, "training.drop_path: must be at most 1, not 1.5"),
        ({"gradient_clip": -1}, "training.gradient_clip: must be above 0, not -1"),
    ],
)
def test_unusable_settings_are_refused_by_name(content, words):
    with pytest.raises(UserError, match=words):
        TrainSettings.from_dict(content)


def test_numbers_as_yaml_reads_them():
    assert TrainSettings.from_dict({"learning_rate": "3e-4"}).learning_rate == 3e-4  # YAML 1.1: a string


def test_settings_survive_json():
    s = TrainSettings(loss_weights={"np_dice": 2.0}, gradient_clip=1.0)
    assert TrainSettings.from_dict(json.loads(json.dumps(s.to_dict()))) == s


def test_batch_is_shared_out_or_refused():
    assert TrainSettings(batch_size=256, accumulation=4).micro_batch(8) == 8
    with pytest.raises(UserError, match="256 cannot be cut into 3 processes x 1 parts"):
        TrainSettings().micro_batch(3)


def test_learning_rate_as_in_the_official_logs():
    rates = [learning_rate(TrainSettings(), epoch, 7, 10) for epoch in range(4)]
    assert rates == pytest.approx([3.00e-4, 2.85e-4, 2.71e-4, 2.57e-4], rel=2e-3)
    assert learning_rate(TrainSettings(gamma=0.85), 2, 0, 10) == pytest.approx(3e-4 * 0.85**2)


def test_cosine_falls_to_a_hundredth_and_warm_up_rises():
    s = TrainSettings(schedule="cosine", epochs=4, learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(s, e, k, 5) for e in range(4) for k in range(5)]
    assert rates[:2] == pytest.approx([1 / 5, 2 / 5], rel=0.05)
    assert rates[10] == pytest.approx(0.01 + 0.99 / 2)
    assert sorted(rates[4:], reverse=True) == rates[4:]
    assert learning_rate(s, 4, 0, 5) == pytest.approx(0.01)
    assert learning_rate(TrainSettings(schedule="constant"), 99, 0, 5) == 3e-4


def test_precision_follows_device_unless_named():
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert choose_precision("bf16", torch.device("cpu")) == torch.bfloat16
