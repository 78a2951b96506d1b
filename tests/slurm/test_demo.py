"""The small demo on Slurm, from the simulated slides to the tables."""

import json
import re

import pandas as pd
import pytest

from runner import Workflow

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("demo")]


def submitted(demo, rule: str) -> list[str]:
    """The sbatch calls of a rule's jobs."""
    text = (demo / "run.txt").read_text()
    return [line for line in text.splitlines() if "sbatch call: sbatch" in line and f"--comment rule_{rule}" in line]


def test_every_stage_is_there(demo):
    assert len(pd.read_csv(demo / "results" / "tables" / "table1.tsv", sep="\t")) > 0
    for model in ("one", "two"):
        assert (demo / "results" / "models" / model / "checkpoint.pt").stat().st_size > 0
    assert not list((demo / "results").rglob(".partial-*"))


def test_jobs_ask_for_what_the_rules_and_the_profile_say(demo):
    (one,) = [call for call in submitted(demo, "train_model") if "wildcards_one" in call]
    assert "-p gpu " in one and "--gpus=1" in one and "--mem 8000" in one and "-t 1440" in one
    assert re.search(r"--cpus-per-task=1\b", one)
    assert "--gpus" not in submitted(demo, "cluster_cells")[0]
    assert "-p cpu" in submitted(demo, "cluster_cells")[0]


def test_two_processes_train_as_one_job(demo):
    (two,) = [call for call in submitted(demo, "train_model") if "wildcards_two" in call]
    assert "--gpus=2" in two
    log = (demo / "results" / "logs" / "train_model" / "two.log").read_text()
    assert "2 process(es)" in log and "training: done" in log


def test_rules_of_one_size_go_as_arrays(demo):
    (call,) = submitted(demo, "simulate_sample")
    text = (demo / "run.txt").read_text()
    assert re.search(r"Submitted array job with Snakemake IDs \d+,\d+ and SLURM job ID", text), call


def test_one_core_without_slurm_gives_the_same_labels_and_patches(demo, tmp_path):
    for name in ("slurm.yaml", "slurm.tsv"):
        (tmp_path / name).write_text((demo / name).read_text())
    described = [f"results/samples/{name}/provenance.json" for name in ("breast", "kidney", "pannuke_1")]
    Workflow(tmp_path).run(*described, "--cores", "1", "--configfile", "slurm.yaml")
    for path in described:
        one, other = (json.loads((folder / path).read_text()) for folder in (demo, tmp_path))
        assert len(one["content"]) == 2 and len(one["content"]["patches.zarr"]) == 8
        assert one["content"] == other["content"], path
