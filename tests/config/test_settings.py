"""The configuration: one truth of names, defaults and bounds, and wrong keys told with the nearest right one."""

import copy
import inspect
import re
import subprocess
import sys

import pytest
import yaml

from paths import ROOT
from stnuclei.config import AugmentSettings, Configuration, TrainSettings, check_config, with_defaults
from stnuclei.config.labels import ClusteringBlock, LabelsBlock
from stnuclei.errors import UserError

CONFIG = ROOT / "config" / "config.yaml"


@pytest.fixture
def config():
    return yaml.safe_load(CONFIG.read_text())


def problems(config) -> str:
    with pytest.raises(UserError) as caught:
        check_config(config)
    return str(caught.value)


def test_shipped_config_holds_the_papers_values(config):
    check_config(config)
    assert config["clustering"]["resolution"] == 4.0
    published = {"n_genes": 10, "min_votes": 5, "n_cancer_genes": 20, "cancer_ratio": 0.25}
    assert {key: config["labels"]["paper"][key] for key in published} == published
    training = config["training"]
    assert (training["batch_size"], training["epochs"], training["learning_rate"]) == (256, 130, 3e-4)
    assert (training["betas"], training["weight_decay"], training["gamma"]) == ([0.85, 0.95], 1e-4, 0.95)


def test_the_yaml_holds_every_setting_at_the_librarys_default(config):
    """A user of the library and a user of the workflow get the same results from the defaults."""

    def keys(content, path=""):
        for key, value in content.items():
            yield f"{path}{key}"
            if isinstance(value, dict):
                yield from keys(value, f"{path}{key}.")

    defaults = Configuration().to_dict()
    assert list(keys(config)) == list(keys(defaults))  # in the same order, too
    assert config == defaults
    assert check_config({}) == defaults


def test_every_key_of_the_yaml_has_a_comment():
    bare = [line for line in CONFIG.read_text().splitlines() if re.match(r" *[a-z_0-9]+:", line) and "#" not in line]
    # Names of blocks say what they are where all their keys do; `st` is the shipped model's name.
    assert [line.strip() for line in bare if not line.rstrip().endswith(":")] == [
        "train: [{samples: train, labels: stnuclei}]",
        "validation: [{samples: val, labels: stnuclei}]",
    ]


def test_every_setting_has_its_meaning_in_one_line():
    def fields(model, seen):
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field
            for inner in re.findall(r"config\.\w+\.(\w+)", repr(field.annotation)):
                found = next(m for m in all_models if m.__name__ == inner)
                if found not in seen:
                    seen.add(found)
                    yield from fields(found, seen)

    from stnuclei.config.model import Settings

    def below(model):
        for inner in model.__subclasses__():
            yield inner
            yield from below(inner)

    all_models = list(below(Settings))
    listed = dict(fields(Configuration, set()))
    assert len(listed) > 150
    for name, field in listed.items():
        assert field.description and field.description.endswith(".") and "\n" not in field.description, name


def test_wrong_keys_name_the_nearest_and_all_are_told(config):
    config["clustering"]["resolutoin"] = 3
    config["trainning"] = {}
    config["models"]["st"]["train"][0] = {"samples": "train", "labels": "papr"}
    config["patches"]["size"] = 250
    text = problems(config)
    assert "clustering.resolutoin: unknown key; did you mean 'resolution'?" in text
    assert "trainning: unknown key; did you mean 'training'?" in text
    assert "models.st.train[0].labels: 'papr' is none of stnuclei, paper," in text
    assert "patches.size: 250 is not a multiple of 16" in text
    assert "4 problem(s)" in text


@pytest.mark.parametrize(
    ("block", "content", "words"),
    [
        ("training", {"epochs": 0}, "training.epochs: must be at least 1, not 0"),
        ("training", {"learning_rate": 0}, "training.learning_rate: must be above 0, not 0"),
        ("training", {"epochs": 2.5}, "training.epochs: must be a whole number, not 2.5"),
        ("training", {"epochs": True}, "training.epochs: must be a number, not true"),
        ("training", {"compile": 1}, "training.compile: must be true or false, not 1"),
        ("training", {"learning_rate": float("inf")}, "training.learning_rate: must be a finite number, not inf"),
        ("seed", 2**32, "seed: must be at most 4294967295, not 4294967296"),
        ("training", {"betas": [0.9]}, "training.betas[1]: is missing"),
        ("training", {"loss_weights": {"np_dce": 1}}, "training.loss_weights.np_dce: unknown key; did you mean"),
        ("training", {"augmentation": {"blr": 1}}, "training.augmentation.blr: unknown key; did you mean 'blur'?"),
        ("training", {"augmentation": "strong"}, "training.augmentation: 'strong' is none of official, flips, none"),
        ("training", None, "training: must be a block of settings, not null"),
        ("labels", {"stnuclei": {"levl": 0.1}}, "labels.stnuclei.levl: unknown key; did you mean 'level'?"),
        ("labels", {"paper": {"count": "row"}}, "labels.paper.count: 'row' is none of rows, cell_types"),
        ("labels", {"methods": ["paper", "paper"]}, "labels.methods: has paper more than once"),
        ("models", {"a/b": {"train": [{"pannuke": [1]}]}}, "models.a/b: use letters, digits"),
        ("models", {"m": {"train": []}}, "models.m.train: must not be empty"),
        ("models", {"m": {"train": [None]}}, "models.m.train[0]: must be a block of settings, not null"),
        ("models", {"m": {"train": [5]}}, "models.m.train[0]: must be a block of settings, not 5"),
        ("models", {"m": {"train": [{"pannuke": [1], "labels": "paper"}]}}, "models.m.train[0].labels: unknown key"),
        ("models", {"m": {"train": [{"samples": "trian", "labels": "paper"}]}}, "models.m.train[0].samples: "),
    ],
)
def test_a_wrong_value_is_one_sentence(config, block, content, words):
    config[block] = content if not isinstance(content, dict) or block == "models" else {**config[block], **content}
    text = problems(config)
    assert words in text and "1 problem(s)" in text
    assert "pydantic" not in text


def test_other_readings_of_the_papers_labels_are_accepted(config):
    config["labels"]["paper"] |= {"cancer_set": "REC2", "count": "cell_types", "max_list_size": 100}
    assert check_config(config)["labels"]["paper"]["max_list_size"] == 100


def test_label_settings_are_the_methods_own_arguments():
    """A label method's keywords and defaults are the fields of its model."""
    from stnuclei.labels.registry import _SETTINGS, find_method

    for name, field in LabelsBlock.model_fields.items():
        if name == "methods":
            continue
        method = find_method(name)
        if name in _SETTINGS:
            assert _SETTINGS[name] is type(field.default), name
        else:
            parameters = list(inspect.signature(method).parameters.values())[2:]
            assert {p.name: p.default for p in parameters} == dict(field.default), name


def test_numbers_written_as_yaml_reads_them():
    settings = TrainSettings.from_dict(yaml.safe_load("{learning_rate: 3e-4, betas: [0.9, 0.99]}"))
    assert settings.learning_rate == 3e-4 and settings.betas == (0.9, 0.99)
    assert TrainSettings.from_dict(settings.to_dict()) == settings


def test_settings_cannot_be_changed_but_copied():
    settings = TrainSettings()
    assert settings.replace(epochs=3).epochs == 3 and settings.epochs == 130
    with pytest.raises(UserError, match=r"training.epochs: must be at least 1, not 0"):
        settings.replace(epochs=0)
    with pytest.raises(UserError, match=r"augmentation.blr: unknown key; did you mean 'blur'\?"):
        AugmentSettings.of({"blr": 1})


def test_defaults_lie_under_a_config_but_models_replace(config):
    before = copy.deepcopy(config)
    own = {"patches": {"stride": 128}, "models": {"mine": {"train": []}}}
    merged = with_defaults(own, config)
    assert merged["patches"] == {**before["patches"], "stride": 128}
    assert list(merged["models"]) == ["mine"]
    assert config == before


def test_reading_settings_imports_nothing_heavy():
    code = (
        "import sys; from stnuclei.config import Configuration, check_config; check_config({});"
        "print([name for name in ('torch', 'geopandas', 'pandas', 'spatialdata') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_of_settings_is_written_from_the_models():
    from stnuclei.config.reference import settings_page

    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == settings_page(), "write it anew: python -m stnuclei.config.reference > docs/settings.md"
    for row in ("| `epochs` | whole number >= 1 | `130` |", "| `border` | `keep`, `drop` | `keep` |"):
        assert row in page


def test_blocks_fit_the_functions_that_the_rules_give_them_to():
    from stnuclei.config import ExpressionSettings, SlideSettings
    from stnuclei.config.expression import ScoreSettings
    from stnuclei.prediction import predict_patches

    config = check_config({})
    assert TrainSettings.from_dict({**config["training"], "seed": 3}) == TrainSettings(seed=3)
    expression = {**config["expression"]["training"], "min_counts": config["expression"]["min_counts"], "seed": 3}
    assert ExpressionSettings.from_dict(expression) == ExpressionSettings(seed=3)
    engine = {key: value for key, value in config["segmentation"].items() if key in SlideSettings.model_fields}
    assert SlideSettings(**engine) == SlideSettings()
    assert ScoreSettings(**config["expression"]["scores"]) == ScoreSettings()
    assert inspect.signature(predict_patches).parameters["batch_size"].default == config["prediction"]["batch_size"]
    assert ClusteringBlock(**config["clustering"]) == ClusteringBlock()
