"""A one-node Slurm, and the small demo run through it once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster import Cluster
from paths import ROOT


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Start the one-node Slurm where the tests are allowed to; `make test-slurm` stops it."""
    if os.environ.get("STNUCLEI_SLURM") != "1":
        pytest.skip("starts Slurm's daemons as root: make test-slurm (or STNUCLEI_SLURM=1)")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons are started as root")
    subprocess.run([ROOT / "tests" / "slurm" / "one_node.sh", "start"], check=True, stdin=subprocess.DEVNULL)
    return Cluster(ROOT / "tests" / "slurm" / "one_node.sh")


#: The end of each chain: models of one and two processes, predicted and scored; what a sample was made from. Every job
#: costs two starts of Snakemake, and the rules left out go the same way.
TARGETS = ("results/tables/table2.tsv", "results/samples/breast/provenance.json")


@pytest.fixture(scope="session")
def demo(cluster, tmp_path_factory) -> Path:
    """Folder of the small demo, run on the cluster from slides to a table, with what Snakemake said in run.txt."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("slurm.yaml", "slurm.tsv"):
        shutil.copy(ROOT / "tests" / "configs" / name, folder)
    run = cluster.workflow(folder, *TARGETS, "--configfile", "slurm.yaml", "--verbose")
    (folder / "run.txt").write_text(run.text)
    assert run.code == 0, run.text[-6000:]
    return folder


@pytest.fixture
def copied(demo, tmp_path) -> Path:
    """Folder with a copy of the demo's data and results, times of files kept."""
    shutil.copytree(demo / "data", tmp_path / "data", symlinks=True)
    shutil.copytree(demo / "results", tmp_path / "results", symlinks=True)
    for name in ("slurm.yaml", "slurm.tsv"):
        shutil.copy(demo / name, tmp_path)
    return tmp_path
