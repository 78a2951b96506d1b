"""What the workflow says before any job: with no data, with a wrong configuration, with files missing."""

import shutil

import yaml

from paths import ROOT
from runner import Workflow, count
from stnuclei.files import locked


def test_dry_run_lists_the_jobs_of_each_sample_where_there_are_no_data(workflow):
    text = workflow.run("-n", "--cores", "2").text
    for rule in ("read_sample", "find_tissue", "check_alignment", "cluster_cells", "cut_patches"):
        assert count(text, rule) == 2, rule
    assert count(text, "label_cells") == 4
    assert count(text, "train_model") == 1
    assert "Traceback" not in text
    assert len(text.splitlines()) < 60
    assert "6 file(s) are missing or not whole; a real run stops before its first job:" in text
    assert "sample my_breast, column path: data/my_breast is not there" in text


def test_unlock_works_where_there_are_no_data(workflow):
    workflow.run("--unlock", "--cores", "1")


def test_a_wrong_key_is_told_with_the_nearest_and_without_a_traceback(workflow):
    path = workflow.folder / "wrong.yaml"
    path.write_text(yaml.safe_dump({"clustering": {"resolutoin": 3}, "patchs": {}}))
    text = workflow.refusal("-n", "--cores", "1", "--configfile", str(path))
    assert "clustering.resolutoin: unknown key; did you mean 'resolution'?" in text
    assert "patchs: unknown key; did you mean 'patches'?" in text


def test_files_of_models_and_the_taxonomy_are_looked_at_before_the_first_job(workflow):
    (workflow.folder / "torso.pt").write_bytes(b"PK\3\4" + bytes(100))
    wrong = {"training": {"encoder_weights": "torso.pt", "teacher": "none.pt"}}
    wrong["segmentation"] = {"checkpoints": {"other": "torso.pt"}}
    path = workflow.folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    text = workflow.run("-n", "--cores", "1", "--configfile", str(path)).text
    assert "training.encoder_weights: torso.pt is no whole file of weights (104 bytes)" in text
    assert "models.st.training.teacher: none.pt is not there" in text
    assert "segmentation.checkpoints.other: torso.pt is no whole file of weights" in text
    assert not (workflow.folder / "results").exists()
    path.write_text(yaml.safe_dump({"taxonomy": "panuke"}))
    run = workflow.run("-n", "--cores", "1", "--configfile", str(path), check=False)
    assert run.code != 0 and "taxonomy 'panuke' is not shipped; did you mean 'pannuke'?" in run.text


def test_two_runs_do_not_share_a_results_folder(workflow, tmp_path):
    other = Workflow(tmp_path / "other")
    shutil.copytree(workflow.folder / "config", other.folder / "config")
    results = (
        "--config",
        f"results={tmp_path / 'results'}",
        "--cores",
        "1",
        str(tmp_path / "results" / "weights" / "v.pth"),
    )
    (tmp_path / "v.pth").write_bytes(b"weights")
    path = tmp_path / "w.yaml"
    path.write_text(yaml.safe_dump({"training": {"encoder_weights": (tmp_path / "v.pth").as_uri()}}))
    with locked(tmp_path / "results", ".lock"):  # what a run holds until it ends
        run = other.run(*results, "--configfile", str(path), check=False)
    assert run.code != 0 and "results: another process (" in run.text and "Traceback" not in run.text
    assert not (tmp_path / "results" / "weights").exists()
    other.run(*results, "--configfile", str(path), fresh=True)
    assert not (tmp_path / "results" / ".lock").exists()


def test_a_wrong_samples_table_is_told_whole_and_without_a_traceback(workflow):
    table = workflow.folder / "config" / "samples.tsv"
    table.write_text("sample\tplatform\tpath\ttissue\tsplit\na\txenum\td\tBreast\ttrain\nb\txenium\t\tBraest\tvalid\n")
    text = workflow.refusal("-n", "--cores", "1")
    for part in (
        "'xenum' is none of",
        "sample b, column path: is empty",
        "'valid' is none of",
        "did you mean 'Breast'?",
    ):
        assert part in text


def test_all_missing_files_are_told_before_the_first_job(workflow):
    text = workflow.refusal("--cores", "1")
    for sample in ("my_breast", "my_colon"):
        assert f"sample {sample}, column path: data/{sample} is not there" in text
        assert f"sample {sample}, column he_image" in text
    assert not (workflow.folder / "results" / "samples").exists()


def test_a_held_out_organ_cannot_be_trained_on(workflow):
    table = workflow.folder / "config" / "samples.tsv"
    table.write_text("sample\tplatform\tpath\ttissue\tsplit\na\txenium\td\tSkin\ttrain\nb\txenium\td\tSkin\tseg_eval\n")
    text = workflow.refusal("-n", "--cores", "1")
    assert "seg_eval takes organs never trained on, but Skin is in train or val" in text


def test_the_papers_own_run_is_shown_whole_without_its_data(workflow):
    """59 slides of HEST-1k and the annotated one, seven label methods, eleven trainings, all tables, the report."""
    folder = workflow.folder / "config" / "paper"
    folder.mkdir()
    for name in ("config.yaml", "samples.tsv"):
        (folder / name).write_text((ROOT / "config" / "paper" / name).read_text())
    text = workflow.run("-n", "--cores", "2", "--configfile", "config/paper/config.yaml").text
    wanted = {"read_sample": 60, "label_cells": 60 * 7, "cut_patches": 60, "import_pannuke": 3, "train_model": 11}
    wanted |= {"predict_patches": 11 * 9 + 4, "score_classification": 11 + 4, "score_segmentation": 11 * 9 + 4}
    wanted |= dict.fromkeys(("write_table1", "write_table2", "write_table3", "write_pannuke_tables"), 1)
    wanted |= {"write_breakdowns": 1, "draw_figure2": 1, "draw_figure3": 1, "write_report": 1}
    assert {rule: count(text, rule) for rule in wanted} == wanted
    assert "NCBI784, NCBI785, breast_rep1" in text  # the permitted donor is told
    refused = workflow.refusal("train", "--cores", "2", "--configfile", "config/paper/config.yaml")
    assert "training.encoder_weights: weights/vit256_small_dino.pth is not there; it is 704 MB, from" in refused
    assert "pannuke.path: pannuke is not there" in refused and "sample NCBI783, column path: hest_data" in refused


def test_some_tissues_of_pannuke_are_a_patch_set_of_their_own(workflow):
    folds = [{"pannuke": [1], "tissues": ["Colon", "Breast"]}]
    models = {"m": {"train": folds, "validation": [{"pannuke": [2], "tissues": ["Breast"]}]}}
    path = workflow.folder / "tissues.yaml"
    path.write_text(yaml.safe_dump({"models": models, "pannuke": {"path": "pannuke"}}))
    plan = ("-n", "--cores", "1", "--configfile", str(path))
    assert count(workflow.run(*plan).text, "import_pannuke") == 5  # three folds, and two sets of tissues
    sets = ("pannuke_1_breast_colon/patches.zarr", "pannuke_2_breast/labels/manual.parquet")
    assert count(workflow.run(*(f"results/samples/{path}" for path in sets), *plan).text, "import_pannuke") == 2


def test_a_teacher_is_trained_before_its_student(workflow):
    train = [{"pannuke": [1]}]
    models = {"big": {"train": train}, "small": {"train": train, "training": {"teacher": "big"}}}
    models["small"]["training"]["architecture"] = "cellvit-light"
    path = workflow.folder / "teacher.yaml"
    path.write_text(yaml.safe_dump({"models": models, "pannuke": {"path": "pannuke"}}))
    plan = ("-n", "--cores", "1", "--configfile", str(path))
    assert count(workflow.run("results/models/small/checkpoint.pt", *plan).text, "train_model") == 2
    assert count(workflow.run("results/models/big/checkpoint.pt", *plan).text, "train_model") == 1


def test_a_model_that_learns_from_a_scored_slide_is_refused(workflow):
    path = workflow.folder / "leak.yaml"
    models = {"m": {"train": [{"samples": ["my_breast"], "labels": "paper"}], "validation": [{"pannuke": [1]}]}}
    models["p"] = {"train": [{"pannuke": [1]}], "test": [{"pannuke": [1]}]}
    path.write_text(yaml.safe_dump({"models": models, "pannuke": {"path": "pannuke"}}))
    table = workflow.folder / "config" / "samples.tsv"
    text = table.read_text().replace("\ttrain\t", "\tseg_eval\t")
    table.write_text(text)
    refused = workflow.refusal("-n", "--cores", "1", "--configfile", str(path))
    assert "models.m.train: my_breast is a slide of split seg_eval, which no model may learn from" in refused
    assert "models.p: PanNuke's fold 1 is in train and in test" in refused


def test_seeds_become_trainings(workflow):
    path = workflow.folder / "seeds.yaml"
    path.write_text(
        yaml.safe_dump({"models": {"st": {"train": [{"samples": "train", "labels": "paper"}], "seeds": [1, 2]}}})
    )
    text = workflow.run("-n", "--cores", "1", "--configfile", str(path)).text
    assert count(text, "train_model") == 2
    assert "training model st-seed2" in text


def test_own_labels_that_no_sample_brings_are_a_warning_of_the_dry_run(workflow):
    path = workflow.folder / "own.yaml"
    path.write_text(yaml.safe_dump({"labels": {"methods": ["stnuclei", "own"]}}))
    text = workflow.run("-n", "--cores", "1", "--configfile", str(path)).text
    assert "Warning: labels.methods: own takes the samples table's column labels, which is empty for every" in text
    table = workflow.folder / "config" / "samples.tsv"
    header, *rows = table.read_text().splitlines()
    rows = [f"{row}\tlabels.csv" for row in rows if row and not row.startswith("#")]
    table.write_text("\n".join([f"{header}\tlabels", *rows]) + "\n")
    text = workflow.run("-n", "--cores", "1", "--configfile", str(path)).text
    assert "labels.methods: own takes" not in text and "column labels: labels.csv is not there" in text
