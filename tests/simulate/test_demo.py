"""The whole demo in one call."""

import json

from stnuclei.simulate import DEMO_SAMPLES, simulate_demo


def test_demo_has_its_slides_its_folds_and_the_truth_apart(tmp_path):
    facts = simulate_demo(tmp_path, seed=1, size=0.28, pannuke={"patches_per_fold": 1, "folds": 1, "compressed": True})
    assert set(facts) == {*DEMO_SAMPLES, "pannuke"} and facts["pannuke"] == {"fold1": 1}
    assert {entry.name for entry in tmp_path.iterdir()} == {*DEMO_SAMPLES, "pannuke", "truth"}
    versions = {
        name: json.loads((tmp_path / name / "experiment.xenium").read_text())["analysis_sw_version"]
        for name in DEMO_SAMPLES
    }
    assert len(set(versions.values())) == 2  # both layouts are shown
    assert [name for name in DEMO_SAMPLES if (tmp_path / name / "annotation.csv").exists()] == ["breast_annotated"]
    assert (tmp_path / "pannuke" / "fold_1" / "masks" / "fold1" / "masks.npz").exists()
    assert not any("truth" in path.name for name in DEMO_SAMPLES for path in (tmp_path / name).rglob("*"))
