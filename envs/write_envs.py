"""Write envs/*.yaml, requirements.lock and requirements-slurm.lock.

``python envs/write_envs.py --lock`` freezes this interpreter's packages into the two locks (after a change of
versions); ``python envs/write_envs.py`` writes the three environment files from requirements.lock.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
LOCK = HERE.parent / "requirements.lock"
SLURM_LOCK = HERE.parent / "requirements-slurm.lock"
#: Packages of the second lock: where they are installed, every Snakemake process imports them.
SLURM = "snakemake-executor-plugin-slurm"

#: What the rules of each family import; the rest follows from the packages' own requirements.
COMMON = ["numpy", "pandas", "pyarrow", "pyyaml", "lazy_loader", "pydantic", "matplotlib", "tqdm", "numba"]
FAMILIES = {
    "spatial": [
        *COMMON, "anndata", "geopandas", "huggingface_hub", "imagecodecs", "opencv-python-headless", "openslide-bin",
        "openslide-python", "scikit-image", "shapely", "spatialdata", "spatialdata-io", "tensorstore", "tifffile",
        "zarr",
    ],
    "labels": [
        *COMMON, "decoupler", "faiss-cpu", "igraph", "illico", "leidenalg", "openpyxl", "pynndescent", "pyucell",
        "scanpy", "scvi-tools", "spatialdata", "spatialdata-io", "torch",
    ],
    "cellvit": [
        *COMMON, "geopandas", "imagecodecs", "onnx", "onnxscript", "opencv-python-headless", "openpyxl",
        "openslide-bin", "openslide-python", "scikit-image", "scipy", "spatialdata", "tensorboard", "tensorstore",
        "tifffile", "torch", "zarr",
    ],
}  # fmt: skip
SLURM_HEADER = """\
# What a run on Slurm needs beside requirements.lock (make slurm). Written by envs/write_envs.py --lock.
"""
LOCK_HEADER = """\
# Every package and version of the workflow: Python 3.11 (3.12 and 3.13 admitted). Written by envs/write_envs.py --lock.
"""


def read_lock() -> dict[str, str]:
    """Canonical package name -> pinned requirement line of requirements.lock."""
    lines = [line.strip() for line in LOCK.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {canonicalize_name(line.split("==")[0]): line for line in lines}


def closure(roots: list[str], lock: dict[str, str]) -> list[str]:
    """Lines of the lock for `roots` and all they require, in alphabetical order."""
    todo, seen = [canonicalize_name(name) for name in roots], set()
    while todo:
        name = todo.pop()
        if name in seen or name not in lock:
            continue
        seen.add(name)
        needed = [Requirement(text) for text in requires(name) or []]
        environment = {**default_environment(), "extra": ""}
        todo += [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate(environment)]
    return [lock[name] for name in sorted(seen)]


def environment_file(pins: list[str]) -> str:
    """Text of a conda environment whose packages are all pinned."""
    listing = "\n".join(f"      - {pin}" for pin in pins)
    return (
        "# Written by envs/write_envs.py from requirements.lock: do not edit.\n"
        "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python =3.11\n  - pip\n  - pip:\n"
        + listing
        + "\n"
    )


def main() -> None:
    """Write what the arguments ask for."""
    if "--lock" in sys.argv[1:]:
        frozen = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
        # The local build of torch is the same release as PyPI's: the tag of the build is no part of the version.
        lines = frozen.stdout.replace("+cpu", "").splitlines(keepends=True)
        LOCK.write_text(LOCK_HEADER + "".join(line for line in lines if not line.startswith(SLURM)))
        slurm = [line for line in lines if line.startswith(SLURM)]
        if slurm:  # not every environment has it
            SLURM_LOCK.write_text(SLURM_HEADER + "".join(slurm))
    lock = read_lock()
    for family, roots in FAMILIES.items():
        (HERE / f"{family}.yaml").write_text(environment_file(closure(roots, lock)))


if __name__ == "__main__":
    main()
