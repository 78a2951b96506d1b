"""Snakemake's terminal output in plain words: a line a finished job, and now and then what is running and how far.

Snakemake's own log file (.snakemake/log) keeps every detail. ``--verbose`` gives Snakemake's own output.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from snakemake.logging import DefaultFormatter, logger
from snakemake_interface_logger_plugins.common import LogEvent

from stnuclei.progress import clock

#: Seconds between two reports on jobs that take long.
INTERVAL = 60.0
#: Messages of Snakemake's that nobody can act on.
_NOISE = re.compile(
    r"Workflow defines that rule|Assuming unrestricted shared|Building DAG of jobs|Select jobs to execute"
    r"|Execute \d+ jobs|Conda environments: ignored|Singularity containers: ignored|This was a dry-run"
    r"|RuleException|CalledProcessError in file|Using shell: "
    r"|Retry time left|Removing output files|will be created|^Reasons:|Touching output|Group jobs: inactive"
)
_SILENT = (
    LogEvent.WORKFLOW_STARTED,
    LogEvent.SHELLCMD,
    LogEvent.RESOURCES_INFO,
    LogEvent.PROGRESS,
    LogEvent.JOB_STARTED,
)


@dataclass
class Running:
    """A job under way."""

    message: str
    log: str
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def last_words(self) -> str:
        """Last line of its log: a training says there how far it is."""
        try:
            lines = Path(self.log).read_text(errors="replace")[-2000:].splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:110]


class Terminal(logging.StreamHandler):
    """Handler in place of Snakemake's own.

    Parameters
    ----------
    dry_run
        True: jobs are only planned, a line a rule instead of a line a job.
    interval
        Seconds between two reports on running jobs.
    """

    def __init__(self, dry_run: bool = False, interval: float = INTERVAL, stream=None) -> None:  # noqa: ANN001 a text stream
        super().__init__(stream or sys.stderr)
        self.setFormatter(DefaultFormatter(quiet=(), show_failed_logs=False))
        self.dry_run, self.interval = dry_run, interval
        self.running: dict[int, Running] = {}
        self.planned: dict[str, list[str]] = {}
        self.done, self.total, self.begun = 0, 0, time.monotonic()
        self.plans = 0
        if not dry_run:
            threading.Thread(target=self._report_often, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write what a person wants to know of one message."""
        event = getattr(record, "event", None)
        try:
            actions = {LogEvent.JOB_INFO: self._begin, LogEvent.JOB_FINISHED: self._finish}
            actions |= {LogEvent.JOB_ERROR: self._fail, LogEvent.RUN_INFO: self._plan}
            if event in actions:
                actions[event](record)
            elif event not in _SILENT and record.levelno >= logging.INFO:
                self._say_message(self.format(record))
        except Exception:  # noqa: BLE001 a fault of the display must not stop a run
            self.handleError(record)

    def say(self, line: str) -> None:
        """Write a line."""
        with self.lock:
            self.stream.write(line + "\n")
            self.flush()

    def _say_message(self, text: str) -> None:
        if text and text != "None" and not _NOISE.search(text):
            self.say(text.strip("\n"))

    def _begin(self, record: logging.LogRecord) -> None:
        message = record.rule_msg or record.rule_name
        if self.dry_run:
            self.planned.setdefault(record.rule_name, []).append(message)
            return
        self.running[record.jobid] = Running(message, record.log[0] if record.log else "")

    def _finish(self, record: logging.LogRecord) -> None:
        job = self.running.pop(record.job_id, None)
        self.done += 1
        if job is not None:
            number = str(self.done).rjust(len(str(self.total)))
            self.say(f"{number} of {self.total}  {clock(job.seconds):>5}  {job.message}")

    def _fail(self, record: logging.LogRecord) -> None:
        job = self.running.pop(record.jobid, None)
        # The job itself has said why, in a sentence; the end of the run shows its log.
        self.say(f"FAILED: {job.message if job else record.rule_name} (log: {', '.join(record.log) or 'none'})")

    def _plan(self, record: logging.LogRecord) -> None:
        stats = dict(record.stats)
        self.total = stats.pop("total", 0)
        if self.dry_run:
            self.plans += 1
            if self.plans == 2:  # the first comes before the jobs, the second behind them
                self.say(plan(stats, self.planned, self.total))
            return
        kinds = ", ".join(f"{count} {rule}" for rule, count in stats.items() if rule != "all")
        self.say(f"{self.total} jobs: {kinds}" if len(kinds) < 300 else f"{self.total} jobs of {len(stats)} rules")

    def _report_often(self) -> None:
        while True:
            time.sleep(self.interval)
            for job in [job for job in list(self.running.values()) if job.seconds >= self.interval / 2]:
                words = job.last_words()
                end = f": {words}" if words else ""
                self.say(f"    running {clock(job.seconds):>5}  {job.message}{end} (log: {job.log})")


def plan(stats: dict[str, int], planned: dict[str, list[str]], total: int) -> str:
    """Table of a dry run: rule, number of jobs, and what the first of them do."""
    width = max(map(len, [*stats, "rule"]))
    lines = [f"{'rule':{width}}  jobs  "]
    for rule, count in stats.items():
        messages = [message for message in planned.get(rule, []) if message != rule]
        shown = "; ".join(messages[:2]) + (f"; and {len(messages) - 2} more" if len(messages) > 2 else "")
        lines.append(f"{rule:{width}}  {count:4}  {shown}".rstrip())
    return "\n".join([*lines, f"{'total':{width}}  {total:4}", "nothing was run (-n)"])


def install(dry_run: bool, verbose: bool) -> None:
    """Put `Terminal` in the place of Snakemake's own handler, unless a logger plugin or ``--verbose`` was asked for."""
    for handler in list(logger.handlers):
        if handler.name == "DefaultStreamHandler" and not verbose:
            mine = Terminal(dry_run, stream=handler.stream)
            for rule in handler.filters:  # what --quiet and --debug-dag ask for holds here, too
                mine.addFilter(rule)
            mine.name = "StnucleiTerminal"
            logger.removeHandler(handler)
            logger.addHandler(mine)
