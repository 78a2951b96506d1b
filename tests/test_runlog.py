"""What is said of failed jobs at the end of a run."""

from stnuclei.runlog import FailedJob, describe_failures, failed_jobs, last_lines

LOG = """\
[Sat Nov 21 00:20:55 2026]
Error in rule read_sample:
    jobid: 4
    input: data/broken
    output: results/samples/broken/sample.zarr
    log: results/logs/read_sample/broken.log (check log file(s) for error details)
Logfile results/logs/read_sample/broken.log:
================================================================================
sample broken: experiment.xenium is not JSON
================================================================================
Error in rule cluster_cells:
    message: SLURM-job '12' failed, SLURM status is: 'OUT_OF_MEMORY'. Detailed failure reason unavailable
For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 7
    log: results/logs/cluster_cells/a.log (check log file(s) for error details)
Trying to restart job 7.
Error in rule read_sample:
    jobid: 4
    log: results/logs/read_sample/broken.log (check log file(s) for error details)
Finished jobid: 7 (Rule: cluster_cells)
Error in rule write_table1:
    message: SLURM-job '13' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable
    jobid: 9
    log: results/logs/write_table1.log (check log file(s) for error details)
"""


def test_only_jobs_that_never_finished_are_named():
    assert failed_jobs(LOG) == [
        FailedJob("read_sample", "broken", "results/logs/read_sample/broken.log", 2),
        FailedJob("write_table1", "", "results/logs/write_table1.log", 1, "TIMEOUT"),
    ]
    assert failed_jobs("Finished jobid: 1 (Rule: all)") == []


def test_a_job_that_finished_and_was_run_again_counts_by_its_last_try():
    assert [job.target for job in failed_jobs("Finished jobid: 4 (Rule: read_sample)\n" + LOG)] == ["broken", ""]


def test_the_words_of_the_snakemake_within_a_job_are_not_a_second_failure():
    outer = """\
Error in rule read_sample:
    message: SLURM-job '3' failed, SLURM status is: 'FAILED'. Detailed failure reason unavailable
    jobid: 1
    log: results/logs/read_sample/a.log, /x/slurm_logs/rule_read_sample/a/3.log (check log file(s) for error details)
    external_jobid: 3
Logfile /x/slurm_logs/rule_read_sample/a/3.log:
Error in rule read_sample:
    message: None
    jobid: 0
    log: results/logs/read_sample/a.log (check log file(s) for error details)
"""
    once = FailedJob("read_sample", "a", "results/logs/read_sample/a.log", 1, "FAILED")
    assert failed_jobs(outer) == [once]
    assert [job.tries for job in failed_jobs(outer + "Trying to restart job 1.\n" + outer)] == [2]
    assert failed_jobs(outer + "Finished jobid: 1 (Rule: read_sample)\n") == []


def test_the_last_lines_of_the_log_stand_below_the_job(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {i}\n\n" for i in range(50)))
    lines = list(describe_failures([FailedJob("read_sample", "a", str(log), 3, "TIMEOUT")], lines=2))
    assert lines == [f"  read_sample a, TIMEOUT, tried 3 times: {log}", "      | line 48", "      | line 49"]


def test_absent_and_empty_logs_are_said(tmp_path):
    assert "no log" in last_lines(tmp_path / "none.log", 3)[0]
    (tmp_path / "empty.log").touch()
    assert "empty" in last_lines(tmp_path / "empty.log", 3)[0]


def test_a_long_log_is_read_from_its_end(tmp_path):
    log = tmp_path / "long.log"
    log.write_bytes(b"x" * (1 << 20) + b"\nthe end\n")
    assert last_lines(log, 2)[-1] == "the end"
