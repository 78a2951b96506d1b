"""The paper's configuration run to its end on simulated data, with made-up weights under the right names."""

import shutil

import pandas as pd
import pytest
import yaml

from paper_data import PAPER, write_paper_data
from paths import ROOT
from runner import Workflow, count

#: Enough for every table and both figures; `make test-paper` runs all models and label methods.
FEW_MODELS = ("paper", "pannuke_123", "mixed")
FEW_METHODS = ("paper",)
TABLES = ("table1", "table2", "table3", "pannuke", "pannuke_tissues", "organs", "sizes", "classes", "calibration")


def configured(folder, everything):
    """Write the paper's configuration into a folder of simulated data; gives the arguments that name it."""
    write_paper_data(folder)
    config = yaml.safe_load((PAPER / "config.yaml").read_text())
    if not everything:
        config["models"] = {name: config["models"][name] for name in FEW_MODELS}
        config["labels"]["methods"] = list(FEW_METHODS)
    (folder / "config" / "paper" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    shutil.copy(ROOT / "tests" / "configs" / "paper_small.yaml", folder)
    return config, ("--configfile", "config/paper/config.yaml", "paper_small.yaml")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, marks=pytest.mark.dag, id="three models"),
        pytest.param(True, marks=pytest.mark.slow_dag, id="all models"),
    ],
)
def paper(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    config, named = configured(folder, everything=request.param)
    planned = Workflow(folder).run("-n", "--cores", "1", *named).text
    done = Workflow(folder, fork_scripts=True).run("--cores", "2", *named).text
    return folder / "results_paper", config, planned, done


def table(results, name):
    return pd.read_csv(results / "tables" / f"{name}.tsv", sep="\t")


def test_every_model_is_trained_from_the_made_up_weights(paper):
    results, config, planned, done = paper
    assert count(planned, "train_model") == len(config["models"])
    for model in config["models"]:
        log = (results / "logs" / "train_model" / f"{model}.log").read_text()
        assert "weights/vit256_small_dino.pth" in log and "random start" not in log, model
        assert (results / "models" / model / "checkpoint.pt").is_file()
        assert len(pd.read_csv(results / "models" / model / "history.csv")) == 2


def test_the_permitted_donor_stands_below_every_table(paper):
    results, _, _, done = paper
    assert "NCBI785, breast_rep1" in done
    for name in TABLES:
        # Calibration counts matched nuclei; networks of two epochs may have none.
        assert len(table(results, name)) or name == "calibration", name
        assert "NCBI785" in (results / "tables" / f"{name}.md").read_text(), name


def test_tables_have_a_row_for_every_model_and_data_set(paper):
    results, config, _, _ = paper
    names = {entry.get("run_of", name) for name, entry in config["models"].items()}
    for name in ("table2", "table3"):
        rows = table(results, name)
        assert names <= set(rows["model"]) and set(rows["policy"]) == {"official", "corrected"}, name
    assert set(table(results, "pannuke")["model"]) == {"pannuke", "mixed"}
    assert {"train", "seg_eval", "cls_eval"} <= set(table(results, "table1")["split"])


def test_figures_and_report_are_there(paper):
    results, config, _, _ = paper
    for name in ("figure2", "figure3", "pq", "augmentation"):
        assert (results / "figures" / f"{name}.png").stat().st_size > 1000
    page = (results / "report.html").read_text()
    assert all(model in page for model in config["models"])
    scores = pd.read_csv(results / "samples" / "breast_rep1" / "label_scores.tsv", sep="\t")
    assert set(config["labels"]["methods"]) <= set(scores["method"])
