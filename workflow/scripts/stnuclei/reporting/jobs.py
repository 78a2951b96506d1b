"""Times and memory of the jobs, from the benchmark files, and the machine that the report was written on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pandas as pd

from stnuclei.progress import clock
from stnuclei.reporting.content import Table, plain_table

_COLUMNS = ("s", "max_rss", "cpu_time")


def read_jobs(folder: Path) -> pd.DataFrame:
    """One row a job: rule, job (its wildcards), s (wall seconds), max_rss (MB), cpu_time (s)."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        table = pd.read_csv(path, sep="\t", na_values="-")
        if not set(_COLUMNS) <= set(table.columns) or table.empty:
            continue
        rule, _, job = str(path.relative_to(folder).with_suffix("")).partition("/")
        rows.append({"rule": rule, "job": job, **table[list(_COLUMNS)].astype(float).mean()})
    return pd.DataFrame(rows, columns=["rule", "job", *_COLUMNS])


def job_table(jobs: pd.DataFrame) -> Table:
    """Jobs of each rule: how many, their time, the longest, and the largest memory; the costliest first."""
    grouped = jobs.groupby("rule").agg(jobs=("s", "size"), s=("s", "sum"), longest=("s", "max"), rss=("max_rss", "max"))
    rows = [
        [rule, int(row.jobs), clock(row.s), clock(row.longest), "-" if pd.isna(row.rss) else f"{row.rss:,.0f} MB"]
        for rule, row in grouped.sort_values("s", ascending=False).iterrows()
    ]
    note = "Wall time of all jobs of a rule and of the longest one; largest resident memory of a job."
    return plain_table(["rule", "jobs", "time", "longest", "memory"], rows, "Times and memory", note=note)


def hardware() -> str:
    """The machine in words: processor, cores, memory, GPU where there is one."""
    words = [f"{_processor()}, {os.cpu_count()} cores", f"{_memory_gb():.0f} GB of memory"]
    return ", ".join([*words, *_gpus(), f"{platform.system()} {platform.release()}"])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        return float("nan")


def _gpus() -> list[str]:
    """Names of the GPUs that torch sees; torch is in every environment that trains."""
    try:
        import torch
    except ImportError:
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["no GPU"]


def time_of(jobs: pd.DataFrame, rule: str, job: str) -> str:
    """Wall time of one job as words, empty where it is not known."""
    chosen = jobs[(jobs["rule"] == rule) & (jobs["job"] == job)]
    return clock(chosen["s"].iloc[0]) if len(chosen) else ""
