"""What goes wrong on a cluster, made to go wrong, after the demo was run."""

import os
import re
import shutil
import signal

import pandas as pd
import pytest
import yaml

from cluster import pids, wait_for
from stnuclei.provenance import content_hashes

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("demo")]
#: Copied results have no history of Snakemake's: files are judged by their times.
BY_TIME = ("--configfile", "slurm.yaml", "--rerun-triggers", "mtime")


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
    config["training"] |= {"epochs": 16, "validate_every": 8, "validation_patches": 4}
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
    wait_for(lambda: logged(copied, "train_model", "cancelled", "epoch 2/16: train loss"))
    cluster.ask("scancel", cancelled)
    assert running.wait(400) == 0, (copied / "said.txt").read_text()[-6000:]
    logs = {model: (copied / "results" / "logs" / "train_model" / f"{model}.log").read_text() for model in models}
    print({model: re.findall(r"training: (?:a new run|continued.*)", log) for model, log in logs.items()})
    assert "training: a new run" in logs["unbroken"]
    for model in ("warned", "cancelled"):
        assert re.search(r"training: continued at epoch \d+, step \d+", logs[model]), logs[model]
    states = {number: state for number, (state, _) in cluster.jobs(copied).items()}
    assert states[cancelled] == "CANCELLED" and states[warned] == "FAILED"
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
    assert running.wait(200) == 0, (copied / "said.txt").read_text()[-6000:]
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
