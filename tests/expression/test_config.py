"""The configuration's expression block: checked before any job, silent where no model is named."""

import copy

import pytest
import yaml

from paths import ROOT
from runner import Workflow, count
from stnuclei.config import check_config, read_samples, with_defaults
from stnuclei.config.expression_models import expression_models, expression_slides
from stnuclei.errors import UserError


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture
def samples():
    return read_samples(ROOT / "config" / "demo" / "samples.tsv")


def test_off_by_default_with_the_papers_network(config, samples):
    assert expression_models(config, samples) == {}
    assert config["expression"]["training"]["network"] == "efficientnet-b0"
    assert config["expression"]["scores"]["threshold"] == 0.30


def test_settings_of_the_configuration_are_settings_of_the_training(config):
    from stnuclei.config import ExpressionSettings

    block = config["expression"]
    settings = ExpressionSettings.from_dict({**block["training"], "min_counts": block["min_counts"], "seed": 1})
    plain = ExpressionSettings(min_counts=100, seed=1)
    assert settings == plain  # one set of defaults, in two places


def test_wrong_keys_and_values_name_the_nearest(config):
    config["expression"]["training"]["learning_rat"] = 1
    config["expression"]["modles"] = {}
    config["expression"]["graph"] = "bishop"
    config["expression"]["models"]["m"] = {"protocol": "multi-donor", "samples": ["breast"]}
    with pytest.raises(UserError) as caught:
        check_config(config)
    for words in (
        "expression.training.learning_rat: unknown key; did you mean 'learning_rate'?",
        "expression.modles: unknown key; did you mean 'models'?",
        "expression.graph: 'bishop' is none of queen, rook, knn",
        "expression.models.m.protocol: 'multi-donor' is none of single_donor, multi_donor",
    ):
        assert words in str(caught.value)


def test_models_that_cannot_be_are_told_all_at_once(config, samples):
    models = {
        "one": {"protocol": "single_donor", "samples": ["breast", "colon"]},
        "two": {"protocol": "multi_donor", "samples": ["breast"]},
        "three": {"protocol": "multi_donor", "samples": ["breast", "colon"], "held_out": ["donor_9"]},
        "four": {"protocol": "single_donor", "samples": ["breast"], "cross_tissue": ["breast_annotated", "liver"]},
        "five": {"protocol": "single_donor", "samples": "val"},
    }
    config["expression"]["models"] = models
    with pytest.raises(UserError) as caught:
        expression_models(config, samples)
    for words in (
        "has 6 problem(s)",
        "models.one.protocol: single_donor, but its samples are of donor_1, donor_2",
        "models.two.protocol: multi_donor needs two donors, its samples are all of donor_1",
        "models.three.held_out: donor_9 is no donor of its samples (donor_1, donor_2)",
        "models.four.cross_tissue: breast_annotated is Breast, which it is trained on",
        "models.four.cross_tissue: liver in neither the samples table nor expression.spots",
        "models.five.samples: no sample of the samples table has the split val",
    ):
        assert words in str(caught.value)


def test_spots_stand_beside_samples(config, samples):
    config["expression"]["spots"] = {"v1": {"path": "hest", "id": "ZEN38", "tissue": "Colon", "donor": "d5"}}
    config["expression"]["models"] = {
        "m": {"protocol": "single_donor", "samples": ["v1"], "cross_tissue": ["kidney"], "training": {"epochs": 3}}
    }
    check_config(config)
    model = expression_models(config, samples)["m"]
    assert model.tissues == ("Colon",) and model.training["epochs"] == 3 and model.training["seed"] == config["seed"]
    assert list(expression_slides(config, samples).loc["v1"]) == ["Colon", "d5", "spots"]
    config["expression"]["spots"]["breast"] = copy.deepcopy(config["expression"]["spots"]["v1"])
    with pytest.raises(UserError, match="a sample of the samples table is called so"):
        expression_models(config, samples)


def test_the_demos_overlay_is_sound_and_plans_every_job(config, samples, tmp_path):
    for name in ("config.yaml", "expression.yaml"):
        config = with_defaults(yaml.safe_load((ROOT / "config" / "demo" / name).read_text()), config)
    check_config(config)
    assert set(expression_models(config, samples)) == {"multi_donor", "single_donor"}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text((ROOT / "config" / "config.yaml").read_text())
    (tmp_path / "config" / "demo").symlink_to(ROOT / "config" / "demo")
    demo = ["--configfile", "config/demo/config.yaml"]
    text = Workflow(tmp_path).run("expression", "-n", "--quiet", "rules", *demo, "config/demo/expression.yaml").text
    assert count(text, "train_expression") == 2 * (1 + config["expression"]["nulls"]["repeats"])
    assert count(text, "patch_expression") == count(text, "measure_spatial_genes") == 4
    assert count(text, "score_expression") == 2 and count(text, "label_cells") == 0
    without = Workflow(tmp_path).run("-n", "--quiet", "rules", *demo).text
    assert count(without, "train_model") > 0 and "_expression" not in without
