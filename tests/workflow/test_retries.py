"""Retries are for the machine's failures: a job that a user's mistake ended is not started again."""

from paths import ROOT
from runner import Workflow

SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow" / "scripts")!r})
import snakemake_retries
snakemake_retries.install()
rule all:
    input: "mistake", "machine"
rule mistake:
    output: "mistake"
    log: "mistake.log"
    retries: 2
    script: "job.py"
rule machine:
    output: "machine"
    log: "machine.log"
    retries: 2
    script: "job.py"
"""
JOB = f"""
import pathlib, sys
sys.path.insert(0, {str(ROOT / "workflow" / "scripts")!r})
from stnuclei.errors import MachineError, UserError
from stnuclei.joblog import job
with job(snakemake.log[0], snakemake.rule):
    tries = pathlib.Path(snakemake.rule + ".tries")
    tries.write_text((tries.read_text() if tries.exists() else "") + "x")
    if snakemake.rule == "mistake":
        raise UserError("column tissue is empty")
    if len(tries.read_text()) < 2:
        raise MachineError("the network is away; try later")
    pathlib.Path(snakemake.output[0]).write_text("")
"""


def test_a_mistake_is_tried_once_and_a_failure_of_the_machine_again(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "job.py").write_text(JOB)
    run = Workflow(tmp_path, tmp_path / "Snakefile").run("--cores", "1", "--keep-going", check=False)
    assert run.code != 0 and (tmp_path / "machine").is_file(), run.text
    assert (tmp_path / "mistake.tries").read_text() == "x" and (tmp_path / "machine.tries").read_text() == "xx"
    assert run.text.count("Trying to restart job") == 1
    assert "mistake: column tissue is empty" in (tmp_path / "mistake.log").read_text()
