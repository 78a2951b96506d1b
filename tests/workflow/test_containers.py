"""What can be checked of the container recipes without an engine, and what the catalog reads."""

import re

import pytest
import yaml

from paths import ROOT

DOCKER = (ROOT / "containers" / "Dockerfile").read_text()
APPTAINER = (ROOT / "containers" / "stnuclei.def").read_text()


def test_both_images_begin_alike_and_install_the_lock():
    (base,) = re.findall(r"^FROM (\S+)$", DOCKER, re.M)
    assert re.findall(r"^From: (\S+)$", APPTAINER, re.M) == [base]
    assert base.startswith("python:3.11")
    for text in (DOCKER, APPTAINER):
        assert re.search(r"pip install .*-r /opt/stnuclei/requirements\.lock", text)


def test_what_is_copied_is_there_and_the_same():
    docker = set(re.findall(r"^COPY (\S+) (\S+)$", DOCKER, re.M))
    files = APPTAINER[APPTAINER.index("%files") : APPTAINER.index("%post")]
    assert docker == set(re.findall(r"^ +(\S+) (/opt\S+)$", files, re.M))
    for source, _ in docker:
        assert (ROOT / source).exists(), source


def test_environment_variables_are_the_same():
    docker = dict(re.findall(r"(\w+)=(\S+?)(?: \\)?$", DOCKER[DOCKER.index("ENV ") : DOCKER.index("CMD")], re.M))
    apptainer = dict(re.findall(r'^ +export (\w+)="?([^"\s]+)"?$', APPTAINER, re.M))
    assert set(docker) == set(apptainer)
    # Apptainer's /tmp is the host's, where others could plant code in numba's cache; it runs the Docker image as well.
    assert all(value.startswith("$HOME/") for value in apptainer.values())
    assert not docker["NUMBA_CACHE_DIR"].startswith("/tmp")


@pytest.mark.parametrize("section", ["conda", "apptainer"])
def test_the_catalog_reads_how_the_workflow_is_used(section):
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"][section] is True
    assert usage["report"] is True
    for needed in ("workflow/Snakefile", "config/README.md"):
        assert (ROOT / needed).exists()
