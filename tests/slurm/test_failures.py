"""A job that needs more memory than it asked for, and a slide that cannot be read."""

import re
import shutil

import pytest
import yaml

from paths import ROOT
from stnuclei.simulate import simulate_sample

pytestmark = pytest.mark.slurm


def test_a_job_killed_for_memory_is_tried_again_with_more(cluster, tmp_path):
    for name in ("slurm.yaml", "slurm.tsv"):
        shutil.copy(ROOT / "tests" / "configs" / name, tmp_path)
    more = "simulate_sample:mem_mb=250 * attempt * attempt"
    run = cluster.workflow(
        tmp_path, "data/breast", "--configfile", "slurm.yaml", "--set-resources", more, "--retries", "3", "--verbose"
    )
    assert run.code == 0, run.text[-6000:]
    asked = [int(mb) for mb in re.findall(r"sbatch call: sbatch .*--mem (\d+)", run.text)]
    print("asked for, MB:", asked, "ended:", [state for state, _ in cluster.jobs(tmp_path).values()])
    assert asked[:2] == [250, 1000] and (tmp_path / "data" / "breast" / "experiment.xenium").exists()
    log = "\n".join(path.read_text() for path in (tmp_path / "slurm_logs").rglob("*.log"))
    print(*re.findall(r"slurmstepd.*memory.*", log), sep="\n")
    assert re.search(r"slurmstepd.*exceeded memory limit", log), log
    states = sorted(state for state, _ in cluster.jobs(tmp_path).values())
    assert states[0] == "COMPLETED" and set(states[1:]) <= {"CANCELLED", "FAILED", "OUT_OF_MEMORY"} and states[1:]


@pytest.fixture
def slides(tmp_path):
    """Make a sound slide and one whose nuclei cannot be read, as if they came from outside."""
    config = yaml.safe_load((ROOT / "tests" / "configs" / "slurm.yaml").read_text())
    simulate_sample(tmp_path / "data" / "sound", **config["simulate"]["samples"]["breast"])
    shutil.copytree(tmp_path / "data" / "sound", tmp_path / "data" / "broken")
    (nuclei,) = (tmp_path / "data" / "broken").glob("nucleus_boundaries.*")
    nuclei.write_bytes(nuclei.read_bytes()[:1000])
    rows = ["sample\tplatform\tpath\ttissue\tsplit"]
    rows += [f"{name}\txenium\tdata/{name}\tBreast\ttrain" for name in ("broken", "sound")]
    (tmp_path / "slurm.tsv").write_text("\n".join(rows) + "\n")
    del config["simulate"], config["pannuke"]
    config["models"] = {"one": {"train": [{"samples": "train", "labels": "stnuclei"}]}}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_a_slide_that_cannot_be_read_fails_alone_and_is_named_with_its_log(cluster, slides):
    run = cluster.workflow(slides, "slides", "--configfile", "slurm.yaml", "--retries", "0")
    assert run.code != 0
    for name in ("sample.zarr", "tissue.png", "alignment.json"):
        assert (slides / "results" / "samples" / "sound" / name).exists(), run.text[-6000:]
    assert not (slides / "results" / "samples" / "broken" / "sample.zarr").exists()
    end = run.text[run.text.index("job(s) failed, the log of the whole run is") - 2 :]
    print(end)
    assert end.startswith("1 job(s) failed")
    assert "read_sample broken, FAILED: results/logs/read_sample/broken.log" in end
    assert re.search(r"^      \| .*nucleus_boundaries", end, re.M)
