"""The terminal's lines: what is done, what is running and how far, what failed; nothing a user cannot act on."""

import io
import logging
import sys
import time

from snakemake_interface_logger_plugins.common import LogEvent

from paths import ROOT

sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
from snakemake_terminal import Terminal, plan


def send(terminal, message=None, level=logging.INFO, **extra):
    record = logging.LogRecord("snakemake", level, "x", 1, message, (), None)
    record.__dict__ |= extra
    terminal.emit(record)


def start(terminal, jobid, message, log=""):
    send(terminal, event=LogEvent.JOB_INFO, jobid=jobid, rule_name="r", rule_msg=message, log=[log] if log else [])


def test_a_line_a_finished_job_and_no_noise():
    terminal = Terminal(stream=io.StringIO())
    send(terminal, event=LogEvent.RUN_INFO, stats={"read_sample": 2, "all": 1, "total": 3})
    for noise in ("Building DAG of jobs...", "Select jobs to execute...", "Execute 2 jobs...", None):
        send(terminal, noise)
    start(terminal, 5, "reading sample a")
    send(terminal, event=LogEvent.JOB_FINISHED, job_id=5)
    send(terminal, event=LogEvent.PROGRESS, done=1, total=3)
    send(terminal, "Trying to restart job 7.")
    lines = terminal.stream.getvalue().splitlines()
    assert lines == ["3 jobs: 2 read_sample", "1 of 3   0:00  reading sample a", "Trying to restart job 7."]


def test_what_runs_long_says_how_far_it_is_and_where_its_log_is(tmp_path):
    log = tmp_path / "st.log"
    log.write_text("training: a new run\nepoch 3/9: 92/208 patches (44 %), run done in 4:10\n")
    terminal = Terminal(interval=0.05, stream=io.StringIO())
    start(terminal, 1, "training model st", str(log))
    deadline = time.monotonic() + 20
    while "run done" not in terminal.stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.02)
    line = terminal.stream.getvalue().splitlines()[0]
    assert "training model st: epoch 3/9: 92/208 patches (44 %), run done in 4:10" in line and f"(log: {log})" in line


def test_a_failed_job_is_named_with_its_log():
    terminal = Terminal(stream=io.StringIO())
    start(terminal, 1, "reading sample b", "logs/b.log")
    send(terminal, level=logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1, rule_name="read_sample", log=["logs/b.log"])
    assert terminal.stream.getvalue() == "FAILED: reading sample b (log: logs/b.log)\n"


def test_a_fault_of_the_display_does_not_stop_a_run(capsys):
    terminal = Terminal(stream=io.StringIO())
    send(terminal, event=LogEvent.JOB_FINISHED)  # without the job's number
    assert "AttributeError" in capsys.readouterr().err


def test_the_plan_has_a_line_a_rule():
    text = plan({"train_model": 3, "all": 1}, {"train_model": ["training a", "training b", "training c"]}, 4)
    assert "train_model     3  training a; training b; and 1 more" in text
    assert text.splitlines()[-2].split() == ["total", "4"]
