"""The provenance of one set of patches and of a whole run, as JSON-able dictionaries, and fingerprints of files."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stnuclei import __version__
from stnuclei.files import sha256
from stnuclei.progress import progress
from stnuclei.provenance.content import content_hashes
from stnuclei.provenance.publish import publishable

FORMAT, VERSION = "stnuclei-provenance", 1
#: The libraries whose version can change a number.
LIBRARIES = (
    "snakemake", "numpy", "scipy", "pandas", "pyarrow", "numba", "anndata", "scanpy", "spatialdata", "spatialdata-io",
    "zarr", "tensorstore", "tifffile", "imagecodecs", "openslide-python", "opencv-python-headless", "scikit-image",
    "shapely", "geopandas", "igraph", "leidenalg", "pynndescent", "faiss-cpu", "illico", "decoupler", "pyucell",
    "scvi-tools", "torch",
)  # fmt: skip
#: Bytes at either end of a file that ``ends`` looks at.
END = 8 << 20


def describe_set(
    name: str,
    results: Mapping[str, str | Path],
    recorded: Mapping[str, Mapping[str, Any]],
    others: Iterable[str | Path] = (),
    checksums: str = "ends",
) -> dict[str, Any]:
    """Inputs and content of one set of patches.

    Parameters
    ----------
    name
        The sample or ``pannuke_{fold}``.
    results
        Name -> file or store that the workflow made: patches, label tables.
    recorded
        Name -> what was noted of each file when the sample was read: ``bytes`` and ``sha256``.
    others
        Further files or folders that were read: annotation, PanNuke's fold.
    checksums
        See `fingerprint`.

    Returns
    -------
    ``name``, ``inputs`` (fingerprint by file) and ``content`` (hash by result and part).
    """
    inputs = {key: {field: value for field, value in file.items() if field != "path"} for key, file in recorded.items()}
    content = {
        key: content_hashes(path)
        for key, path in progress(results.items(), total=len(results), label=f"content of {name}", unit="results")
    }
    return {"name": name, "inputs": {**inputs, **fingerprints(others, checksums)}, "content": content}


def describe_run(
    config: Mapping[str, Any],
    samples: Mapping[str, Mapping[str, Any]],
    sets: Iterable[Mapping[str, Any]],
    models: Mapping[str, str | Path],
    checkout: str | Path,
) -> dict[str, Any]:
    """All that a run was made from and what it came to.

    Parameters
    ----------
    config
        The whole configuration.
    samples
        Name -> row of the samples table.
    sets
        What `describe_set` gave for each set.
    models
        Name -> checkpoint.
    checkout
        Folder of the workflow, asked for its commit.

    Returns
    -------
    ``format``, ``version``, ``run`` (when: never compared), ``code``, ``versions``, ``seeds``, ``config``,
    ``samples``, ``sets`` (inputs and content) and ``models`` (content hash of each).
    """
    seeds = {"seed": config["seed"]} | {
        f"models.{name}": entry.get("seed", config["seed"]) for name, entry in config["models"].items()
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": {"written": datetime.now(UTC).isoformat(timespec="seconds")},
        "code": code(checkout),
        "versions": versions(),
        "seeds": seeds,
        "config": publishable(config),
        "samples": {name: publishable(row) for name, row in samples.items()},
        "sets": {
            described["name"]: {"inputs": described["inputs"], "content": described["content"]} for described in sets
        },
        "models": {name: content_hashes(path)[""] for name, path in models.items()},
    }


def versions() -> dict[str, str]:
    """Version of Python and of each library that is installed."""
    numbers = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in LIBRARIES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            continue
    return numbers


def code(checkout: str | Path) -> dict[str, Any]:
    """Version of the package; commit and whether files differ from it, where the workflow is a git checkout."""
    described: dict[str, Any] = {"stnuclei": __version__}
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is not None:
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", "Snakefile", "workflow")
        described |= {"commit": commit, "changed_files": sorted(line[3:] for line in (changed or "").splitlines())}
    return described


def _git(checkout: str | Path, *arguments: str) -> str | None:
    if not (Path(checkout) / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.rstrip()


def fingerprint(path: str | Path, checksums: str = "ends") -> dict[str, Any]:
    """Size and checksum of one file.

    Parameters
    ----------
    path
        The file; where it is gone, only that is said.
    checksums
        ``full``: SHA-256 of all bytes (a slide of 20 GB is read once more). ``ends``: of the first and last 8 MiB and
        the size, which tells files apart that any tool has written anew, not one with a changed byte in its middle;
        files of up to 16 MiB are hashed whole by either.

    Returns
    -------
    ``bytes`` and ``sha256`` or ``sha256_of_ends``; the time of the file is left out, copies differ in it.
    """
    path = Path(path)
    if not path.is_file():
        return {"absent": True}
    size = path.stat().st_size
    if checksums == "full" or size <= 2 * END:
        return {"bytes": size, "sha256": sha256(path)}
    return {"bytes": size, "sha256_of_ends": _ends(path, size)}


def _ends(path: Path, size: int) -> str:
    digest = hashlib.sha256(f"{size}\n".encode())
    with open(path, "rb") as file:
        digest.update(file.read(END))
        file.seek(-END, 2)
        digest.update(file.read(END))
    return digest.hexdigest()


def fingerprints(paths: Iterable[str | Path], checksums: str = "ends") -> dict[str, dict[str, Any]]:
    """Fingerprint of each file, folders file by file; by the path below the folder.

    Parameters
    ----------
    paths
        Files and folders.
    checksums
        See `fingerprint`.
    """
    recorded: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            recorded[str(file.relative_to(path.parent))] = fingerprint(file, checksums)
    return recorded
