"""The scheduler selects jobs when one has ended and once a second, however many have ended."""

import time

from paths import ROOT
from runner import Workflow

SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow" / "scripts")!r})
import snakemake_wakeups
snakemake_wakeups.install()
from snakemake.scheduling.job_scheduler import JobScheduler
select = JobScheduler.job_selector
def noted(scheduler, jobs):
    with open("selections", "a") as file:
        file.write("x")
    return select(scheduler, jobs)
JobScheduler.job_selector = noted
rule all:
    input: "a.long", "b.long"
rule long:
    input: expand("{{number}}.short", number=range(20))
    output: touch("{{name}}.long")
    threads: 2
    shell: "sleep 3"
rule short:
    output: touch("{{number}}.short")
    shell: "true"
"""


def test_a_run_does_not_wake_more_often_the_more_jobs_have_ended(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    begun = time.monotonic()
    Workflow(tmp_path, tmp_path / "Snakefile").run("--cores", "2")
    # While one long job runs the other is ready: with a chain of wake-ups for each ended job, 20 selections a second.
    assert len((tmp_path / "selections").read_text()) < 23 + time.monotonic() - begun + 5


def test_the_limit_of_jobs_per_second_holds_and_the_run_ends(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("sleep 3", "true"))
    begun = time.monotonic()
    Workflow(tmp_path, tmp_path / "Snakefile").run("--cores", "8", "--max-jobs-per-timespan", "8/1s")
    assert time.monotonic() - begun > 2  # 23 jobs
