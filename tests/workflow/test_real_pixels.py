"""The whole DAG on real H&E pixels and count profiles (tests/data) and a simulated slide, with a short training."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import spatialdata
import spatialdata_io
import torch
import yaml

from paths import ROOT
from real_pixels import make_bundle
from reporting.browser import Browser, find
from reporting.test_browser import SHOWN, check
from runner import Workflow, count
from stnuclei.cellvit import load_checkpoint, load_classifier
from stnuclei.classifiers import TokenStore
from stnuclei.io import open_sample
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.patches import PatchStore, PredictionStore
from stnuclei.taxonomy import Taxonomy

sys.path.append(str(ROOT / "tests" / "io"))
import bundle
import hest_bundle

pytestmark = pytest.mark.dag
#: Slides of real pixels, and their patches in eight orientations each: as many as the tests below need.
SLIDES = {"nucls": 10, "nucls_held_out": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run the workflow once; tests below look at what it left; jobs they start are in forks where that is said."""
    folder = tmp_path_factory.mktemp("real_pixels")
    for name, patches in SLIDES.items():
        make_bundle(folder / "data" / name, name, patches=patches)
    for name in ("real_pixels.tsv", "real_pixels.yaml"):
        shutil.copy(ROOT / "tests" / "configs" / name, folder / name)
    Workflow(folder, fork_scripts=True).run("--cores", "2", "--configfile", "real_pixels.yaml")
    return Workflow(folder)


def dry(workflow: Workflow) -> str:
    return workflow.run("-n", "--cores", "2", "--configfile", "real_pixels.yaml").text


def test_every_stage_left_its_outputs(finished):
    results = finished.folder / "results"
    for sample in ("nucls", "kidney", "nucls_held_out"):
        for name in ("alignment.png", "tissue.png", "labels.png", "labels/paper.evidence.tsv", "patches.png"):
            assert (results / "samples" / sample / name).stat().st_size > 0, (sample, name)
        assert json.loads((results / "samples" / sample / "alignment.json").read_text())["passed"]
    for model in ("st", "pannuke"):
        for name in ("checkpoint.pt", "history.csv", "curves.png"):
            assert (results / "models" / model / name).stat().st_size > 0
    for number in (1, 2, 3):
        table = pd.read_csv(results / "tables" / f"table{number}.tsv", sep="\t")
        assert len(table) > 0
    assert not list(results.rglob("*.partial-*"))


def test_scores_are_taken_apart_and_what_is_let_pass_is_said(finished):
    tables = finished.folder / "results" / "tables"
    organs = pd.read_csv(tables / "organs.tsv", sep="\t")
    assert set(organs["organ"]) == {"Kidney", "Breast"}  # the held-out slide, and the annotated one
    classes = pd.read_csv(tables / "classes.tsv", sep="\t")
    assert set(classes["sample"]) == {"nucls_held_out", "pannuke_3"}
    assert classes["pq"].notna().any()
    assert pd.read_csv(tables / "pannuke.tsv", sep="\t")["model"].tolist() == ["pannuke", "pannuke"]
    assert pd.read_csv(tables / "sizes.tsv", sep="\t")["true"].min() > 0
    for name in ("table2", "organs", "pannuke"):
        assert "evaluation.allow_pannuke_organs permits it" in (tables / f"{name}.md").read_text()


@pytest.mark.skipif(find() is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_has_a_page_of_everything_and_none_is_broken(finished, tmp_path, width):
    with Browser(tmp_path) as browser:
        for place in ("index", "samples--nucls", "models--st", "models--pannuke"):
            browser.open(f"file://{finished.folder}/results/report.html#{place}", width)
            assert browser.run(SHOWN) == [place]
            check(browser, place)
            assert browser.run("[...document.images].filter(i => i.offsetParent).length") >= 3


def test_nuclei_in_are_nuclei_in_patches(finished):
    for name in ("nucls", "kidney"):
        folder = finished.folder / "results" / "samples" / name
        nuclei = open_sample(folder / "sample.zarr").nuclei
        store = PatchStore(folder / "patches.zarr")
        placed = np.unique(store.nucleus_index)
        lost = store.attrs["counts"]
        print(name, "nuclei in", len(nuclei), "in patches", len(placed), lost)
        assert len(placed) >= 0.99 * len(nuclei)


def test_labels_agree_with_the_classes_the_counts_were_drawn_by(finished):
    truth = pd.read_csv(finished.folder / "data" / "nucls" / "annotation.csv").set_index("cell_id")["label"]
    known = truth[truth != "Unknown"]
    floor = {"stnuclei": 0.7, "paper": 0.6}
    for method, least in floor.items():
        labels = pd.read_parquet(finished.folder / "results/samples/nucls/labels" / f"{method}.parquet")
        accuracy = (labels.set_index("cell_id")["label"].reindex(known.index) == known).mean()
        print(method, "accuracy on nucls", round(accuracy, 3))
        assert accuracy > least


def test_the_loss_falls(finished):
    for model in ("st", "pannuke"):
        history = pd.read_csv(finished.folder / "results" / "models" / model / "history.csv")
        loss = history["train_loss"].to_numpy()
        print(model, "loss by epoch", np.round(loss, 3))
        assert loss[-1] < 0.97 * loss[0]


def test_two_processes_train_the_model_of_one(finished):
    """The rule itself, through torchrun: two processes with 4 patches each against one with 8."""
    content = yaml.safe_load((finished.folder / "real_pixels.yaml").read_text())
    # Dropout and augmentation are drawn by process, so they are off where equality is looked for.
    content["training"] |= {"epochs": 1, "samples_per_epoch": 16, "augmentation": "none", "crop_px": None}
    content["training"] |= {"attention_drop": 0.0, "drop_path": 0.0, "sync_batchnorm": True, "sync_losses": True}
    parts = {name: content["models"]["st"][name] for name in ("train", "validation")}
    ways = {"one": {"processes": 1}, "two": {"processes": 2}}
    content["models"] = {name: {**parts, "training": way} for name, way in ways.items()}
    content["classifiers"] = {}
    (finished.folder / "ways.yaml").write_text(yaml.safe_dump(content))
    made = [f"results/models/{name}/checkpoint.pt" for name in ways]
    # Training also depends on what the workflow wrote before; only the models are made here.
    forked = Workflow(finished.folder, fork_scripts=True)  # torchrun starts interpreters of its own
    forked.run(*made, "--cores", "2", "--configfile", "ways.yaml", "--rerun-triggers", "mtime")
    one, two = (load_checkpoint(finished.folder / path)[0].state_dict() for path in made)
    for name, value in one.items():
        # A bias before BatchNorm has no gradient but rounding, of which Adam makes whole steps: 4 x 2 x 3e-4.
        assert torch.allclose(value, two[name], rtol=1e-2, atol=4e-3), name
    rows = [pd.read_csv(finished.folder / f"results/models/{name}/history.csv").iloc[-1] for name in ways]
    for score in ("train_loss", "val_loss"):
        assert rows[0][score] == pytest.approx(rows[1][score], rel=1e-3), score
    log = (finished.folder / "results/logs/train_model/two.log").read_text()
    assert "2 process(es) x 1 part(s) of 4" in log


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in dry(finished)


def test_deleting_one_output_reruns_only_what_depends_on_it(finished):
    labels = finished.folder / "results/samples/kidney/labels/paper.parquet"
    kept = labels.read_bytes()
    labels.unlink()
    try:
        text = dry(finished)
    finally:
        labels.write_bytes(kept)
    for rule in ("read_sample", "cluster_cells", "cut_patches", "train_model", "predict_patches"):
        assert count(text, rule) == 0, rule
    assert count(text, "label_cells") == 1
    assert count(text, "compare_labels") == 1


#: Labels and patches of a sample.
STAGES = ("labels/stnuclei.parquet", "labels/paper.parquet", "patches.zarr")


def assert_same_content(folder, expected) -> None:
    """Labels by value, patches by their arrays."""
    for name in STAGES[:2]:
        pd.testing.assert_frame_equal(pd.read_parquet(folder / name), pd.read_parquet(expected / name))
    again, first = (PatchStore(path / "patches.zarr") for path in (folder, expected))
    assert len(again) == len(first) > 0
    for name in ("image", "instances", "origin", "offset", "cell_index", "nucleus_index", "centroid"):
        assert np.array_equal(getattr(again, name)[:], getattr(first, name)[:]), name


def test_a_killed_run_goes_on_with_one_core_to_the_same_labels_and_patches(finished, tmp_path):
    other = {**yaml.safe_load((finished.folder / "real_pixels.yaml").read_text()), "results": str(tmp_path / "results")}
    (finished.folder / "killed.yaml").write_text(yaml.safe_dump(other))
    sample = tmp_path / "results" / "samples" / "nucls"
    options = [*(str(sample / name) for name in STAGES), "--configfile", "killed.yaml", "--nolock"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *options]
    running = subprocess.Popen(
        command, cwd=finished.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(sample.glob(".partial-*")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (sample / "patches.zarr").exists()
    Workflow(finished.folder, fork_scripts=True).run(*options, "--cores", "1")
    assert_same_content(sample, finished.folder / "results" / "samples" / "nucls")


@pytest.fixture(scope="module")
def other_platforms(finished):
    """The simulated slide from a SpatialData store of it, up to patches; and a sample of HEST-1k, read."""
    folder = finished.folder
    spatialdata_io.xenium(folder / "simulated" / "kidney").write(folder / "kidney.zarr")
    hest_bundle.make_hest(folder / "hest")
    table = pd.read_csv(folder / "real_pixels.tsv", sep="\t")
    rows = [{"sample": "store", "platform": "spatialdata", "path": "kidney.zarr", "tissue": "Kidney", "donor": "b"}]
    rows += [{"sample": "hest", "platform": "hest", "path": "hest", "tissue": "Colon", "donor": "d"}]
    rows = pd.DataFrame(rows).assign(split="seg_eval", disease="cancer")
    rows["nuclei_element"] = ["nucleus_boundaries", None]
    pd.concat([table, rows]).to_csv(folder / "platforms.tsv", sep="\t", index=False)
    config = yaml.safe_load((folder / "real_pixels.yaml").read_text()) | {"samples": "platforms.tsv"}
    (folder / "platforms.yaml").write_text(yaml.safe_dump(config))
    targets = [*(f"results/samples/store/{name}" for name in STAGES), "results/samples/hest/sample.zarr"]
    options = ("--cores", "2", "--configfile", "platforms.yaml", "--rerun-triggers", "mtime")
    Workflow(folder, fork_scripts=True).run(*targets, *options)
    return folder / "results" / "samples"


def test_a_spatialdata_store_gives_what_the_raw_folder_gives(other_platforms):
    assert_same_content(other_platforms / "store", other_platforms / "kidney")
    assert len(pd.read_parquet(other_platforms / "store" / "labels" / "stnuclei.parquet")) > 400


def test_a_sample_of_hest_is_read(other_platforms):
    sample = open_sample(other_platforms / "hest" / "sample.zarr")
    assert len(sample.nuclei) == bundle.N_CELLS - 2 and sample.um_per_px == bundle.HE_UM


def test_a_classifier_of_another_taxonomy_has_tokens_rows_page_and_card(finished):
    results = finished.folder / "results"
    store = TokenStore(results / "models" / "st" / "tokens" / "nucls.run.box.zarr")
    patches = PatchStore(results / "samples" / "nucls" / "patches.zarr")
    assert len(store) == len(patches.cell_index) and store.dim == 96
    classifier = load_classifier(results / "models" / "fine" / "classifier.pt")
    assert "T cell" in classifier.names and classifier.provenance["train"] == [["nucls", "stnuclei"]]
    # Scored in the configuration's classes, to which its own add up; with its cost below the table.
    for number in (2, 3):
        assert "fine" in set(pd.read_csv(results / "tables" / f"table{number}.tsv", sep="\t")["model"])
        note = (results / "tables" / f"table{number}.md").read_text()
        assert f"fine, tokens of {len(patches):,} patches" in note and "s on CPU (" in note
    predictions = PredictionStore(results / "models" / "fine" / "predictions" / "nucls_held_out.zarr")
    assert predictions.classes[1:] == list(Taxonomy.load("pannuke").names)
    row = pd.read_csv(results / "tables" / "classifiers.tsv", sep="\t").iloc[0]
    assert row["tokens_of"] == "st" and row["nuclei"] > 500 and row["device"] == "cpu"
    assert "| taxonomy | tissue11 |" in (results / "models" / "fine" / "README.md").read_text()
    assert 'id="models--fine"' in (results / "report.html").read_text()


def test_a_slide_is_segmented_by_a_classifier(finished):
    content = yaml.safe_load((finished.folder / "real_pixels.yaml").read_text())
    content |= {"slides_table": "classified.tsv", "segmentation": {"embeddings": True, "copy_image": False}}
    (finished.folder / "classified.yaml").write_text(yaml.safe_dump(content))
    (finished.folder / "classified.tsv").write_text("slide\tpath\tsample\tmodel\nheld_out\t\tnucls_held_out\tfine\n")
    folder = finished.folder / "results" / "slides" / "held_out" / "fine"
    made = [str(folder.relative_to(finished.folder) / name) for name in ("summary.tsv", "slide.zarr")]
    finished.run(*made, "--cores", "2", "--configfile", "classified.yaml", "--rerun-triggers", "mtime")
    nuclei = NucleiFile(folder)
    names = Taxonomy.load("tissue11").names
    assert nuclei.classes == ["Background", *names] and set(nuclei.read()["class"]) <= set(names)
    # This network has learned for moments. Where it finds no nucleus the store has no table.
    store = spatialdata.read_zarr(folder / "slide.zarr")
    assert not len(nuclei) or store["table"].obsm["X_cellvit"].shape == (len(nuclei), 96)
