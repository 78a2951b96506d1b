"""Retries for the machine's failures alone: a job that a user's mistake ended is not started again.

Snakemake's ``retries`` (of rules, of ``--retries``, of a profile) know nothing of why a job failed. A job's log does:
`stnuclei.joblog` marks the sentences that another try would end with again.
"""

from __future__ import annotations

import time

from snakemake.jobs import Job

from stnuclei.joblog import sentence_of


def install() -> None:
    """Let every job whose log says that it was refused have no retry left; others keep theirs."""
    original, begun = Job.restart_times, time.time()
    if getattr(original.fget, "of_stnuclei", False):
        return  # the Snakefile is read a second time in this process

    def restart_times(job: Job) -> int:
        # Only logs of this run count: a log of last week says nothing of a job that was killed before it wrote one.
        return 0 if any(sentence_of(path, begun) for path in job.log) else original.fget(job)

    restart_times.of_stnuclei = True  # type: ignore[attr-defined]
    Job.restart_times = property(restart_times)
