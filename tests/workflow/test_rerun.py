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
FAIL = """
if snakemake.wildcards.sample == "b":
    import sys

    sys.path.insert(0, snakemake.scriptdir)  # this checkout's package, whatever is installed
    from stnuclei.errors import UserError
    from stnuclei.joblog import job

    with job(snakemake.log[0]):
        print("overlap: 1/1 tiles (100 %)")
        raise UserError("b: nuclei lie beside nuclei")
"""
TABLE = "sample\tplatform\tpath\ttissue\tsplit\tdonor\tdisease\na\txenium\tdata/a\tBreast\ttrain\td1\t{}\n"
TARGETS = ("patches", "labels", "--cores", "1")
FAILING_FIRST = ("--prioritize", "results/samples/b/alignment.json")


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
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    rules = re.findall(r'"\.\./scripts/(\w+\.py)"', rules)
    for script in (ROOT / "workflow" / "scripts").glob("*.py"):
        run_by_a_rule = script.name in rules
        (scripts / script.name).write_text(STUB if run_by_a_rule else script.read_text())
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


@pytest.fixture
def failing(finished, tmp_path):
    """Two samples, of which `b` fails the check of its alignment."""
    root = tmp_path / "failing"
    shutil.copytree(finished.folder, root, symlinks=True, ignore=shutil.ignore_patterns(".snakemake", "results"))
    script = root / "workflow" / "scripts" / "check_alignment.py"
    script.write_text(FAIL + STUB)
    second = TABLE.format("normal").splitlines()[1].replace("a\t", "b\t", 1).replace("data/a", "data/b")
    (root / "config" / "samples.tsv").write_text(TABLE.format("normal") + second.replace("\td1\t", "\td2\t") + "\n")
    (root / "data" / "b").mkdir()
    models = {"m": {"train": [{"samples": ["a", "b"], "labels": "paper"}], "validation": []}}
    (root / "leave.yaml").write_text(yaml.safe_dump({"slides": {"on_failure": "leave_out"}, "models": models}))
    return Workflow(root, root / "Snakefile")


def test_one_command_leaves_a_failed_sample_out_and_trains_on_the_rest(failing):
    leave = ("--configfile", "leave.yaml")
    run = failing.run("train", "--cores", "1", *leave, fresh=True)
    assert "Sample b is left out from now on (results/samples/b/left_out.json" in run.text
    assert "Nothing else failed: the same command starts again without b." in run.text
    assert "Warning: sample b is left out, check_alignment failed: b: nuclei lie beside nuclei." in run.text
    assert (failing.folder / "results" / "models" / "m" / "checkpoint.pt").is_file(), run.text
    assert not (failing.folder / "results" / "samples" / "b" / "patches.zarr").exists()
    planned = failing.run("tables", "--cores", "1", "-n", "--verbose", *leave).text
    assert "samples/b/" not in planned
    # Without the setting, or with another row, the sample is tried again.
    assert "checking the alignment of b" in failing.run(*TARGETS, "-n").text
    table = failing.folder / "config" / "samples.tsv"
    table.write_text(table.read_text().replace("\td2\tnormal", "\td2\tcancer"))
    assert "checking the alignment of b" in failing.run(*TARGETS, "-n", *leave).text


def test_a_killed_job_leaves_no_sample_out_and_starts_nothing_again(failing):
    script = failing.folder / "workflow" / "scripts" / "check_alignment.py"
    killed = "import os, signal\n        os.kill(os.getpid(), signal.SIGKILL)"
    script.write_text(script.read_text().replace('raise UserError("b: nuclei lie beside nuclei")', killed))
    run = failing.run("train", "--cores", "1", "--configfile", "leave.yaml", *FAILING_FIRST, check=False)
    assert run.code != 0 and "starts again" not in run.text and "100 %" in run.text
    assert not (failing.folder / "results" / "samples" / "b" / "left_out.json").exists()
    assert (failing.folder / "results" / "samples" / "a" / "patches.zarr").is_dir()  # not stopped by the other


def test_nothing_starts_again_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "workflow" / "scripts"))
    from snakemake_restart import may_start_again

    log = tmp_path / "run.log"
    log.write_text("Error in rule read_sample:\n")
    monkeypatch.setattr("sys.argv", ["/usr/bin/snakemake", "--cores", "1"])
    assert may_start_again([str(log)])
    monkeypatch.setattr("sys.argv", ["/usr/bin/pytest"])  # a program that uses Snakemake's API
    assert not may_start_again([str(log)])
    monkeypatch.setattr("sys.argv", ["/usr/bin/snakemake"])
    log.write_text("Terminating processes on user request, this might take some time.\n")
    assert not may_start_again([str(log)])
