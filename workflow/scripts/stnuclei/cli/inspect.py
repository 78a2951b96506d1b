"""Show what a checkpoint holds: architecture, classes, tissues, training data, versions and settings.

stnuclei inspect checkpoint.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from stnuclei import cellvit


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint of stnuclei or of CellViT")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the description."""
    model, metadata = cellvit.load_checkpoint(options.checkpoint)
    metadata["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps(metadata, indent=2, default=str) if options.json else description(metadata))
    return 0


def description(metadata: dict[str, Any]) -> str:
    """Lines of name and value for a person."""
    provenance = metadata["provenance"]
    rows = {
        "architecture": f"{metadata['architecture']} ({metadata['parameters']:,} parameters; arch {metadata['arch']})",
        "classes": ", ".join(metadata["classes"]),
        "tissues": ", ".join(metadata["tissues"]) or "no tissue head",
        "epochs trained": metadata["epoch"],
        "normalisation": f"mean {metadata['mean']}, std {metadata['std']}",
        "written by": "stnuclei" if metadata["taxonomy"] else "the official CellViT code",
    }
    rows |= {f"provenance: {key}": _short(value) for key, value in provenance.items()}
    width = max(map(len, rows))
    lines = [f"{name:{width}}  {value}" for name, value in rows.items()]
    return "\n".join([*lines, f"{'settings':{width}}  {len(metadata['config'])} entries (--json shows them)"])


def _short(value: object, limit: int = 160) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= limit else f"{text[:limit]}..."
