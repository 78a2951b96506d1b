"""Time and memory that Snakemake takes to plan a large run.

``python benchmarks/scale.py`` makes a table of 200 slides, 8 label methods and 5 models in a temporary folder and times
``snakemake -n``; ``--samples 20 --methods 2 --models 1`` makes another; ``--write`` puts the numbers into
benchmarks/results/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from ratio import COST, Ratio  # noqa: E402
from stnuclei.config.labels import METHODS  # noqa: E402

TISSUES = ("Breast", "Bowel", "Kidney", "Liver", "Lung", "Ovarian", "Pancreatic", "Prostate", "Skin")


@dataclass(frozen=True)
class Cost:
    """Time and memory of a dry run."""

    jobs: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def write_config(folder: Path, samples: int, methods: int, models: int) -> Path:
    """Write a configuration of so many slides, label methods and models; return its path."""
    rows = ["sample\tplatform\tpath\ttissue\tsplit\tdonor"]
    held_out = max(1, samples // 20)
    for i in range(samples):
        split, tissue = ("seg_eval", "Brain") if i < held_out else ("train", TISSUES[i % len(TISSUES)])
        rows.append(f"slide{i:03d}\txenium\tdata/slide{i:03d}\t{tissue}\t{split}\tdonor{i}")
    (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
    names = known_methods()[:methods]
    config = {
        "samples": "samples.tsv",
        "results": "results",
        "labels": {"methods": names},
        "models": {
            f"model{i}": {"train": [{"samples": "train", "labels": names[i % len(names)]}]} for i in range(models)
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def known_methods() -> list[str]:
    """Label methods that the configuration admits."""
    return list(METHODS)


#: A process between, for Linux counts the memory of whoever starts a process as that process's own.
BETWEEN = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], open(sys.argv[1], "w"))
sys.exit(done.returncode)
"""


def dry_run(folder: Path, config: Path, *arguments: str) -> Cost:
    """Time ``snakemake -n`` in a folder of its own; the peak memory is that of its largest process."""
    used = folder / "used.json"
    command = [sys.executable, "-c", BETWEEN, str(used), sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "-n", "--quiet", "rules", "--cores", "2"]
    before = time.monotonic()
    done = subprocess.run(
        [*command, "--configfile", str(config), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - before
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    totals = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("total ")]
    return Cost(int(totals[0]), seconds, *json.loads(used.read_text()))


def small() -> list[Ratio]:
    """CPU time of a dry run of 20 slides, 2 methods and 1 model against Snakemake's own imports."""
    with tempfile.TemporaryDirectory() as folder:
        cost = dry_run(Path(folder), write_config(Path(folder), 20, 2, 1))
    start = os.times()
    subprocess.run([sys.executable, "-c", "import snakemake.cli"], check=True)
    end = os.times()
    floor = end.children_user + end.children_system - start.children_user - start.children_system
    return [Ratio("dry run of 20 slides, import of snakemake", cost.cpu_seconds / floor, COST)]


def main() -> None:
    """Run as a program; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--methods", type=int, default=8)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), told.samples, told.methods, told.models)
        cost = dry_run(Path(folder), config)
    methods = min(told.methods, len(known_methods()))
    head = ("slides", "label methods", "models", "jobs", "seconds", "CPU seconds", "peak memory, MB")
    row = (told.samples, methods, told.models, f"{cost.jobs:,}", f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}")
    lines = [head, ["---"] * len(head), (*row, f"{cost.peak_mb:.0f}")]
    text = "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
    print(text)
    if told.write:
        heading = "# `snakemake -n` on a large run\n\n`python benchmarks/scale.py --write`, nothing made yet.\n\n"
        (ROOT / "benchmarks" / "results" / "scale.md").write_text(heading + text)


if __name__ == "__main__":
    main()
