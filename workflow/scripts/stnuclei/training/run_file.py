"""The file that describes a training: sources, settings, output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stnuclei.config.training import TrainSettings
from stnuclei.errors import UserError
from stnuclei.loading.sources import Source

KEYS = {"sources", "validation", "out_dir", "settings", "taxonomy", "provenance"}


def read_run(path: str | Path) -> dict[str, Any]:
    """Read a run's description, JSON or YAML, into the arguments of `train`.

    Raises
    ------
    UserError
        If the file is absent, a key is missing or unknown, or a setting is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should describe the run (sources, out_dir, settings)")
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: neither JSON nor YAML ({error})") from None
    unknown, missing = set(content) - KEYS, {"sources", "out_dir"} - set(content)
    if unknown or missing:
        problems = [f"unknown {', '.join(sorted(unknown))}"] * bool(unknown)
        problems += [f"missing {', '.join(sorted(missing))}"] * bool(missing)
        raise UserError(f"{path}: {' and '.join(problems)}; the keys are {', '.join(sorted(KEYS))}")
    return {
        "sources": [Source(**entry) for entry in content["sources"]],
        "validation": [Source(**entry) for entry in content.get("validation") or []],
        "out_dir": content["out_dir"],
        "settings": TrainSettings.from_dict(content.get("settings") or {}),
        "taxonomy": content.get("taxonomy") or "pannuke",
        "provenance": content.get("provenance"),
    }
