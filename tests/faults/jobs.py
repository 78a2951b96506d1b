"""The workflow's own job scripts, run as Snakemake runs them but in this process."""

import hashlib
import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import yaml
from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

from paths import ROOT, SCRIPTS
from stnuclei.config import check_config, with_defaults

#: Every setting at its default.
CONFIG = check_config(with_defaults({}, yaml.safe_load((ROOT / "config" / "config.yaml").read_text())))


@dataclass(frozen=True)
class Stage:
    """A stage of the workflow that the drill breaks.

    Attributes
    ----------
    run
        ``run(base, out)`` makes the outputs in `out`; of the stages named in `needs` they lie in ``base/<stage>``.
    content
        ``content(out)`` reads everything that was written, as the next stage does, and gives a hash of it.
    data
        Outputs with checksums, below `out`: bytes of these are changed.
    make
        ``make(folder)`` writes what comes from outside into ``base/<stage>.inputs``.
    inputs
        Inputs whose bytes are changed, below `base`, and True where they carry checksums, so that another content than
        the right one must not result.
    needs
        Stages that are run before.
    """

    run: Callable[[Path, Path], None]
    content: Callable[[Path], str]
    data: tuple[str, ...] = ()
    make: Callable[[Path], None] | None = None
    inputs: Mapping[str, bool] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def run_job(
    script: str,
    out: Path,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, str],
    params: Mapping[str, Any] | None = None,
    **wildcards: str,
) -> None:
    """Run a script of workflow/scripts with one thread and no GPU; outputs are named below `out`, the log beside."""
    named = {name: str(out / path) for name, path in outputs.items()}
    for path in named.values():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    paths = {name: [*map(str, path)] if isinstance(path, list) else str(path) for name, path in inputs.items()}
    job = SimpleNamespace(
        input=InputFiles(fromdict=paths),
        output=OutputFiles(fromdict=named),
        params=Params(fromdict=dict(params or {})),
        wildcards=Wildcards(fromdict=wildcards),
        log=[str(out / f"{script}.log")],
        threads=1,
        resources={"gpu": 0},
    )
    runpy.run_path(str(SCRIPTS / f"{script}.py"), {"snakemake": job}, "__main__")


def hashed(*contents: bytes | str | np.ndarray) -> str:
    """SHA-256 over texts, bytes and arrays."""
    digest = hashlib.sha256()
    for content in contents:
        plain = np.ascontiguousarray(content).tobytes() if isinstance(content, np.ndarray) else content
        digest.update(plain.encode() if isinstance(plain, str) else plain)
        digest.update(b"|")
    return digest.hexdigest()


def pixels(path: Path) -> np.ndarray:
    """Pixels of a picture; a torn one has none."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None, f"{path} is no picture"
    return picture
