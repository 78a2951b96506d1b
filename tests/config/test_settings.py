"""The configuration: defaults under it, and wrong keys told with the nearest right one."""

import copy

import pytest
import yaml

from paths import ROOT
from stnuclei.config import check_config, with_defaults
from stnuclei.errors import UserError

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def problems(config) -> str:
    with pytest.raises(UserError) as caught:
        check_config(config, SCHEMA)
    return str(caught.value)


def test_shipped_config_holds_the_papers_values(config):
    check_config(config, SCHEMA)
    assert config["clustering"]["resolution"] == 4.0
    assert config["labels"]["paper"] == {"n_genes": 10, "min_votes": 5, "n_cancer_genes": 20, "cancer_ratio": 0.25}
    training = config["training"]
    assert (training["batch_size"], training["epochs"], training["learning_rate"]) == (256, 130, 3e-4)
    assert (training["betas"], training["weight_decay"], training["gamma"]) == ([0.85, 0.95], 1e-4, 0.95)


def test_wrong_keys_name_the_nearest_and_all_are_told(config):
    config["clustering"]["resolutoin"] = 3
    config["trainning"] = {}
    config["models"]["st"]["train"][0] = {"samples": "train", "labels": "papr"}
    config["patches"]["size"] = 250
    text = problems(config)
    assert "clustering.resolutoin: unknown key; did you mean 'resolution'?" in text
    assert "trainning: unknown key; did you mean 'training'?" in text
    assert "models.st.train.0" in text
    assert "patches.size: 250 is not a multiple of 16" in text
    assert "4 problem(s)" in text


def test_every_object_of_the_schema_refuses_unknown_keys():
    def objects(node):
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                yield node
            for value in node.values():
                yield from objects(value)
        elif isinstance(node, list):
            for value in node:
                yield from objects(value)

    schema = yaml.safe_load(SCHEMA.read_text())
    found = list(objects(schema))
    assert len(found) > 10
    assert all(node.get("additionalProperties") is not True for node in found)
    assert all("additionalProperties" in node for node in found)


def test_defaults_lie_under_a_config_but_models_replace(config):
    before = copy.deepcopy(config)
    own = {"patches": {"stride": 128}, "models": {"mine": {"train": []}}}
    merged = with_defaults(own, config)
    assert merged["patches"] == {**before["patches"], "stride": 128}
    assert list(merged["models"]) == ["mine"]
    assert config == before
