"""Jobs that run again after a change of settings or samples: those the change can reach, and no others."""

import re
import shutil

import pytest
import yaml

from paths import ROOT
from runner import Workflow

#: A script that makes what its rule says and reads nothing, so that a whole run takes seconds.
STUB = """
import pathlib
for path in map(pathlib.Path, snakemake.output):
    if path.suffix == ".zarr":
        path.mkdir(parents=True)
        path = path / "zarr.json"
    path.write_text("")
"""
TABLE = "sample\tplatform\tpath\ttissue\tsplit\tdonor\tdisease\na\txenium\tdata/a\tBreast\ttrain\td1\t{}\n"
TARGETS = ("patches", "labels", "--cores", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The real rules with stub scripts, run to the end for one sample."""
    root = tmp_path_factory.mktemp("rerun")
    shutil.copy(ROOT / "Snakefile", root / "Snakefile")
    shutil.copytree(ROOT / "workflow" / "rules", root / "workflow" / "rules")
    for name in ("envs", "resources", "workflow/report"):
        (root / name).symlink_to(ROOT / name)
    scripts = root / "workflow" / "scripts"
    scripts.mkdir()
    (scripts / "stnuclei").symlink_to(ROOT / "workflow" / "scripts" / "stnuclei")
    for script in (ROOT / "workflow" / "scripts").glob("*.py"):
        (scripts / script.name).write_text(STUB)
    (root / "data" / "a").mkdir(parents=True)
    (root / "config").mkdir()
    shutil.copy(ROOT / "config" / "config.yaml", root / "config" / "config.yaml")
    (root / "config" / "samples.tsv").write_text(TABLE.format("normal"))
    workflow = Workflow(root, root / "Snakefile")
    workflow.run(*TARGETS)
    assert rerun(workflow) == {}
    return workflow


def rerun(workflow, *more: str) -> dict[str, int]:
    """Rule -> number of jobs a dry run lists."""
    text = workflow.run(*TARGETS, "-n", "--quiet", "rules", *more).text
    jobs = {name: int(number) for name, number in re.findall(r"^(\w+)\s+(\d+)$", text, flags=re.MULTILINE)}
    return {name: number for name, number in jobs.items() if name not in ("total", "labels", "patches")}


def test_a_changed_disease_labels_anew_and_cuts_nothing(finished):
    table = finished.folder / "config" / "samples.tsv"
    table.write_text(TABLE.format("cancer"))
    try:
        assert rerun(finished) == {"label_cells": 2, "compare_labels": 1}
    finally:
        table.write_text(TABLE.format("normal"))


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"labels": {"paper": {"min_votes": 4}}}, {"label_cells": 1, "compare_labels": 1}),
        ({"patches": {"stride": 128}}, {"cut_patches": 1}),
        ({"tissue": {"um_per_px": 4.0}}, {"find_tissue": 1, "check_alignment": 1, "cut_patches": 1}),
        ({"evaluation": {"bootstrap": 10}, "training": {"epochs": 3}}, {}),
    ],
)
def test_a_changed_setting_runs_what_it_reaches(finished, change, jobs):
    path = finished.folder / "change.yaml"
    path.write_text(yaml.safe_dump(change))
    assert rerun(finished, "--configfile", str(path)) == jobs
