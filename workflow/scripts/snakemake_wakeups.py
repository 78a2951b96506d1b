"""One planned wake-up of Snakemake's scheduler at a time.

Snakemake (9.27) keeps its limit of jobs per second by waking its scheduler a second after each selection of jobs. That
wake-up selects again and plans the next, and each finished job begins another such chain (snakemake#3744): after 80
jobs 80 selections a second, each with a process of the ILP solver.
"""

from __future__ import annotations

import threading

from snakemake.scheduling.job_scheduler import JobScheduler


def install() -> None:
    """Plan no second wake-up while one is planned; the limit of jobs per second holds as before."""
    original = getattr(JobScheduler, "_schedule_reevalutation", None)
    if original is None or getattr(original, "of_stnuclei", False):
        return  # another Snakemake, or the Snakefile is read a second time in this process

    def plan(scheduler: JobScheduler, delay: float) -> None:
        # Of each scheduler: the API may run several workflows in one process.
        planned = vars(scheduler).setdefault("_wakeup_planned", threading.Event())

        def wake() -> None:
            planned.clear()  # before the scheduler can plan again
            scheduler._open_jobs.release()

        if not planned.is_set():
            planned.set()
            threading.Timer(delay, wake).start()

    plan.of_stnuclei = True  # type: ignore[attr-defined]
    JobScheduler._schedule_reevalutation = plan
