"""Check this installation: versions, GPU, slide readers, marker tables, disk, memory, and a small network.

  stnuclei check

Ends with status 1 where something that is needed does not work. Paste its output into a bug report.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stnuclei import __version__
from stnuclei.config.encoders import ARCHITECTURE_NAMES

#: Libraries whose version decides what works and what a run computes.
_LIBRARIES = ("torch", "numpy", "numba", "zarr", "tensorstore", "spatialdata", "scanpy", "geopandas", "snakemake")
_LEAST_DISK_GB = 5.0


class Warned(Exception):
    """A finding that limits what can be done and is no error."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--folder", type=Path, default=Path(), help="where results will be written (this folder)")


def run(options: argparse.Namespace) -> int:
    """Print one line a check; 1 where one failed."""
    checks: dict[str, Callable[[], str]] = {
        "stnuclei": lambda: f"{__version__} in {Path(__file__).resolve().parents[1]}",
        "python": _python,
        "libraries": _libraries,
        "machine": _machine,
        "disk": lambda: _disk(options.folder),
        "GPU": _gpu,
        "openslide": _openslide,
        "TIFF codecs": _tiff,
        "marker tables": _markers,
        "network": _network,
        "architectures": lambda: ", ".join(ARCHITECTURE_NAMES),
    }
    states = [_show(name, check) for name, check in checks.items()]
    failed = states.count("FAILED")
    print(f"\n{failed} of {len(checks)} checks failed" if failed else "\nready")
    return 1 if failed else 0


def _show(name: str, check: Callable[[], str]) -> str:
    try:
        state, text = "ok", check()
    except Warned as warning:
        state, text = "note", str(warning)
    except Exception as error:  # noqa: BLE001 whatever a broken library raises is the finding
        state, text = "FAILED", f"{type(error).__name__}: {error}"
    print(f"{state:6} {name:14} {text}", flush=True)
    return state


def _python() -> str:
    text = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise Warned(f"{text}; tested with 3.11 to 3.13")
    return text


def _libraries() -> str:
    present, missing = [], []
    for name in _LIBRARIES:
        try:
            present.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing == ["snakemake"]:
        raise Warned(f"{', '.join(present)}; no snakemake: the workflow needs it, the commands do not")
    if missing:
        raise ImportError(f"{', '.join(missing)} not installed; pip install stnuclei again")
    return ", ".join(present)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pages = {name: os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES")}
    return f"{cores} cores, {pages['SC_PAGE_SIZE'] * pages['SC_PHYS_PAGES'] / 1e9:.0f} GB memory"


def _disk(folder: Path) -> str:
    with tempfile.NamedTemporaryFile(dir=folder):
        pass  # that it can be written at all
    free = {str(path): shutil.disk_usage(path).free / 1e9 for path in (folder.resolve(), Path(tempfile.gettempdir()))}
    text = ", ".join(f"{gigabytes:.0f} GB free in {path}" for path, gigabytes in free.items())
    if min(free.values()) < _LEAST_DISK_GB:
        raise Warned(f"{text}; a section of 500,000 cells needs tens of GB")
    return text


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        built = (
            f"this torch was built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch is CPU only"
        )
        raise Warned(f"none seen by torch ({built}): training and slides run on the CPU, slowly")
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    text = ", ".join(f"{card.name} {card.total_memory / 1e9:.0f} GB" for card in cards)
    if not torch.cuda.is_bf16_supported():
        raise Warned(f"{text}; no bfloat16: fp16 is used")
    return f"{text}, CUDA {torch.version.cuda}"


def _openslide() -> str:
    import openslide

    return f"{openslide.__library_version__} (SVS, NDPI, MRXS, SCN)"


def _tiff() -> str:
    import imagecodecs
    import numpy as np
    import tifffile

    picture = np.full((64, 64, 3), 200, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for codec in ("jpeg", "lzw", "deflate", "jpeg2000"):
            path = Path(folder) / f"{codec}.tif"
            tifffile.imwrite(path, picture, compression=codec, photometric="rgb", tile=(64, 64))
            if abs(int(tifffile.imread(path).mean()) - 200) > 2:
                raise ValueError(f"a {codec} picture is read with other colours than it was written with")
    return f"JPEG, LZW, deflate, JPEG 2000 (tifffile {tifffile.__version__}, imagecodecs {imagecodecs.__version__})"


def _markers() -> str:
    from stnuclei.markers.markers import load_markers
    from stnuclei.resources import resource

    load_markers(None, "pannuke")
    return f"in {resource('markers')}"


def _network() -> str:
    import torch

    from stnuclei import cellvit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds = {}
    for name in ("cellvit-tiny", "cellvit-light"):
        model = cellvit.build_model(name, 6, 1).eval().to(device)
        begun = time.perf_counter()
        with torch.inference_mode():
            maps = model(torch.zeros(1, 3, 256, 256, device=device))
        if not all(torch.isfinite(value).all() for value in maps.values()):
            raise ValueError(f"the outputs of {name} are not finite")
        seconds[name] = f"{name} {time.perf_counter() - begun:.2f} s"
    return f"256 x 256 px on {device}: {', '.join(seconds.values())}"
