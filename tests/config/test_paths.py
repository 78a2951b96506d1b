"""Paths and names of a configuration that Snakemake or a file system would take for something else."""

import pytest
import yaml

from paths import ROOT
from stnuclei.config import check_config, without_validation
from stnuclei.errors import UserError


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"results": "results/{sample}"}, "results: 'results/{sample}' has braces"),
        ({"samples": "a\nb.tsv"}, "samples: .* or a line break"),
        ({"pannuke": {"path": "data/{x}"}}, "pannuke.path: 'data/{x}' has braces"),
        ({"training": {"encoder_weights": "w{1}.pth"}}, "training.encoder_weights: 'w.1..pth' has braces"),
        ({"models": {"m": {"train": [{"pannuke": [1]}], "training": {"encoder_weights": "w}"}}}},
         "models.m.training.encoder_weights: .* has braces"),
        ({"segmentation": {"checkpoints": {"m": "a{b}.pt"}}}, "segmentation.checkpoints.m: .* has braces"),
        ({"segmentation": {"checkpoints": {"../m": "a.pt"}}}, "segmentation.checkpoints.../m: use letters"),
        ({"expression": {"spots": {"a/b": {"path": "d", "id": "T1", "tissue": "Skin"}}}}, "spots.a/b: use letters"),
    ],
)  # fmt: skip
def test_braces_line_breaks_and_folders_in_names_are_refused(config, change, words):
    for block, content in change.items():
        config[block] = {**config[block], **content} if isinstance(content, dict) and block != "models" else content
    with pytest.raises(UserError, match=words):
        check_config(config)


@pytest.mark.parametrize(("block", "key"), [("patches", "um_per_px"), ("segmentation", "network_um_per_px")])
def test_a_pixel_size_at_which_no_nucleus_is_seen_is_refused(config, block, key):
    config[block][key] = 2.5
    with pytest.raises(UserError, match=f"{block}.{key}: must be at most 1, "):
        check_config(config)


def test_models_without_validation_are_named():
    assert without_validation({"a": {"train": [], "validation": [1]}}) == ""
    text = without_validation({"a": {"validation": []}, "b": {"validation": [1]}, "c": {}})
    assert text.startswith("models.a, models.c: no validation set: nothing shows whether they learn")
