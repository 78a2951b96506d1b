"""Samples that failed and are left out from then on (``slides.on_failure: leave_out``), one file a sample."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.files import atomic_write

#: Rules of one sample, from its files to its patches and labels; a failure there concerns no other sample.
SAMPLE_RULES = (
    "read_sample",
    "find_tissue",
    "check_alignment",
    "cluster_cells",
    "label_cells",
    "cut_patches",
    "draw_regions",
)
_FILE = "left_out.json"


def leave_out(results: str | Path, row: Mapping[str, str], rule: str, reason: str) -> Path:
    """Record that a sample is left out.

    Parameters
    ----------
    results
        Folder of results.
    row
        The sample's row of the samples table: once it is changed, the sample is tried again.
    rule, reason
        What failed, and the sentence it ended with.

    Returns
    -------
    The file; deleting it tries the sample again.
    """
    path = Path(results) / "samples" / row["sample"] / _FILE
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"rule": rule, "reason": reason, "row": dict(row)}, indent=1))
    return path


def left_out(results: str | Path, samples: pd.DataFrame) -> dict[str, str]:
    """Samples that are left out -> why; those whose row has changed since are not."""
    reasons = {}
    for name, row in samples.iterrows():
        path = Path(results) / "samples" / str(name) / _FILE
        if path.is_file():
            content = json.loads(path.read_text())
            if content["row"] == row.to_dict():
                reasons[str(name)] = f"{content['rule']} failed: {content['reason']}"
    return reasons


def without_samples(models: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Entries of ``models`` or ``expression.models`` whose lists of samples leave some names out."""
    return {name: _without(entry, names) for name, entry in models.items()}


def _without(content: Any, names: Collection[str]) -> Any:
    if isinstance(content, Mapping):
        return {key: _without(value, names) for key, value in content.items()}
    if isinstance(content, list):
        return [_without(value, names) for value in content if not (isinstance(value, str) and value in names)]
    return content
