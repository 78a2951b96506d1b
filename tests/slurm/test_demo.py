"""The small demo on Slurm, from simulated slides to tables; then what goes wrong on a cluster, made to go wrong.

One file, for one worker: the demo is run once.
"""

import json
import os
import re
import shutil
import signal

import pandas as pd
import pytest
import yaml

from cluster import pids, wait_for
from runner import Workflow
from stnuclei.provenance import content_hashes

pytestmark = pytest.mark.slurm
#: Copied results have no history of Snakemake's: files are judged by their times.
BY_TIME = ("--configfile", "slurm.yaml", "--rerun-triggers", "mtime")


def submitted(demo, rule: str) -> list[str]:
    """The sbatch calls of a rule's jobs."""
    text = (demo / "run.txt").read_text()
    return [line for line in text.splitlines() if "sbatch call: sbatch" in line and f"--comment rule_{rule}" in line]


def test_every_stage_is_there(demo):
    scored = pd.read_csv(demo / "results" / "tables" / "table2.tsv", sep="\t")
    assert {"one", "two"} <= set(scored["model"])
    for model in ("one", "two"):
        assert (demo / "results" / "models" / model / "checkpoint.pt").stat().st_size > 0
    assert not list((demo / "results").rglob(".partial-*"))
    assert max(len(list(sample.rglob("*"))) for sample in (demo / "results" / "samples").iterdir()) < 500


def test_jobs_ask_for_what_the_rules_and_the_profile_say(demo):
    (one,) = [call for call in submitted(demo, "train_model") if "wildcards_one" in call]
    assert "-p gpu " in one and "--gpus=1" in one and "--mem 8000" in one and "-t 1440" in one
    assert re.search(r"--cpus-per-task=1\b", one)
    assert "--gpus" not in submitted(demo, "cluster_cells")[0]
    assert "-p cpu" in submitted(demo, "cluster_cells")[0]


def test_two_processes_train_as_one_job(demo):
    (two,) = [call for call in submitted(demo, "train_model") if "wildcards_two" in call]
    assert "--gpus=2" in two and "--cpus-per-task=2 " in two
    log = (demo / "results" / "logs" / "train_model" / "two.log").read_text()
    assert "2 process(es)" in log and "training: done" in log


def test_rules_of_one_size_go_as_arrays(demo):
    (call,) = submitted(demo, "simulate_sample")
    text = (demo / "run.txt").read_text()
    assert re.search(r"Submitted array job with Snakemake IDs \d+,\d+ and SLURM job ID", text), call


def test_one_core_without_slurm_gives_the_same_labels_and_patches(demo, tmp_path):
    for name in ("slurm.yaml", "slurm.tsv"):
        (tmp_path / name).write_text((demo / name).read_text())
    described = "results/samples/breast/provenance.json"
    Workflow(tmp_path).run(described, "--cores", "1", "--configfile", "slurm.yaml")
    one, other = (json.loads((folder / described).read_text()) for folder in (demo, tmp_path))
    assert len(one["content"]) == 2 and len(one["content"]["patches.zarr"]) == 8
    assert one["content"] == other["content"]


# --- drills ---------------------------------------------------------------------------------------------------------


def job_of(cluster, folder, rule: str, what: str = "", state: str = "RUNNING") -> str | None:
    """Id of a job in some state."""
    for number, (now, comment) in cluster.jobs(folder).items():
        if now == state and comment == f"rule_{rule}" + (f"_wildcards_{what}" if what else ""):
            return number
    return None


def logged(folder, rule: str, what: str, words: str) -> bool:
    path = folder / "results" / "logs" / rule / f"{what}.log"
    return path.exists() and words in path.read_text()


def train_three(folder) -> None:
    """Three trainings that are the same but for their names, long enough to be stopped."""
    config = yaml.safe_load((folder / "slurm.yaml").read_text())
    config["training"] |= {"epochs": 12, "validate_every": 12, "validation_patches": 4}
    config["models"] = dict.fromkeys(("unbroken", "warned", "cancelled"), config["models"]["one"])
    (folder / "slurm.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(folder / "results" / "models")


def test_a_training_stopped_at_walltime_ends_with_the_same_model(cluster, copied):
    # Slurm counts limits in minutes. Real: the limit is shortened while the job runs, the training asks Slurm for its
    # time and stops itself. Imitated: the kill at the limit by scancel, which sends the same signals (TERM, KILL).
    train_three(copied)
    models = ("unbroken", "warned", "cancelled")
    targets = [f"results/models/{model}/checkpoint.pt" for model in models]
    running = cluster.begin(copied, *targets, *BY_TIME)
    warned = wait_for(lambda: job_of(cluster, copied, "train_model", "warned"))
    cluster.ask("scontrol", "update", f"JobId={warned}", "EndTime=now+25")
    cancelled = wait_for(lambda: job_of(cluster, copied, "train_model", "cancelled"))
    wait_for(lambda: logged(copied, "train_model", "cancelled", "epoch 2/12: train loss"))
    cluster.ask("scancel", cancelled)
    assert running.wait(900) == 0, (copied / "said.txt").read_text()[-6000:]
    logs = {model: (copied / "results" / "logs" / "train_model" / f"{model}.log").read_text() for model in models}
    print({model: re.findall(r"training: (?:a new run|continued.*)", log) for model, log in logs.items()})
    assert "training: a new run" in logs["unbroken"]
    for model in ("warned", "cancelled"):
        assert re.search(r"training: continued at epoch \d+, step \d+", logs[model]), logs[model]
    states = {number: state for number, (state, _) in cluster.jobs(copied).items()}
    assert states[cancelled] == "CANCELLED" and states[warned] in ("FAILED", "TIMEOUT")
    same = content_hashes(copied / targets[0])
    assert [content_hashes(copied / target) for target in targets[1:]] == [same, same]
    histories = [pd.read_csv(copied / "results" / "models" / model / "history.csv") for model in models]
    for history in histories[1:]:
        assert list(history["train_loss"]) == list(histories[0]["train_loss"])


def test_a_process_killed_while_it_writes_leaves_nothing_half_taken(cluster, demo, copied):
    store = copied / "results" / "samples" / "breast" / "sample.zarr"
    shutil.rmtree(store)
    running = cluster.begin(copied, "results/samples/breast/sample.zarr", *BY_TIME)
    partial = wait_for(lambda: list(store.parent.glob(".partial-*sample.zarr")), step=0.005)
    (process,) = pids(copied, "read_sample.py")[:1]
    os.kill(process, signal.SIGKILL)
    assert not store.exists()
    assert running.wait(900) == 0, (copied / "said.txt").read_text()[-6000:]
    said = (copied / "said.txt").read_text()
    assert "Trying to restart job" in said
    assert content_hashes(store) == content_hashes(demo / store.relative_to(copied))
    print("left by the killed process:", [path.name for path in partial if path.exists()])


def test_a_run_goes_on_after_controller_and_snakemake_were_stopped(cluster, demo, copied):
    shutil.rmtree(copied / "results" / "samples" / "kidney")
    shutil.rmtree(copied / "results" / "samples" / "breast" / "patches.zarr")
    targets = [f"results/samples/{name}/patches.zarr" for name in ("kidney", "breast")]
    running = cluster.begin(copied, *targets, *BY_TIME)
    wait_for(lambda: job_of(cluster, copied, "read_sample", "kidney"))
    cluster.control("stop-controller")
    try:
        running.send_signal(signal.SIGKILL)
        running.wait()
    finally:
        cluster.control("start-controller")
    # As docs/cluster.md says: jobs of the dead run are cancelled, the folder is unlocked, the same command goes on.
    left = [number for number, (state, _) in cluster.jobs(copied, "PENDING,RUNNING").items()]
    if left:
        cluster.ask("scancel", *left)
    wait_for(lambda: not cluster.jobs(copied, "PENDING,RUNNING,COMPLETING"))
    assert cluster.workflow(copied, "--unlock", "--configfile", "slurm.yaml").code == 0
    run = cluster.workflow(copied, *targets, *BY_TIME)
    assert run.code == 0, run.text[-6000:]
    for target in targets:
        assert content_hashes(copied / target) == content_hashes(demo / target)
