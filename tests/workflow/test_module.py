"""Used from another workflow, and at the scale of hundreds of slides."""

import re
import sys

import pytest
import yaml

from paths import ROOT
from runner import Workflow, count
from stnuclei.joblog import job_device

sys.path.append(str(ROOT / "benchmarks"))  # at the end: benchmarks/training.py is no tests/training
import scale

OTHER = """\
configfile: "other.yaml"

module stnuclei:
    snakefile: "{root}/Snakefile"
    config: config["stnuclei"]

use rule * from stnuclei as stnuclei_*

rule count_files:
    default_target: True
    input: "results/samples/breast/{what}"
    output: "count.txt"
    shell: "ls {{input}} | wc -l > {{output}}"
"""


def other(folder, what: str) -> Workflow:
    config = yaml.safe_load((ROOT / "tests" / "configs" / "slurm.yaml").read_text())
    (folder / "other.yaml").write_text(yaml.safe_dump({"stnuclei": config}))
    (folder / "slurm.tsv").write_text((ROOT / "tests" / "configs" / "slurm.tsv").read_text())
    (folder / "Snakefile").write_text(OTHER.format(root=ROOT, what=what))
    return Workflow(folder, snakefile=folder / "Snakefile")


def test_another_workflow_uses_the_rules(tmp_path):
    text = other(tmp_path, "labels/stnuclei.parquet").run("-n", "--cores", "4").text
    for rule in ("simulate_sample", "read_sample", "cluster_cells", "label_cells"):
        assert count(text, f"stnuclei_{rule}") == 1, rule


def test_another_workflow_runs_a_rule(tmp_path):
    workflow = other(tmp_path, "labels/stnuclei.parquet")
    workflow.run("data/breast", "--cores", "1")
    assert (tmp_path / "data" / "breast" / "experiment.xenium").exists()
    assert (tmp_path / "results" / "logs" / "simulate_sample" / "breast.log").exists()


def test_the_catalog_finds_a_snakefile_under_workflow(tmp_path):
    (tmp_path / "config").mkdir()
    for name in ("config.yaml", "samples.tsv"):
        (tmp_path / "config" / name).write_text((ROOT / "config" / name).read_text())
    text = Workflow(tmp_path, snakefile=ROOT / "workflow" / "Snakefile").run("-n", "--cores", "1").text
    assert count(text, "read_sample") == 2


@pytest.mark.parametrize("samples", [40])
def test_the_plan_of_many_slides_is_made_in_time(tmp_path, samples):
    # 200 slides, all methods, 5 models are in benchmarks/results/scale.md; the plan grows in proportion.
    cost = scale.dry_run(tmp_path, scale.write_config(tmp_path, samples, methods=8, models=2))
    print(cost)
    assert cost.jobs > 10 * samples
    assert cost.cpu_seconds < 60 and cost.peak_mb < 1000


def test_every_rule_that_takes_a_gpu_has_its_partition_in_the_profile():
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
    taking = set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in path.read_text().split("\nrule ")[1:]:
            if "\n        gpu=" in rule:
                taking.add(rule.split(":")[0])
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        pairs = re.findall(r"^use rule (\w+) as (\w+) with:", path.read_text(), re.MULTILINE)
        taking |= {name for base, name in pairs if base in taking}
    assert taking == set(profile["set-resources"])


def test_every_job_without_a_gpu_computes_on_the_cpu():
    """On a machine with a GPU `resources.gpu: 0` would otherwise change nothing: torch takes the GPU it sees."""
    assert job_device({"gpu": 0}, "auto") == "cpu" and job_device({}, ["cuda:0", "cuda:1"]) == "cpu"
    assert job_device({"gpu": 1}, "auto") == "auto" and job_device({"gpu": 2}, ["cuda:0"]) == ["cuda:0"]
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in path.read_text().split("\nrule ")[1:]:
            if "\n        gpu=" in rule:
                script = re.search(r'"\.\./scripts/(\w+\.py)"', rule).group(1)
                assert "job_device(snakemake.resources" in (ROOT / "workflow" / "scripts" / script).read_text(), script


def test_no_rule_is_a_checkpoint():
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        assert "\ncheckpoint " not in path.read_text(), path.name
