"""List the networks that `training.architecture` names: encoder, patch, weights by name or hub, and their terms.

stnuclei encoders
stnuclei encoders uni2-h
"""

from __future__ import annotations

import argparse

from stnuclei.config.encoders import ARCHITECTURE_NAMES, TIMM, find_encoder
from stnuclei.config.weights import WEIGHTS
from stnuclei.errors import UserError, suggestion

_COLUMNS = ("architecture", "encoder, M", "patch", "weights", "terms")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="lines with this in them alone")


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    lines = [_line(name) for name in ARCHITECTURE_NAMES]
    lines.append((f"{TIMM}vit_...", "", "8..32", "a local file or hub:timm/.../FILE", "those of the weights' page"))
    asked = (options.name or "").casefold()
    chosen = [line for line in lines if any(asked in cell.casefold() for cell in line)]
    if not chosen:
        raise UserError(f"no encoder has {options.name!r} in its line; {suggestion(options.name, ARCHITECTURE_NAMES)}")
    widths = [max(len(line[k]) for line in (_COLUMNS, *chosen)) for k in range(len(_COLUMNS))]
    for line in (_COLUMNS, *chosen):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _line(name: str) -> tuple[str, ...]:
    """Cells of a network's line."""
    from stnuclei.cellvit.architectures import find_architecture  # heavy, and not needed for --help

    encoder, patch = find_encoder(name), str(find_architecture(name).patch or "")
    weights = next((key for key, weights in WEIGHTS.items() if name in weights.architectures), "")
    if encoder is None:
        return name, "", patch, weights or "none: trained from the start", WEIGHTS[weights].terms if weights else ""
    terms = encoder.terms + ("; gated (HF_TOKEN)" if encoder.gated else "")
    return name, f"{encoder.millions:g}", patch, weights or f"a local file or hub:{encoder.hub}/FILE", terms
