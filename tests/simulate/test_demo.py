"""The slides and folds of config/demo, made small."""

import json

import yaml

from paths import ROOT
from stnuclei.simulate import simulate_pannuke, simulate_sample


def test_demo_has_its_slides_its_folds_and_the_truth_apart(tmp_path):
    made = yaml.safe_load((ROOT / "config" / "demo" / "config.yaml").read_text())["simulate"]
    samples = made["samples"]
    for name, settings in samples.items():
        width, height = settings["size_um"]
        simulate_sample(tmp_path / name, **(settings | {"size_um": (0.28 * width, 0.28 * height)}))
    folds = simulate_pannuke(tmp_path / "pannuke", 1, **(made["pannuke"] | {"patches_per_fold": 1, "folds": 1}))
    assert folds == {"fold1": 1}
    assert {entry.name for entry in tmp_path.iterdir()} == {*samples, "pannuke", "truth"}
    versions = {
        name: json.loads((tmp_path / name / "experiment.xenium").read_text())["analysis_sw_version"] for name in samples
    }
    assert len(set(versions.values())) == 2  # both layouts are shown
    assert [name for name in samples if (tmp_path / name / "annotation.csv").exists()] == ["breast_annotated"]
    assert (tmp_path / "pannuke" / "fold_1" / "masks" / "fold1" / "masks.npz").exists()
    assert not any("truth" in path.name for name in samples for path in (tmp_path / name).rglob("*"))
