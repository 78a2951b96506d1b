"""Failed jobs of a run, read from Snakemake's log, and the last lines of each job's log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^Error in rule (?P<rule>\w+):$(?P<body>.*?)(?=^Error in rule |^Trying to restart |\Z)", re.M | re.S
)
_FINISHED = re.compile(r"^Finished jobid: (\d+) ", re.M)
_SLURM = re.compile(r"SLURM status is: '(\w+)'")


@dataclass(frozen=True)
class FailedJob:
    """Job that failed in every try.

    Parameters
    ----------
    rule
        Its rule.
    target
        Its sample, model or set, as its log file is called; empty for a rule of one job.
    log
        Its log file; empty where the rule has none.
    tries
        Number of tries.
    status
        Slurm's word for how the last try ended (``OUT_OF_MEMORY``, ``TIMEOUT``); empty elsewhere.
    """

    rule: str
    target: str
    log: str
    tries: int
    status: str = ""


def failed_jobs(text: str) -> list[FailedJob]:
    """Jobs that failed and did not finish in a later try, in the order of their first failure.

    Parameters
    ----------
    text
        Snakemake's log of the run.
    """
    blocks: dict[tuple[str, str], list[re.Match[str]]] = {}
    for block in _BLOCK.finditer(text):
        blocks.setdefault((block["rule"], _log(block)), []).append(block)
    finished = {match[1]: match.start() for match in _FINISHED.finditer(text)}
    failed = []
    for (rule, log), tries in blocks.items():
        # A cluster's job runs a second Snakemake, which reports the same failure again below the job's report.
        tries = [block for block in tries if _field(block["body"], "external_jobid")] or tries
        if finished.get(_field(tries[-1]["body"], "jobid"), -1) < tries[-1].start():
            slurm = _SLURM.search(tries[-1]["body"])
            failed.append(FailedJob(rule, _target(rule, log), log, len(tries), slurm[1] if slurm else ""))
    return failed


def _log(block: re.Match[str]) -> str:
    """The job's own log file; on a cluster the executor's is named behind it."""
    return _field(block["body"], "log").split(" (check")[0].split(", ")[0]


def _field(body: str, name: str) -> str:
    match = re.search(rf"^ {{4}}{name}: (.*)$", body, re.M)
    return match[1] if match else ""


def _target(rule: str, log: str) -> str:
    stem = Path(log).with_suffix("").as_posix()
    return stem.partition(f"/{rule}/")[2]


def describe_failures(jobs: list[FailedJob], lines: int = 8) -> Iterator[str]:
    """Lines that name each failed job and end with the last lines of its log.

    Parameters
    ----------
    jobs
        See `failed_jobs`.
    lines
        Number of lines of each log.
    """
    for job in jobs:
        tried = "" if job.tries == 1 else f", tried {job.tries} times"
        ended = f", {job.status}" if job.status else ""
        yield f"  {job.rule} {job.target}".rstrip() + f"{ended}{tried}" + (f": {job.log}" if job.log else "")
        yield from (f"      | {line}" for line in last_lines(job.log, lines))


def last_lines(log: str | Path, lines: int) -> list[str]:
    """Last lines of a log that are not empty; a sentence instead where there are none."""
    path = Path(log)
    if not path.is_file():
        return ["(no log: the job ended before it began to write one)"]
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - (64 << 10)))
        text = file.read().decode(errors="replace")
    kept = [line.rstrip()[:400] for line in text.splitlines() if line.strip()]
    return kept[-lines:] or ["(its log is empty)"]
