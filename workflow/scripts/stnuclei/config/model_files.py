"""Files of weights and checkpoints looked at before the first job: their container alone, without PyTorch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

#: First byte of a pickle, which torch.save wrote before its archives.
_PICKLE = b"\x80"


def file_problem(path: str | Path) -> str | None:
    """Clause on a file that can be no weights or checkpoint: absent, empty, cut short, or of another kind.

    Returns
    -------
    None where nothing can be said against it; whether it fits its network is seen when it is loaded.
    """
    path = Path(path)
    if not path.is_file():
        return "is not there"
    size = path.stat().st_size
    with open(path, "rb") as file:
        begin = file.read(8)
        if path.suffix == ".safetensors":
            whole = _whole_safetensors(int.from_bytes(begin, "little"), file.read(min(size, 1 << 26)), size)
        else:
            # The list of an archive's members is its end: a download that broke off has lost it.
            whole = begin[:1] == _PICKLE or zipfile.is_zipfile(path)
    return None if whole else f"is no whole file of weights ({size:,} bytes); was its download or copy cut short?"


def _whole_safetensors(length: int, content: bytes, size: int) -> bool:
    try:
        entries = json.loads(content[:length])
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False
    return bool(ends) and size >= 8 + length + max(ends)


def missing_checkpoints(checkpoints: Mapping[str, str]) -> list[str]:
    """One line for each checkpoint of ``segmentation.checkpoints`` that is absent or not whole.

    Parameters
    ----------
    checkpoints
        Name -> path, of those that are needed.
    """
    named = {f"segmentation.checkpoints.{name}: {path}": file_problem(path) for name, path in checkpoints.items()}
    return [f"{where} {problem}" for where, problem in sorted(named.items()) if problem]
