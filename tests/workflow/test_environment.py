"""The environments' pins are the lock's."""

import subprocess
import sys

import yaml

from paths import ROOT


def lock() -> set[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_every_pin_of_the_environments_is_in_the_lock():
    files = sorted((ROOT / "envs").glob("*.yaml"))
    assert [path.stem for path in files] == ["cellvit", "labels", "spatial"]
    for path in files:
        pins = set(yaml.safe_load(path.read_text())["dependencies"][-1]["pip"])
        assert pins <= lock(), path.name
        assert len(pins) > 50


def test_every_environment_of_a_rule_exists():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    for name in ("spatial", "labels", "cellvit"):
        assert f"envs/{name}.yaml" in rules


def test_what_slurm_needs_is_no_part_of_local_runs():
    """Each Snakemake process imports all executor plugins that are installed."""
    pins = (ROOT / "requirements-slurm.lock").read_text().splitlines()[1:]
    assert len(pins) == 2 and all(pin.startswith("snakemake-executor-plugin-slurm") for pin in pins)
    assert not [pin for pin in lock() if pin.startswith("snakemake-executor-plugin")]


def test_no_cuda_or_torchvision_in_the_lock():
    assert not [pin for pin in lock() if pin.startswith(("nvidia", "torchvision", "triton"))]


def test_what_is_installed_is_the_lock():
    frozen = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    installed = set(frozen.replace("+cpu", "").splitlines())
    assert lock() <= installed, sorted(lock() - installed)
