"""The end of a Slurm job's time, seen before it comes."""

import os
import signal
import time

import pytest

from stnuclei.training import walltime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5:00", 300), ("1:00:00", 3600), ("2-03:04:05", 183845), ("0:07", 7), ("UNLIMITED", None), ("INVALID", None)],
)
def test_time_left_is_read_as_slurm_writes_it(text, seconds):
    assert walltime.parse_time_left(text) == seconds


def test_no_limit_outside_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with walltime.warned_before_the_end(os.getpid()) as wait:
        assert wait is None


def test_the_answer_of_squeue_is_taken(monkeypatch, tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\n[ "$3" = --jobs=77 ] && echo "      1-00:00:10 "\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert walltime.seconds_left() == 86410


def test_no_squeue_is_no_limit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert walltime.seconds_left() is None


def test_the_warning_comes_before_the_end_and_only_while_the_block_runs():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(time.monotonic()))
    try:
        start = time.monotonic()
        with walltime.warned_before_the_end(os.getpid(), left=0.4, margin=300) as wait:
            assert wait == pytest.approx(0.3)
            time.sleep(0.5)
        with walltime.warned_before_the_end(os.getpid(), left=0.4):
            pass
        time.sleep(0.5)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 1
    assert 0.3 <= seen[0] - start < 0.4
